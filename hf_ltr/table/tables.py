"""
The rows of a table as Markdown for readers and as CSV for programs. Only finite numbers are shown; what is not known
is said or left out.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..evaluation.statistics import format_p
from ..markup import GROUP_COLUMNS, column_title, markdown_table
from ..redaction import public
from .published import protocol_in_words
from .results import COMPUTATION, TestSet, used_computation
from .statistics import TableRow

NOT_RUN = "not run"
# Over the classes.
MEAN = "balanced_accuracy"
_LEGEND = (
    "Top-1 accuracy in percent on the {split} images, after the last epoch; many, medium, few: mean over the group's "
    "classes. In brackets the 95 % interval over draws of the {split} images (stratified bootstrap); with several "
    "seeds the mean, and in front of the brackets the range of two or the standard deviation of more."
)
_PUBLISHED = (
    " Published numbers are those of their own protocol, and of the same method with the same options; a row without "
    "one has none."
)
_CHOOSING = (
    " These images are for choosing settings: the best of many rows looks better here than it is, and none of these "
    "numbers is a result."
)
DIFFERENCE_LEGEND = (
    "Difference to {baseline} in points with its paired 95 % interval, and p of McNemar's test (mid-p, over the "
    "images of the group; of several seeds the smallest and the largest). Both are about these weights on other "
    "{split} images, not about another training run."
)
COST_LEGEND = (
    "Step: time of a training step over that of {baseline}, in one process, taken in turn; stages are joined by +. "
    "Memory: the most that training takes, over that of {baseline}. Minutes: training of all stages, on the hardware "
    "of the run."
)


def legend(split: str) -> str:
    """What the numbers of [`accuracy_table`] are, measured on a split."""
    return _LEGEND.format(split=split) + (_PUBLISHED if split == "test" else _CHOOSING)


def accuracy_table(rows: Sequence[TableRow], seeds: int, *, published: bool = True) -> str:
    """Accuracy by group, beside the nearest `published` number; see [`published_notes`] for its notes."""
    columns = group_columns(rows)
    numbers = {text: number for number, text in enumerate(published_notes(rows), start=1)}
    header = ["", "seeds", *map(column_title, columns), *(["published", "its protocol"] if published else [])]
    lines = []
    for row in rows:
        cells = [row.label, f"{len(row.runs)} of {seeds}" if len(row.runs) < seeds else str(seeds)]
        if not row.values:
            cells[1] = NOT_RUN
        cells += [_value(row.values[name]) if name in row.values else "-" for name in columns]
        lines.append([*cells, *(_published(row, numbers) if published else [])])
    return markdown_table(header, lines)


def published_notes(rows: Sequence[TableRow]) -> list[str]:
    """What somebody must know who compares with the published numbers shown, in the order of their numbers."""
    return list(dict.fromkeys(row.published[0]["note"] for row in rows if row.published and row.published[0]["note"]))


def difference_table(rows: Sequence[TableRow], baseline: str) -> str:
    """Differences to a baseline; empty if there are none."""
    rows = [row for row in rows if row.differences.get(baseline)]
    if not rows:
        return ""
    columns = group_columns(rows)
    header = [f"minus {baseline}", *map(column_title, columns)]
    lines = []
    for row in rows:
        cells = [row.label]
        for name in columns:
            part = row.differences[baseline].get(name)
            cells.append(
                f"{_signed(part['mean'])} [{_signed(part['low'])}, {_signed(part['high'])}] p {_p_range(part)}"
                if part
                else "-"
            )
        lines.append(cells)
    return markdown_table(header, lines)


def cost_table(rows: Sequence[TableRow]) -> str:
    """Step time and memory; empty if nothing was measured."""
    if not any(row.cost for row in rows):
        return ""
    lines = []
    for row in rows:
        steps = [f"{stage['ratio']:.2f}" for stage in row.cost.get("stages", [])]
        memory = row.cost.get("memory", {}).get("ratio")
        lines.append(
            [
                row.label,
                " + ".join(steps) or "-",
                "-" if memory is None else f"{memory:.2f}",
                "-" if row.minutes is None else f"{row.minutes:.1f}",
            ]
        )
    return markdown_table(["", "step", "memory", "minutes"], lines)


def notes(rows: Sequence[TableRow], test: TestSet | None, data: Mapping[str, Any]) -> list[str]:
    """
    What a reader of the numbers must know.

    Args:
        rows (sequence of [`TableRow`]).
        test ([`TestSet`], *optional*): With the class counts of the protocol.
        data (`dict`): Data options of the protocol.
    """
    found = []
    for row in rows:
        if test is None or row.training_images in (None, sum(test.class_counts)):
            continue
        own = next(iter(row.runs.values()))["settings"]["data"]
        options = ", ".join(f"{key}={value}" for key, value in own.items() if public(data).get(key) != value)
        found.append(
            f"{row.label} was trained on {row.training_images:,} images, the other rows on "
            f"{sum(test.class_counts):,} ({options}); the groups are those of the other rows."
        )
    found += _computation_notes(rows)
    chosen = [row.label for row in rows if row.runs and row.chooses_on_validation]
    if chosen and test is not None and test.split == "validation":
        found.append(f"Chose something on the same images that measure it here: {', '.join(chosen)}.")
    missing = [row.label for row in rows if not row.runs]
    if missing:
        found.append(f"Not run: {', '.join(missing)}. The same command runs what is missing.")
    return found


def group_columns(rows: Sequence[TableRow]) -> list[str]:
    """
    Groups that any row has; all of them where nothing is run. The mean over classes has a column where the images are
    not balanced, so that it is not the accuracy over all images.
    """
    found = [name for name in GROUP_COLUMNS if any(name in row.values for row in rows)]
    both = [row.values for row in rows if MEAN in row.values]
    if any(abs(values["accuracy"]["mean"] - values[MEAN]["mean"]) > 1e-9 for values in both):
        found.insert(1, MEAN)
    return found or list(GROUP_COLUMNS)


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
            head, value = column_title(name), row.values.get(name, {})
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
                head = f"{column_title(name)}_minus_{baseline}"
                for key in ("mean", "low", "high"):
                    line[f"{head}_{key}"] = _percent(part.get(key))
                line[f"{head}_p"] = part.get("p")
        lines.append(line)
    return _csv(lines)


def published_csv(rows: Sequence[TableRow]) -> str:
    """Every published number that belongs to a row, the nearest protocol first."""
    lines = [{"row": row.label, **published} for row in rows for published in row.published]
    return _csv(lines or [{"row": None}])


def _computation_notes(rows: Sequence[TableRow]) -> list[str]:
    """Which rows were computed otherwise than others; empty where nothing is known to differ."""
    notes = []
    rows = [row for row in rows if row.runs]
    for fact in COMPUTATION:
        labels: dict[str, list[str]] = {}
        for row in rows:
            for value in sorted({used_computation(run, fact) for run in row.runs.values()}):
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


def _p_range(part: Mapping[str, Any]) -> str:
    """One p, or the smallest and the largest of the seeds where they read differently."""
    largest, smallest = format_p(part["p"]), format_p(part.get("p_smallest", part["p"]))
    return largest if largest == smallest else f"{smallest} to {largest}"


def _value(value: Mapping[str, float]) -> str:
    for key in ("mean", "low", "high"):
        if not math.isfinite(value[key]):
            raise ValueError(f"{key} is {value[key]}, not a number that can be reported")
    spread = ""
    if "std" in value:
        spread = f" ±{100 * value['std']:.1f}"
    elif value["runs"] > 1:
        spread = f" ({100 * value['min']:.1f} to {100 * value['max']:.1f})"
    return f"{100 * value['mean']:.1f}{spread} [{100 * value['low']:.1f}, {100 * value['high']:.1f}]"


def _signed(value: float) -> str:
    # Adding zero takes the sign of a rounded zero away.
    return f"{round(100 * value, 1) + 0.0:+.1f}"


def _published(row: TableRow, notes: Mapping[str, int]) -> list[str]:
    if not row.published:
        return ["-", "-"]
    nearest = row.published[0]
    groups = [nearest[name] for name in GROUP_COLUMNS[1:]]
    text = f"{nearest['top1_all']:.1f}"
    if all(value is not None for value in groups):
        text += f" ({'/'.join(f'{value:.1f}' for value in groups)})"
    note = f" (note {notes[nearest['note']]})" if nearest["note"] else ""
    return [text, protocol_in_words(nearest) + note]


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
