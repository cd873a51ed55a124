"""The files of a table's folder: CSV for programs, a page for readers."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ..markup import code_block, markdown, markdown_code, one_line
from ..redaction import public
from .computation import computed_with
from .formats import HEADS, NOT_RUN, group_columns
from .protocol_files import PLACES
from .rows import TableRow

if TYPE_CHECKING:
    from .report import TableReport


def results_csv(rows: Sequence[TableRow], baselines: Sequence[str]) -> str:
    """
    One line per row; accuracies and differences in percent, empty where not known.

    Args:
        rows (sequence of [`TableRow`]).
        baselines (sequence of `str`): Differences to the first have columns of their own among those of each group;
            columns for the others stand at the end, with their names.
    """
    lines = []
    columns = group_columns(rows)
    for row in rows:
        line: dict[str, Any] = {
            "row": row.label,
            "status": "run" if row.runs else NOT_RUN,
            "seeds": " ".join(str(seed) for seed in sorted(row.runs)),
        }
        for name in columns:
            head, value = HEADS.get(name, name), row.values.get(name, {})
            part = row.differences.get(baselines[0], {}).get(name, {})
            for key in ("mean", "low", "high", "min", "max", "std"):
                line[f"{head}_{key}"] = _percent(value.get(key))
            for key in ("mean", "low", "high"):
                line[f"{head}_difference_{key}"] = _percent(part.get(key))
            line[f"{head}_p"] = part.get("p")
            line[f"{head}_p_smallest_of_seeds"] = part.get("p_smallest")
        line["minutes"] = None if row.minutes is None else round(row.minutes, 2)
        line["step_ratio"] = " + ".join(f"{stage['ratio']:.3f}" for stage in row.cost.get("stages", []))
        line["memory_ratio"] = row.cost.get("memory", {}).get("ratio")
        nearest = row.published[0] if row.published else {}
        for key in ("top1_all", "many", "medium", "few", "epochs", "augmentation", "source", "note"):
            line[f"published_{key}"] = nearest.get(key)
        for baseline in baselines[1:]:
            for name in columns:
                part = row.differences.get(baseline, {}).get(name, {})
                head = f"{HEADS.get(name, name)}_minus_{baseline}"
                for key in ("mean", "low", "high"):
                    line[f"{head}_{key}"] = _percent(part.get(key))
                line[f"{head}_p"] = part.get("p")
        lines.append(line)
    return _csv(lines)


def published_csv(rows: Sequence[TableRow]) -> str:
    """Every published number that belongs to a row, the nearest protocol first."""
    lines = [{"row": row.label, **published} for row in rows for published in row.published]
    return _csv(lines or [{"row": None}])


def readme(report: TableReport, figures: Mapping[Path, str]) -> str:
    """
    The page of the folder: the tables, and what they were made with.

    Args:
        report ([`TableReport`]).
        figures (`dict[Path, str]`): Those of the folder, with their captions.
    """
    protocol, rows = report.protocol, report.rows
    runs = [run for row in rows for run in row.runs.values()]
    overrides = public(protocol.overrides)
    changed = ", ".join(f"{key} {value}" for key, value in overrides.items())
    title = f"{protocol.title or protocol.name}{f' (changed: {changed})' if changed else ''}"
    parts = [f"# {markdown(title)}", report.markdown()]
    parts += [f"![{markdown(caption)}]({path.name})" for path, caption in figures.items()]
    facts: dict[str, Iterable[str]] = {
        "Protocol": [
            markdown_code(protocol.name) + (f", {one_line(protocol.source, 1000)}" if protocol.source else "")
        ],
        "Changed by": [markdown(f"{key}={value}") for key, value in overrides.items()],
        "Seeds": [str(seed) for seed in report.seeds],
        "Selection": {run["selection"] for run in runs},
        "Hardware": {run["hardware"] for run in runs},
        "Computed with": computed_with(runs),
        "Processes": {str(run["processes"]) for run in runs},
        "Commit": {_commit(run) for run in runs if run["commit"]},
        "Dates": {run["date"][:10] for run in runs},
        "Versions": {
            ", ".join(f"{package} {version}" for package, version in sorted(run["versions"].items())) for run in runs
        },
    }
    if report.test is not None:
        counts = report.test.counts()
        facts["Training images"] = [
            f"{counts.total:,} of {counts.num_classes} classes, {max(counts)} to {min(counts)} per class"
        ]
        sizes = ", ".join(f"{name} {len(classes)}" for name, classes in counts.groups.items())
        facts["Classes of the groups"] = [sizes]
        facts["Test images"] = [f"{len(report.test.labels):,}"]
        own = {run["data"]["row_hash"] for run in runs if run["data"]["class_counts"] == list(counts.counts)}
        facts["Hash of the training rows"] = {f"`{value}`" for value in own if value}
    lines = [f"- {name}: {'; '.join(sorted(values))}" for name, values in facts.items() if values]
    parts.append("## Made with\n\n" + "\n".join(lines))
    commands = sorted({run["command"] for run in runs if run["command"]})
    if commands:
        parts.append(code_block("\n".join(commands), "bash"))
    parts.append(f"## Protocol\n\n{code_block(_protocol_yaml(protocol).rstrip(), 'yaml')}")
    parts.append(
        "Every number of a run, its predictions and all of its settings are in `results/`; every published number "
        "that belongs to a row is in `published.csv`."
    )
    return "\n\n".join(parts) + "\n"


def _commit(run: Mapping[str, Any]) -> str:
    # A run outside of any checkout cannot see its commit; whoever writes it down later says so in the result.
    return f"`{run['commit']}`{' (entered afterwards)' if run.get('commit_entered_afterwards') else ''}"


def _protocol_yaml(protocol: Any) -> str:
    data = {key: value for key, value in protocol.data.items() if key not in PLACES}
    content = {
        "data": data,
        "model": protocol.model,
        "arguments": protocol.arguments,
        "pretraining": protocol.pretraining,
        "stages": protocol.stages,
        "methods": protocol.methods,
        "post_hoc": protocol.post_hoc,
    }
    # Pretraining without options is pretraining all the same.
    shown = {key: value for key, value in content.items() if value or (key == "pretraining" and value is not None)}
    return yaml.safe_dump(public(shown), sort_keys=False)


def _percent(value: float | None) -> float | None:
    return None if value is None else round(100 * value, 4)


def _csv(lines: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    for line in lines:
        if any(isinstance(value, float) and not math.isfinite(value) for value in line.values()):
            raise ValueError(f"A value of {line.get('row')} is not finite and cannot be reported")
        writer.writerow({key: "" if value is None else value for key, value in line.items()})
    return text.getvalue()
