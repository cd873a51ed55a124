"""The rows of a table as Markdown and CSV. Only finite numbers are written; what is not known is said or left out."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ..evaluation.published import protocol_in_words
from ..evaluation.statistics import format_p
from .results import TestSet
from .rows import GROUP_COLUMNS, TableRow

if TYPE_CHECKING:
    from .report import TableReport

NOT_RUN = "not run"
_HEADS = {"accuracy": "all"}
LEGEND = (
    "Top-1 accuracy in percent on the test images, after the last epoch; many, medium, few: mean over the group's "
    "classes. In brackets the 95 % interval over draws of the test images (stratified bootstrap); with several seeds "
    "the mean, and in front of the brackets the range of two or the standard deviation of more. Published numbers are "
    "those of their own protocol."
)
DIFFERENCE_LEGEND = (
    "Difference to {baseline} in points with its paired 95 % interval, and p of McNemar's test (mid-p, over the "
    "images of the group; the largest of the seeds). Both are about these weights on other test images, not about "
    "another training run."
)
COST_LEGEND = (
    "Step: time of a training step over that of {baseline}, in one process, taken in turn; stages are joined by +. "
    "Memory: the most that training takes, over that of {baseline}. Minutes: training of all stages, on the hardware "
    "of the run."
)


def accuracy_table(rows: Sequence[TableRow], seeds: int) -> str:
    """Accuracy by group, beside the nearest published number."""
    columns = _columns(rows)
    table = [["", "seeds", *(_HEADS.get(name, name) for name in columns), "published", "its protocol"]]
    for row in rows:
        cells = [_cell(row.label), f"{len(row.runs)} of {seeds}" if len(row.runs) < seeds else str(seeds)]
        if not row.values:
            cells[1] = NOT_RUN
        cells += [_value(row.values[name]) if name in row.values else "-" for name in columns]
        table.append([*cells, *_published(row)])
    return _markdown(table)


def difference_table(rows: Sequence[TableRow], baseline: str) -> str:
    """Differences to the baseline; empty if there are none."""
    rows = [row for row in rows if row.differences]
    if not rows:
        return ""
    columns = _columns(rows)
    table = [[f"minus {_cell(baseline)}", *(_HEADS.get(name, name) for name in columns)]]
    for row in rows:
        cells = [_cell(row.label)]
        for name in columns:
            part = row.differences.get(name)
            cells.append(
                f"{_signed(part['mean'])} [{_signed(part['low'])}, {_signed(part['high'])}] p {format_p(part['p'])}"
                if part
                else "-"
            )
        table.append(cells)
    return _markdown(table)


def cost_table(rows: Sequence[TableRow]) -> str:
    """Step time and memory; empty if nothing was measured."""
    if not any(row.cost for row in rows):
        return ""
    table = [["", "step", "memory", "minutes"]]
    for row in rows:
        steps = [f"{stage['ratio']:.2f}" for stage in row.cost.get("stages", [])]
        memory = row.cost.get("memory", {}).get("ratio")
        table.append(
            [
                _cell(row.label),
                " + ".join(steps) or "-",
                "-" if memory is None else f"{memory:.2f}",
                "-" if row.minutes is None else f"{row.minutes:.1f}",
            ]
        )
    return _markdown(table)


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
        options = ", ".join(f"{key}={value}" for key, value in own.items() if data.get(key) != value)
        found.append(
            f"{row.label} was trained on {row.training_images:,} images, the other rows on "
            f"{sum(test.class_counts):,} ({options}); the groups are those of the other rows."
        )
    missing = [row.label for row in rows if not row.runs]
    if missing:
        found.append(f"Not run: {', '.join(missing)}. The same command runs what is missing.")
    return found


def results_csv(rows: Sequence[TableRow]) -> str:
    """One line per row; accuracies and differences in percent, empty where not known."""
    lines = []
    columns = _columns(rows)
    for row in rows:
        line: dict[str, Any] = {
            "row": row.label,
            "status": "run" if row.runs else NOT_RUN,
            "seeds": " ".join(str(seed) for seed in sorted(row.runs)),
        }
        for name in columns:
            head, value, part = _HEADS.get(name, name), row.values.get(name, {}), row.differences.get(name, {})
            for key in ("mean", "low", "high", "min", "max", "std"):
                line[f"{head}_{key}"] = _percent(value.get(key))
            for key in ("mean", "low", "high"):
                line[f"{head}_difference_{key}"] = _percent(part.get(key))
            line[f"{head}_p"] = part.get("p")
        line["minutes"] = None if row.minutes is None else round(row.minutes, 2)
        line["step_ratio"] = " + ".join(f"{stage['ratio']:.3f}" for stage in row.cost.get("stages", []))
        line["memory_ratio"] = row.cost.get("memory", {}).get("ratio")
        nearest = row.published[0] if row.published else {}
        for key in ("top1_all", "many", "medium", "few", "epochs", "augmentation", "source"):
            line[f"published_{key}"] = nearest.get(key)
        lines.append(line)
    return _csv(lines)


def published_csv(rows: Sequence[TableRow]) -> str:
    """Every published number that belongs to a row, the nearest protocol first."""
    lines = [{"row": row.label, **published} for row in rows for published in row.published]
    return _csv(lines or [{"row": None}])


def readme(report: TableReport, figure: Path | None) -> str:
    """The page of the folder: the tables, and what they were made with."""
    protocol, rows = report.protocol, report.rows
    runs = [run for row in rows for run in row.runs.values()]
    parts = [f"# {protocol.title or protocol.name}", report.markdown()]
    if figure is not None:
        parts.append(f"![Accuracy by group with 95 % intervals]({figure.name})")
    facts: dict[str, Iterable[str]] = {
        "Protocol": [f"`{protocol.name}`" + (f", {protocol.source}" if protocol.source else "")],
        "Changed by": [f"{key}={value}" for key, value in protocol.overrides.items()],
        "Seeds": [str(seed) for seed in report.seeds],
        "Selection": {run["selection"] for run in runs},
        "Hardware": {run["hardware"] for run in runs},
        "Processes": {str(run["processes"]) for run in runs},
        "Commit": {f"`{run['commit']}`" for run in runs if run["commit"]},
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
        parts.append("```bash\n" + "\n".join(commands) + "\n```")
    parts.append(f"## Protocol\n\n```yaml\n{_protocol_yaml(protocol)}```")
    parts.append(
        "Every number of a run, its predictions and all of its settings are in `results/`; every published number "
        "that belongs to a row is in `published.csv`."
    )
    return "\n\n".join(parts) + "\n"


def _protocol_yaml(protocol: Any) -> str:
    data = {key: value for key, value in protocol.data.items() if key != "data_dir"}
    content = {
        "data": data,
        "model": protocol.model,
        "arguments": protocol.arguments,
        "stages": protocol.stages,
        "methods": protocol.methods,
        "post_hoc": protocol.post_hoc,
    }
    return yaml.safe_dump({key: value for key, value in content.items() if value}, sort_keys=False)


def _columns(rows: Sequence[TableRow]) -> list[str]:
    """Groups that any row has; all of them where nothing is run."""
    found = [name for name in GROUP_COLUMNS if any(name in row.values for row in rows)]
    return found or list(GROUP_COLUMNS)


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


def _percent(value: float | None) -> float | None:
    return None if value is None else round(100 * value, 4)


def _published(row: TableRow) -> list[str]:
    if not row.published:
        return ["-", "-"]
    nearest = row.published[0]
    groups = [nearest[name] for name in GROUP_COLUMNS[1:]]
    text = f"{nearest['top1_all']:.1f}"
    if all(value is not None for value in groups):
        text += f" ({'/'.join(f'{value:.1f}' for value in groups)})"
    return [text, _cell(protocol_in_words(nearest))]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _markdown(table: Sequence[Sequence[str]]) -> str:
    widths = [max(3, *(len(line[column]) for line in table)) for column in range(len(table[0]))]
    lines = [
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |" for line in table
    ]
    lines.insert(1, f"| {' | '.join('-' * width for width in widths)} |")
    return "\n".join(lines)


def _csv(lines: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    for line in lines:
        if any(isinstance(value, float) and not math.isfinite(value) for value in line.values()):
            raise ValueError(f"A value of {line.get('row')} is not finite and cannot be reported")
        writer.writerow({key: "" if value is None else value for key, value in line.items()})
    return text.getvalue()
