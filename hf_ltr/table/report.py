"""The table itself: text, Markdown, CSV and a figure, from the finished runs of a folder and nothing else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from ..data import ClassCounts
from ..files import write_text
from ..storage import naming_storage_errors
from . import formats, page
from .measures import COST_FILE
from .plans import Plan
from .protocol import Protocol, json_form
from .published import published_targets
from .results import TestSet, check_settings, read_result, result_path
from .row_sets import expand_rows, find_baseline
from .rows import TableRow, row_differences, row_group_errors, row_group_given, row_values
from .specification import MethodSpecification
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
        resamples: int = 2000,
    ):
        self.protocol = protocol
        self.seeds = list(seeds)
        self.output_dir = Path(output_dir)
        self.resamples = resamples
        self.specifications = expand_rows(rows, protocol)
        labels = [row.label for row in self.specifications]
        if baseline is None:
            baseline = "cross_entropy" if "cross_entropy" in labels else labels[0]
        wanted = [baseline] if isinstance(baseline, str) else list(baseline)
        self.baselines = list(dict.fromkeys(find_baseline(text, self.specifications) for text in wanted))
        if resamples < 1:
            raise ValueError(f"The bootstrap needs at least one resample, got {resamples}")
        self.test = TestSet.read(self.output_dir)

    @cached_property
    def rows(self) -> list[TableRow]:
        """Every row asked for, in order."""
        rows, predictions = [], {}
        costs = self.costs.get("rows", {})
        for row in self.specifications:
            runs = self._runs(row)
            values, predictions[row.label] = (
                ({}, {}) if self.test is None else row_values(runs, self.test, resamples=self.resamples)
            )
            method = row.build(self._counts(runs), self.protocol.method_options(row.name))
            published = published_targets(
                method, self.protocol.published_place, post_hoc=row.post_hoc, tau=self.protocol.tau
            )
            rows.append(TableRow(row, runs, values, published=published, cost=costs.get(row.trained.label, {})))
            rows[-1].description = json_form(method.describe())
            if self.test is not None:
                rows[-1].group_errors = row_group_errors(predictions[row.label], self.test)
                rows[-1].group_given = row_group_given(runs, self.test)
        for row in rows:
            for baseline in self.baselines:
                if row.label != baseline and self.test is not None:
                    row.differences[baseline] = row_differences(
                        predictions[row.label], predictions[baseline], self.test, resamples=self.resamples
                    )
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
        path = self.output_dir / COST_FILE
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def _runs(self, row: MethodSpecification) -> dict[int, dict[str, Any]]:
        runs = {}
        for seed in self.seeds:
            content = read_result(self.output_dir, row, seed)
            if content is None:
                continue
            if self.test is None:
                raise ValueError(f"{self.output_dir} has results but no test_set.json to compare them on")
            counts = ClassCounts(content["data"]["class_counts"], grouping=content["data"]["group_scheme"])
            expected = Plan.make(self.protocol, row, seed, counts).settings(row.post_hoc)
            check_settings(content, {"settings": expected}, result_path(self.output_dir, row, seed))
            runs[seed] = content
        return runs

    def _counts(self, runs: dict[int, dict[str, Any]]) -> ClassCounts:
        """Counts to build a method with, only to know what it is; any will do where nothing is run."""
        for run in runs.values():
            return ClassCounts(run["data"]["class_counts"])
        return self.test.counts() if self.test is not None else ClassCounts([500, 50, 5])

    # ------------------------------------------------------------------ output
    def markdown(self) -> str:
        """The tables, in Markdown that reads as plain text."""
        parts = [formats.accuracy_table(self.rows, len(self.seeds)), formats.LEGEND]
        notes = formats.published_notes(self.rows)
        if notes:
            numbered = (f"{number}: {text}." for number, text in enumerate(notes, start=1))
            parts.append(f"Notes on published numbers. {' '.join(numbered)}")
        differences = {name: formats.difference_table(self.rows, name) for name in self.baselines}
        shown = [name for name, table in differences.items() if table]
        if shown:
            parts += [differences[name] for name in shown]
            parts.append(formats.DIFFERENCE_LEGEND.format(baseline=" and to ".join(shown)))
        cost = formats.cost_table(self.rows)
        if cost:
            parts += [cost, formats.COST_LEGEND.format(baseline=self.costs["baseline"])]
        parts += formats.notes(self.rows, self.test, self.protocol.data)
        return "\n\n".join(parts)

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
                "README.md": page.readme(self, figures),
                "results.csv": page.results_csv(self.rows, self.baselines),
                "published.csv": page.published_csv(self.rows),
            }
            paths = []
            for name, text in contents.items():
                paths.append(self.output_dir / name)
                write_text(paths[-1], text)
            return paths + list(figures)

    def _figures(self) -> dict[Path, str]:
        """Draw what there are numbers for; captions by path."""
        from ..reporting import plot_group_errors, plot_group_given, plot_group_intervals, plot_option_sweep

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
