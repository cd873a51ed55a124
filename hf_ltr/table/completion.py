"""A table from the runs that are missing to its report."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ..redaction import public
from .runs import Table


def complete(
    table: Table,
    *,
    baseline: Sequence[str] | None = None,
    resamples: int = 2000,
    report_only: bool = False,
    measure_cost: bool = False,
) -> None:
    """
    Run what is missing, print the report and write it.

    Args:
        table ([`Table`]).
        baseline (sequence of `str`, *optional*): Rows the others are tested against.
        resamples (`int`, defaults to 2000): Of the bootstrap.
        report_only (`bool`, defaults to `False`): Run nothing.
        measure_cost (`bool`, defaults to `False`): Also time a step of every row.

    Raises:
        `FloatingPointError`: where a row diverged, after the others are reported.
    """
    changed = ", ".join(f"{key}={value}" for key, value in public(table.protocol.overrides).items())
    table.log(f"Protocol {table.protocol.name}{f', changed: {changed}' if changed else ''}")
    if measure_cost and os.environ.get("WORLD_SIZE", "1") != "1":
        raise ValueError("--measure_cost takes one process; call the table without a launcher for it")
    # Mistakes in what the report is to say are found before hours of training, not after.
    report = table.report(baseline=baseline, resamples=resamples)
    diverged = None
    if not report_only:
        try:
            table.run()
        except FloatingPointError as error:
            # The rows that did not diverge are reported all the same.
            diverged = error
        if measure_cost and diverged is None:
            table.measure_cost(baseline=report.baseline if baseline else None)
    if table.is_main_process:
        report = table.report(baseline=baseline, resamples=resamples)
        print(f"\n{report.markdown()}\n")
        print(f"Written: {', '.join(str(path) for path in report.write())}")
    if diverged is not None:
        raise diverged
