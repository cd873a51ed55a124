"""How the runs of a table were computed: compared where a protocol asks for it, told where rows differ."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .rows import TableRow

_MODE = "mixed_precision_mode"
_OPEN = ("auto", None)
# What the arguments call a precision, and what a record calls it.
_RECORDED = {"no": "float32", "bf16": "bf16", "fp16": "fp16"}
_FACTS = ("precision", "memory_format", "device", "capability")


def without_free_precision(
    found: Mapping[str, Any], expected: Mapping[str, Any], stages: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """
    Both sides of a comparison, in which a precision stands only where it makes a finished run another one: where the
    protocol leaves it to the machine (`auto`) any will do; where it names one, what was used must be that.

    Args:
        found, expected (`dict`): With `settings`, of a result and of the protocol.
        stages (sequence of `dict`): Of the result, with what they used; those of earlier versions do not say it.
    """
    found, expected = copy.deepcopy(dict(found)), copy.deepcopy(dict(expected))
    used = {stage.get("name"): (stage.get("computation") or {}).get("precision") for stage in stages}
    there = _stages_of(found)
    for name, here in _stages_of(expected).items():
        wanted, was = here.get(_MODE), there.get(name, {}).get(_MODE)
        if wanted in _OPEN or used.get(name, _RECORDED.get(was)) == _RECORDED.get(wanted):
            here.pop(_MODE, None)
            there.get(name, {}).pop(_MODE, None)
        elif used.get(name):
            there[name][_MODE] = used[name]
    return found, expected


def computation_notes(rows: Iterable[TableRow]) -> list[str]:
    """Which rows were computed otherwise than others; empty where nothing is known to differ."""
    notes = []
    rows = [row for row in rows if row.runs]
    for fact in _FACTS:
        labels: dict[str, list[str]] = {}
        for row in rows:
            for value in sorted({_used(run, fact) for run in row.runs.values()}):
                labels.setdefault(value, []).append(row.label)
        unknown = labels.pop("", [])
        if len(labels) > 1:
            parts = [f"{value} ({', '.join(names)})" for value, names in labels.items()]
            parts += [f"not recorded ({', '.join(unknown)})"] if unknown else []
            notes.append(f"{fact.replace('_', ' ')} {'; '.join(parts)}")
    if not notes:
        return []
    return [
        f"The rows were not computed alike: {'. '.join(notes)}. Differences between such rows are in part those of "
        "the arithmetic."
    ]


def computed_with(runs: Iterable[Mapping[str, Any]]) -> set[str]:
    """How runs were computed, in words, where it is recorded."""
    said = set()
    for run in runs:
        if run.get("computation"):
            said.add(", ".join(_used(run, fact) for fact in _FACTS))
    return said


def _used(run: Mapping[str, Any], fact: str) -> str:
    """A fact of a run's stages and its evaluation; empty where it is not known."""
    stages = [(stage.get("computation") or {}).get(fact) for stage in run["stages"]]
    if fact == "precision" and not any(stages):
        # Results of earlier versions say what was asked for.
        stages = [_RECORDED.get(stage.get(_MODE)) for stage in _stages_of(run).values()]
    training = list(dict.fromkeys(value for value in stages if value))
    evaluation = (run.get("computation") or {}).get(fact)
    text = ", then ".join(training)
    if evaluation and training not in ([], [evaluation]):
        return f"{text}, evaluated with {evaluation}"
    return text or evaluation or ""


def _stages_of(content: Mapping[str, Any]) -> dict[str, Any]:
    stages = (content.get("settings") or {}).get("stages")
    return stages if isinstance(stages, dict) else {}
