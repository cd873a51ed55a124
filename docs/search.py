"""What searches on validation images say: the same choices on several data sets, beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from hf_ltr.reading import parse_yaml, read_json, read_text
from hf_ltr.table import load_protocol
from hf_ltr.table.rows import expand_rows

from .markdown import table

# Mean over classes: validation images of real data have the tail of the training images.
METRIC = "balanced_accuracy"


@dataclass(frozen=True)
class Search:
    """
    One search over several data sets.

    Args:
        protocols (`dict[str, str]`): Name of the protocol by how its column is called; `model_cards/<name>_search/`
            holds what was measured. Their sets of rows list the same choices in the same order.
        sets (`dict[str, str]`): By name of a set of rows of the protocols, the heading of its table.
        reference (`dict[str, str]`): By name of a set, the row of it that the others are compared with.
        hidden (`str`): What rows say beside something else, and need not show.
    """

    protocols: Mapping[str, str]
    sets: Mapping[str, str]
    reference: Mapping[str, str]
    hidden: str = ""


def read_search(repository: Path, recipe: str) -> Search:
    """What `docs/searches/<recipe>.yaml` says: the fields of [`Search`]."""
    path = repository / "docs" / "searches" / f"{recipe}.yaml"
    return Search(**parse_yaml(read_text(path), str(path)))


def search_tables(repository: Path, search: Search) -> str:
    """
    Markdown of all tables of a search: mean over seeds of every row's accuracy (over classes), its difference to the
    reference over the seeds that both have, and the mean difference over the data sets.

    Args:
        repository (`Path`): The checkout.
        search ([`Search`]).

    Raises:
        `ValueError`: for a result that was not measured on validation images, or sets that list unlike choices.
    """
    parts = [f"### {heading}\n\n{_table(repository, search, name)}" for name, heading in search.sets.items()]
    return "\n\n".join(parts)


def _table(repository: Path, search: Search, name: str) -> str:
    labels = {title: _labels(protocol, name) for title, protocol in search.protocols.items()}
    first = next(iter(labels.values()))
    if any(len(rows) != len(first) for rows in labels.values()):
        raise ValueError(f"The sets @{name} of {', '.join(search.protocols.values())} list unlike choices")
    if search.reference[name] not in first:
        raise ValueError(f"{search.reference[name]} is no row of @{name}")
    place = first.index(search.reference[name])
    measured = {title: _measured(repository, protocol) for title, protocol in search.protocols.items()}
    rows = []
    for index in range(len(first)):
        cells, differences = [_shown([rows[index] for rows in labels.values()], search.hidden)], []
        for title, own in labels.items():
            runs, reference = (measured[title].get(own[position], {}) for position in (index, place))
            both = [100 * (runs[seed] - reference[seed]) for seed in sorted(set(runs) & set(reference))]
            cells.append(_cell(list(runs.values()), [] if index == place else both))
            differences += [mean(both)] if both else []
        complete = len(differences) == len(labels) and index != place
        rows.append([*cells, f"{_signed(mean(differences))}" if complete else ""])
    return table(["", *labels, "mean difference"], rows)


def _labels(protocol: str, name: str) -> list[str]:
    loaded = load_protocol(protocol)
    return [row.label for row in expand_rows([f"@{name}"], loaded.rows, f"protocol {protocol}")]


def _measured(repository: Path, protocol: str) -> dict[str, dict[int, float]]:
    """Accuracy by row and seed."""
    found: dict[str, dict[int, float]] = {}
    for path in sorted((repository / "model_cards" / f"{protocol}_search" / "results").glob("*.json")):
        content: dict[str, Any] = read_json(path)
        if content["settings"].get("split") != "validation":
            raise ValueError(f"{path} was not measured on validation images, so nothing may be chosen by it")
        found.setdefault(content["row"], {})[content["seed"]] = content["metrics"][METRIC]
    return found


def _shown(labels: Sequence[str], hidden: str) -> str:
    """A row as the data sets write it: one way, or one for each where a length is in steps or epochs."""
    texts = list(dict.fromkeys(_short(label, hidden) for label in labels))
    return " / ".join(f"`{text}`" for text in texts)


def _short(label: str, hidden: str) -> str:
    if not hidden:
        return label
    name, _, options = label.partition(":")
    kept = [option for option in options.split(",") if option and option != hidden]
    return f"{name}:{','.join(kept)}" if kept else label


def _cell(values: Sequence[float], differences: Sequence[float]) -> str:
    if not values:
        return "not run"
    spread = f" ±{stdev(100 * value for value in values):.1f}" if len(values) > 1 else ""
    seeds = f", {len(values)} seeds" if len(values) > 1 else ""
    difference = f" ({_signed(mean(differences))}{seeds})" if differences else ""
    return f"{100 * mean(values):.1f}{spread}{difference}"


def _signed(value: float) -> str:
    # Adding zero takes the sign of a rounded zero away.
    return f"{round(value, 1) + 0.0:+.1f}"
