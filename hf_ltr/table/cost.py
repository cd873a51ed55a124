"""
What a method costs, relative to the baseline.

Times of different sessions cannot be compared on a machine that does other things, so nothing here is reported as a
time alone: the methods take their steps in turn, in one process, and each is divided by the baseline's steps of the
same round. The steps are those of the real trainer, batch loader included; what a method does once per epoch is not
in them. Memory is that of a fresh process per method, because a process keeps what it once took.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..files import write_json
from ..methods import Stage
from .measures import COST_FILE, peak_memory, reset_peak_memory, resident_memory
from .plans import Plan
from .protocol import Protocol
from .specification import MethodSpecification
from .timing import paired_times, timed_trainer

_MEMORY_STEPS = 3


def measure_cost(
    table: Any, *, baseline: str | None = None, rounds: int = 7, steps: int = 4, memory: bool = True
) -> dict[str, Any]:
    """
    Paired step times and memory of every row of a table against its baseline, written to `cost.json` in its folder.

    Args:
        table ([`Table`]): Its data are loaded; nothing need be run.
        baseline (`str`, *optional*): As in [`TableReport`]; measured though it be no row.
        rounds (`int`, defaults to 7): In each, every method takes its steps once; the median is reported.
        steps (`int`, defaults to 4): Training steps of a method in a round.
        memory (`bool`, defaults to `True`): Also measure memory, in a fresh process per method.

    Returns:
        `dict`: `baseline`, `rows` (by row: `stages`, each with `name`, `ratio` to the baseline's step, `milliseconds`
            and `baseline_milliseconds`, all medians over rounds; `memory` with `ratio`, `bytes`, `baseline_bytes`,
            `kind`), `rounds`, `steps`, `hardware`, `date`. Stages that train nothing are left out.

    Raises:
        `ValueError`: in one of several processes.
    """
    from ..environment import git_commit, hardware, package_versions

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError("Costs are measured in one process: call the table without a launcher for it")
    rows = list(dict.fromkeys(row.trained.label for row in table.rows))
    if baseline is None:
        baseline = "cross_entropy" if "cross_entropy" in rows else rows[0]
    baseline = MethodSpecification.parse(baseline).trained.label
    stages = _trained_stages(table, list(dict.fromkeys([baseline, *rows])))
    contenders = {
        key: (plan, stage, table.load(table.protocol.data_options(plan.row.name))[0])
        for parts in stages.values()
        for key, plan, stage in parts
    }
    base_key = stages[baseline][-1][0]
    table.say(f"Timing {len(contenders)} stages in turn, {rounds} rounds of {steps} steps")
    times = paired_times(contenders, rounds=rounds, steps=steps)
    peaks: dict[str, dict[str, Any]] = {}
    if memory:
        table.say(f"Measuring the memory of {len(contenders)} stages, each in its own process")
        peaks = {key: _memory_in_child(table.protocol, plan, stage) for key, (plan, stage, _) in contenders.items()}
    measured = {}
    for row in rows:
        parts = [
            {
                "name": stage.name,
                "ratio": statistics.median(a / b for a, b in zip(times[key], times[base_key], strict=True)),
                "milliseconds": 1000 * statistics.median(times[key]),
                "baseline_milliseconds": 1000 * statistics.median(times[base_key]),
            }
            for key, _, stage in stages[row]
        ]
        measured[row] = {"stages": parts}
        if memory:
            highest = max((peaks[key] for key, _, _ in stages[row]), key=lambda peak: peak["bytes"])
            base = peaks[base_key]["bytes"]
            measured[row]["memory"] = {**highest, "baseline_bytes": base, "ratio": highest["bytes"] / base}
    content = {
        "protocol": table.protocol.name,
        "baseline": baseline,
        "rows": _earlier_rows(table, baseline) | measured,
        "rounds": rounds,
        "steps": steps,
        "hardware": hardware(),
        "versions": package_versions(),
        "commit": git_commit(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    write_json(table.output_dir / COST_FILE, content)
    return content


def _earlier_rows(table: Any, baseline: str) -> dict[str, Any]:
    """Rows measured in other sessions: their ratios were paired there and stay true."""
    path = table.output_dir / COST_FILE
    if not path.is_file():
        return {}
    content = json.loads(path.read_text(encoding="utf-8"))
    same = content.get("baseline") == baseline and content.get("protocol") == table.protocol.name
    return content["rows"] if same else {}


def _trained_stages(table: Any, rows: Sequence[str]) -> dict[str, list[tuple[str, Plan, Stage]]]:
    """By row, `(key, plan, stage)` of the stages that train; equal stages of different rows have one key."""
    found: dict[str, list[tuple[str, Plan, Stage]]] = {}
    for row in rows:
        plan = table.plan(MethodSpecification.parse(row), table.seeds[0])
        found[row] = []
        for stage in plan.stages:
            if {**plan.arguments, **stage.arguments}.get("num_train_epochs") == 0:
                continue
            facts = [stage.method.describe(), stage.config, plan.compared(stage), list(plan.counts.counts)]
            found[row].append((json.dumps(facts, sort_keys=True, default=str), plan, stage))
        if not found[row]:
            raise ValueError(f"{row} trains nothing whose steps could be timed")
    return found


def _memory_in_child(protocol: Protocol, plan: Plan, stage: Stage) -> dict[str, Any]:
    """Peak memory of a few steps in a fresh process."""
    order = {
        "protocol": dataclasses.asdict(protocol),
        "row": plan.row.label,
        "seed": plan.seed,
        "stage": stage.name,
    }
    package = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
    answer = subprocess.run(
        [sys.executable, "-m", "hf_ltr.table.cost"],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    if answer.returncode != 0:
        last = (answer.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"Measuring the memory of {plan.row.label}, stage {stage.name}, failed: {last}")
    return json.loads(answer.stdout.strip().splitlines()[-1])


def _memory_here(order: dict[str, Any]) -> dict[str, Any]:
    """
    What a stage's training takes in this process: on a GPU the most that tensors took, else by how much the resident
    set grew over what libraries and data had taken before.
    """
    from .runs import Table

    table = Table(Protocol(**order["protocol"]), [order["row"]], [order["seed"]], "unused", announce=lambda text: None)
    plan = table.plan(table.rows[0], order["seed"])
    stage = next(stage for stage in plan.stages if stage.name == order["stage"])
    data, _ = table.load(table.protocol.data_options(plan.row.name))
    with tempfile.TemporaryDirectory() as folder:
        before = resident_memory()
        trainer = timed_trainer(plan, stage, data, folder, _MEMORY_STEPS)
        device = trainer.args.device
        reset_peak_memory(device)
        trainer.train()
        peak = peak_memory(device)
    if device.type == "cuda":
        return peak
    return {"bytes": max(1, peak["bytes"] - before), "kind": "growth of the resident set of a fresh process"}


if __name__ == "__main__":
    result = _memory_here(json.load(sys.stdin))
    print()  # whatever was printed before ends here
    print(json.dumps(result))
