"""The report of a table: its rows compared, as text, page, CSV and figures, from the finished runs of a folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from ..data import ClassCounts
from ..evaluation.statistics import DEFAULT_RESAMPLES
from ..files import write_text
from ..markup import code_block, markdown, markdown_code, one_line
from ..methods import LongTailMethod
from ..reading import json_form
from ..redaction import public
from ..reporting import plot_group_errors, plot_group_given, plot_group_intervals, plot_option_sweep
from ..storage import naming_storage_errors
from . import tables
from .cost import read_cost
from .plans import Plan, tau_of
from .protocol import Protocol, without_places
from .published import published_targets
from .results import (
    COMPUTATION,
    Result,
    TestSet,
    check_settings,
    read_result,
    recorded_counts,
    result_path,
    used_computation,
)
from .rows import MethodSpecification, default_baseline, expand_rows, find_baseline
from .statistics import TableRow, measure_row, row_differences
from .sweeps import Sweep, find_sweeps, is_swept


class TableReport:
    """
    Reads the finished runs of a table's folder and compares them.

    Args:
        protocol ([`Protocol`]): Runs of other settings are refused.
        rows (sequence of `str` or [`MethodSpecification`]): Those not run say so.
        seeds (sequence of `int`).
        output_dir (`str` or `Path`): As given to [`Table`].
        baseline (`str` or sequence of `str`, *optional*): The row that others are tested against, or several, each
            with a table of differences: a row as it is written, or as much of it as no other row has (`crt` for
            `crt:sampler=instance`). `cross_entropy` if it is among the rows, else the first.
        resamples (`int`, defaults to 2000): Of the bootstrap.
        split (`str`, defaults to `"test"`): What the runs were measured on, as given to [`Table`].

    Raises:
        `ValueError`: for a baseline that is no row, or a result of other settings.
    """

    def __init__(
        self,
        protocol: Protocol,
        rows: Sequence[str | MethodSpecification],
        seeds: Sequence[int],
        output_dir: str | Path,
        *,
        baseline: str | Sequence[str] | None = None,
        resamples: int = DEFAULT_RESAMPLES,
        split: str = "test",
    ):
        self.protocol = protocol
        self.seeds = list(seeds)
        self.output_dir = Path(output_dir)
        self.resamples, self.split = resamples, split
        self.specifications = expand_rows(rows, protocol.rows, f"protocol {protocol.name}")
        labels = [row.label for row in self.specifications]
        wanted = [default_baseline(labels)] if baseline is None else baseline
        wanted = [wanted] if isinstance(wanted, str) else list(wanted)
        self.baselines = list(dict.fromkeys(find_baseline(text, self.specifications) for text in wanted))
        if resamples < 1:
            raise ValueError(f"The bootstrap needs at least one resample, got {resamples}")
        self.test = TestSet.read(self.output_dir)

    @cached_property
    def rows(self) -> list[TableRow]:
        """Every row asked for, in order."""
        rows = [self._row(specification) for specification in self.specifications]
        if self.test is not None:
            for row in rows:
                measure_row(row, self.test, resamples=self.resamples)
            by_label = {row.label: row for row in rows}
            for row in rows:
                row.differences = {
                    name: row_differences(row, by_label[name], self.test, resamples=self.resamples)
                    for name in self.baselines
                    if name != row.label
                }
        return rows

    @property
    def baseline(self) -> str:
        """The first of the baselines."""
        return self.baselines[0]

    @cached_property
    def sweeps(self) -> list[Sweep]:
        """Options that the finished rows vary."""
        return find_sweeps(self.rows)

    @cached_property
    def costs(self) -> dict[str, Any]:
        """What [`Table.measure_cost`] wrote; empty if it was not called."""
        return read_cost(self.output_dir)

    def _row(self, specification: MethodSpecification) -> TableRow:
        """A row with its runs, and what is known without their numbers."""
        runs = self._runs(specification)
        method = specification.build(self._counts(runs), self.protocol.method_options(specification.name))
        return TableRow(
            specification,
            runs,
            description=json_form(method.describe()),
            chooses_on_validation=method.needs_validation,
            published=self._published(specification, method),
            cost=self.costs.get("rows", {}).get(specification.trained.label, {}),
        )

    def _published(self, row: MethodSpecification, method: LongTailMethod) -> list[dict[str, Any]]:
        """What is published about a row; printed numbers are of test images."""
        if self.split != "test":
            return []
        place, tau = self.protocol.published_place, tau_of(row, self.protocol)
        return published_targets(method, place, post_hoc=row.post_hoc, tau=tau)

    def _runs(self, row: MethodSpecification) -> dict[int, Result]:
        runs = {}
        for seed in self.seeds:
            content = read_result(self.output_dir, row, seed)
            if content is None:
                continue
            if self.test is None:
                raise ValueError(f"{self.output_dir} has results but no test_set.json to compare them on")
            expected = Plan.make(self.protocol, row, seed, recorded_counts(content)).settings(row, self.split)
            check_settings(content, {"settings": expected}, result_path(self.output_dir, row, seed))
            runs[seed] = content
        return runs

    def _counts(self, runs: dict[int, Result]) -> ClassCounts:
        """Counts to build a method with, only to know what it is; any will do where nothing is run."""
        for run in runs.values():
            return recorded_counts(run)
        return self.test.counts() if self.test is not None else ClassCounts([500, 50, 5])

    # ------------------------------------------------------------------ output
    def markdown(self) -> str:
        """The tables, in Markdown that reads as plain text."""
        accuracies = tables.accuracy_table(self.rows, len(self.seeds), published=self.split == "test")
        parts = [accuracies, tables.legend(self.split)]
        notes = tables.published_notes(self.rows)
        if notes:
            numbered = (f"{number}: {text}." for number, text in enumerate(notes, start=1))
            parts.append(f"Notes on published numbers. {' '.join(numbered)}")
        differences = {name: tables.difference_table(self.rows, name) for name in self.baselines}
        shown = [name for name, table in differences.items() if table]
        if shown:
            parts += [differences[name] for name in shown]
            parts.append(tables.DIFFERENCE_LEGEND.format(baseline=" and to ".join(shown), split=self.split))
        cost = tables.cost_table(self.rows)
        if cost:
            parts += [cost, tables.COST_LEGEND.format(baseline=self.costs["baseline"])]
        parts += tables.notes(self.rows, self.test, self.protocol.data)
        return "\n\n".join(parts)

    def page(self, figures: Mapping[Path, str] | None = None) -> str:
        """
        The page of the folder: the tables, and what they were made with.

        Args:
            figures (`dict[Path, str]`, *optional*): Those of the folder, with their captions.
        """
        protocol, runs = self.protocol, self._finished_runs()
        changed = ", ".join(f"{key} {value}" for key, value in public(protocol.overrides).items())
        title = f"{protocol.title or protocol.name}{f' (changed: {changed})' if changed else ''}"
        if self.split != "test":
            title += f", measured on {self.split} images"
        parts = [f"# {markdown(title)}", self.markdown()]
        parts += [f"![{markdown(caption)}]({path.name})" for path, caption in (figures or {}).items()]
        facts = self._made_with()
        lines = [f"- {name}: {'; '.join(sorted(values))}" for name, values in facts.items() if values]
        parts.append("## Made with\n\n" + "\n".join(lines))
        commands = sorted({run["command"] for run in runs if run["command"]})
        if commands:
            parts.append(code_block("\n".join(commands), "bash"))
        parts.append(f"## Protocol\n\n{code_block(_protocol_yaml(protocol).rstrip(), 'yaml')}")
        everything = "Every number of a run, its predictions and all of its settings are in `results/`"
        printed = (
            "; every published number that belongs to a row is in `published.csv`" if self.split == "test" else ""
        )
        parts.append(f"{everything}{printed}.")
        return "\n\n".join(parts) + "\n"

    def _finished_runs(self) -> list[Result]:
        return [run for row in self.rows for run in row.runs.values()]

    def _made_with(self) -> dict[str, Iterable[str]]:
        """Facts of the page by name."""
        protocol, runs = self.protocol, self._finished_runs()
        facts: dict[str, Iterable[str]] = {
            "Protocol": [
                markdown_code(protocol.name) + (f", {one_line(protocol.source, 1000)}" if protocol.source else "")
            ],
            "Changed by": [markdown(f"{key}={value}") for key, value in public(protocol.overrides).items()],
            "Seeds": [str(seed) for seed in self.seeds],
            "Selection": {run["selection"] for run in runs},
            "Hardware": {run["hardware"] for run in runs},
            "Computed with": {
                ", ".join(used_computation(run, fact) for fact in COMPUTATION)
                for run in runs
                if run.get("computation")
            },
            "Processes": {str(run["processes"]) for run in runs},
            "Commit": {_commit(run) for run in runs if run["commit"]},
            "Dates": {run["date"][:10] for run in runs},
            "Versions": {
                ", ".join(f"{package} {version}" for package, version in sorted(run["versions"].items()))
                for run in runs
            },
        }
        if self.test is not None:
            counts = self.test.counts()
            facts["Training images"] = [
                f"{counts.total:,} of {counts.num_classes} classes, {max(counts)} to {min(counts)} per class"
            ]
            sizes = ", ".join(f"{name} {len(classes)}" for name, classes in counts.groups.items())
            facts["Classes of the groups"] = [sizes]
            facts[f"{self.split.capitalize()} images"] = [f"{len(self.test.labels):,}"]
            own = {run["data"]["row_hash"] for run in runs if run["data"]["class_counts"] == list(counts.counts)}
            facts["Hash of the training rows"] = {f"`{value}`" for value in own if value}
        return facts

    def write(self) -> list[Path]:
        """
        Write `README.md`, `results.csv`, `published.csv` and, where matplotlib is installed, the figures into the
        folder of the table: `groups.png`, accuracy with intervals; `sweep_<method>_<option>.png` for every option that
        rows vary; `group_errors.png` and `group_given.png`, what confusing groups costs the other rows.

        Returns:
            `list[Path]`: the files written.
        """
        with naming_storage_errors(self.output_dir):
            self.output_dir.mkdir(parents=True, exist_ok=True)
            figures = self._figures()
            contents = {
                "README.md": self.page(figures),
                "results.csv": tables.results_csv(self.rows, self.baselines),
            }
            if self.split == "test":
                contents["published.csv"] = tables.published_csv(self.rows)
            paths = []
            for name, text in contents.items():
                paths.append(self.output_dir / name)
                write_text(paths[-1], text)
            return paths + list(figures)

    def _figures(self) -> dict[Path, str]:
        """Draw what there are numbers for; captions by path."""
        finished = [row for row in self.rows if row.values]
        if not finished:
            return {}
        single = [row for row in finished if not is_swept(row, self.sweeps)]
        errors = {row.label: row.group_errors for row in single if row.group_errors}
        given = {row.label: row.group_given for row in single if row.group_given}
        figures: dict[Path, str] = {}
        try:
            path = plot_group_intervals(self.output_dir / "groups.png", {row.label: row.values for row in finished})
            figures[path] = "Accuracy by group with 95 % intervals"
            for sweep in self.sweeps:
                lines = {
                    name: {value: row.values for value, row in line.items()} for name, line in sweep.lines.items()
                }
                path = plot_option_sweep(self.output_dir / sweep.file_name, sweep.option, lines)
                figures[path] = f"Accuracy of {sweep.method} over {sweep.option} with 95 % intervals"
            if errors:
                path = plot_group_errors(self.output_dir / "group_errors.png", errors)
                figures[path] = "Groups that misclassified images were predicted into, in percent of a group's errors"
            if given:
                path = plot_group_given(self.output_dir / "group_given.png", given)
                figures[path] = "Accuracy against all classes, and with the group given"
        except ImportError as error:
            print(f"No figures: {error}")
            return {}
        return figures


def _commit(run: Result) -> str:
    # A run outside of any checkout cannot see its commit; whoever writes it down later says so in the result.
    return f"`{run['commit']}`{' (entered afterwards)' if run.get('commit_entered_afterwards') else ''}"


def _protocol_yaml(protocol: Protocol) -> str:
    content = {
        "data": without_places(protocol.data),
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
