"""The table itself: text, Markdown, CSV and a figure, from the finished runs of a folder and nothing else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from ..data import ClassCounts
from ..evaluation.published import published_targets
from ..naming import unknown_name
from . import formats, page
from .measures import COST_FILE
from .plans import Plan
from .protocol import Protocol
from .results import TestSet, check_settings, read_result, result_path
from .rows import TableRow, row_differences, row_values
from .specification import MethodSpecification


class TableReport:
    """
    Reads the finished runs of a table's folder and compares them.

    Args:
        protocol ([`Protocol`]): Runs of other settings are refused.
        rows (sequence of `str` or [`MethodSpecification`]): Those not run say so.
        seeds (sequence of `int`).
        output_dir (`str` or `Path`): As given to [`Table`].
        baseline (`str`, *optional*): The row that others are tested against; `cross_entropy` if it is among them, else
            the first.
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
        baseline: str | None = None,
        resamples: int = 2000,
    ):
        self.protocol = protocol
        self.seeds = list(seeds)
        self.output_dir = Path(output_dir)
        self.resamples = resamples
        self.specifications = [
            row if isinstance(row, MethodSpecification) else MethodSpecification.parse(row) for row in rows
        ]
        labels = [row.label for row in self.specifications]
        if baseline is not None:
            baseline = MethodSpecification.parse(baseline).label
            if baseline not in labels:
                raise unknown_name("baseline", baseline, labels, "It must be one of the rows.")
        if resamples < 1:
            raise ValueError(f"The bootstrap needs at least one resample, got {resamples}")
        self.baseline = baseline or ("cross_entropy" if "cross_entropy" in labels else labels[0])
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
            published = published_targets(method, self.protocol.published_place, post_hoc=row.post_hoc)
            rows.append(TableRow(row, runs, values, published=published, cost=costs.get(row.trained.label, {})))
        for row in rows:
            if row.label != self.baseline and self.test is not None:
                row.differences = row_differences(
                    predictions[row.label], predictions[self.baseline], self.test, resamples=self.resamples
                )
        return rows

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
        differences = formats.difference_table(self.rows, self.baseline)
        if differences:
            parts += [differences, formats.DIFFERENCE_LEGEND.format(baseline=self.baseline)]
        cost = formats.cost_table(self.rows)
        if cost:
            parts += [cost, formats.COST_LEGEND.format(baseline=self.costs["baseline"])]
        parts += formats.notes(self.rows, self.test, self.protocol.data)
        return "\n\n".join(parts)

    def write(self) -> list[Path]:
        """
        Write `README.md`, `results.csv`, `published.csv` and, where matplotlib is installed, `groups.png` into the
        folder of the table.

        Returns:
            `list[Path]`: the files written.
        """
        self.output_dir.mkdir(parents=True, exist_ok=True)
        figure = self._figure()
        contents = {
            "README.md": page.readme(self, figure),
            "results.csv": page.results_csv(self.rows),
            "published.csv": page.published_csv(self.rows),
        }
        paths = []
        for name, text in contents.items():
            paths.append(self.output_dir / name)
            paths[-1].write_text(text, encoding="utf-8")
        return paths + ([figure] if figure else [])

    def _figure(self) -> Path | None:
        from ..evaluation import plot_group_intervals

        rows = {row.label: row.values for row in self.rows if row.values}
        if not rows:
            return None
        try:
            return plot_group_intervals(self.output_dir / "groups.png", rows)
        except ImportError as error:
            print(f"No figure: {error}")
            return None
