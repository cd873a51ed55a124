"""
What a row costs: what its training took, and how its steps and memory compare with the baseline's.

Times of different sessions cannot be compared on a machine that does other things, so nothing here is reported as a
time alone: the methods take their steps in turn, in one process, and each is divided by the baseline's steps of the
same round. The steps are those of the real trainer, batch loader included; what a method does once per epoch is not
in them. Memory is that of a fresh process per method, because a process keeps what it once took.
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from ..environment import provenance
from ..files import write_json
from ..reading import read_json
from .plans import Plan, TableData
from .protocol import Protocol
from .rows import MethodSpecification, default_baseline
from .timing import TimedStage, paired_times

TRAINING_FILE = "training.json"
COST_FILE = "cost.json"
_MEMORY_STEPS = 3


class TrainingMeasures(TrainerCallback):
    """Writes steps and peak memory of a stage into its folder when its training ends."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        reset_peak_memory(args.device)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            record = {"steps": state.global_step, "peak_memory": peak_memory(args.device)}
            write_json(Path(args.output_dir) / TRAINING_FILE, record)


def reset_peak_memory(device: torch.device) -> None:
    """Start to measure; on a CPU where the system allows it (Linux)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        # 5 resets the high-water mark of the resident set (proc(5)).
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        pass


def peak_memory(device: torch.device) -> dict[str, Any]:
    """
    The most memory used since [`reset_peak_memory`].

    Returns:
        `dict`: `bytes`, and `kind`: on a GPU what tensors took, else the resident set of the whole process, which
            contains Python, the libraries and the decoded images.
    """
    if device.type == "cuda":
        return {"bytes": torch.cuda.max_memory_allocated(device), "kind": "tensors on the GPU"}
    return {"bytes": _status("VmHWM"), "kind": "resident set of the process"}


def resident_memory() -> int:
    """Bytes of this process that are in memory now (where the system does not say, the most there ever were)."""
    return _status("VmRSS")


def _status(name: str) -> int:
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
    except (OSError, StopIteration):
        import resource  # not on Windows

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else 1024 * most  # macOS counts bytes


def measure_cost(
    data: TableData,
    rows: Sequence[MethodSpecification],
    seed: int,
    output_dir: Path,
    *,
    baseline: str | None = None,
    rounds: int = 7,
    steps: int = 4,
    memory: bool = True,
    log: Callable[[str], None] = print,
) -> dict[str, Any]:
    """
    Paired step times and memory of rows against a baseline, written to `cost.json`.

    Args:
        data ([`TableData`]), rows (sequence of [`MethodSpecification`]), seed (`int`), output_dir (`Path`): Of the
            table; nothing need be run.
        baseline (`str`, *optional*): As in [`TableReport`]; measured though it be no row.
        rounds (`int`, defaults to 7): In each, every stage takes its steps once; the median is reported.
        steps (`int`, defaults to 4): Training steps of a stage in a round.
        memory (`bool`, defaults to `True`): Also measure memory, in a fresh process per stage.
        log (`Callable`, defaults to `print`): Told what begins.

    Returns:
        `dict`: `baseline`, `rows` (by row: `stages`, each with `name`, `ratio` to the baseline's step, `milliseconds`
            and `baseline_milliseconds`, all medians over rounds; `memory` with `ratio`, `bytes`, `baseline_bytes`,
            `kind`), `rounds`, `steps`, `hardware`, `date`. Stages that train nothing are left out.

    Raises:
        `ValueError`: in one of several processes.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError("Costs are measured in one process: call the table without a launcher for it")
    labels = list(dict.fromkeys(row.trained.label for row in rows))
    baseline = MethodSpecification.parse(baseline or default_baseline(labels)).trained.label
    stages = {label: _trained_stages(data, label, seed) for label in dict.fromkeys([baseline, *labels])}
    contenders = dict(pair for parts in stages.values() for pair in parts)
    base = stages[baseline][-1][0]
    log(f"Timing {len(contenders)} stages in turn, {rounds} rounds of {steps} steps")
    times = paired_times(contenders, rounds=rounds, steps=steps)
    measured: dict[str, dict[str, Any]] = {
        label: {"stages": [_step_cost(timed.stage.name, times[key], times[base]) for key, timed in stages[label]]}
        for label in labels
    }
    if memory:
        log(f"Measuring the memory of {len(contenders)} stages, each in its own process")
        peaks = {key: _memory_in_child(timed.plan, timed.stage.name) for key, timed in contenders.items()}
        for label in labels:
            measured[label]["memory"] = _memory_cost([peaks[key] for key, _ in stages[label]], peaks[base])
    content = {
        "protocol": data.protocol.name,
        "baseline": baseline,
        "rows": _earlier_rows(output_dir, data.protocol.name, baseline) | measured,
        "rounds": rounds,
        "steps": steps,
        **provenance(),
    }
    write_json(output_dir / COST_FILE, content)
    return content


def _step_cost(name: str, times: Sequence[float], baseline: Sequence[float]) -> dict[str, Any]:
    return {
        "name": name,
        "ratio": statistics.median(own / base for own, base in zip(times, baseline, strict=True)),
        "milliseconds": 1000 * statistics.median(times),
        "baseline_milliseconds": 1000 * statistics.median(baseline),
    }


def _memory_cost(peaks: Sequence[dict[str, Any]], baseline: dict[str, Any]) -> dict[str, Any]:
    """Of the stage of a row that takes most."""
    highest, base = max(peaks, key=lambda peak: peak["bytes"]), baseline["bytes"]
    return {**highest, "baseline_bytes": base, "ratio": highest["bytes"] / base}


def read_cost(output_dir: Path) -> dict[str, Any]:
    """What [`measure_cost`] wrote into a table's folder; empty if it was not called."""
    path = output_dir / COST_FILE
    return read_json(path) if path.is_file() else {}


def _earlier_rows(output_dir: Path, protocol: str, baseline: str) -> dict[str, Any]:
    """Rows measured in other sessions: their ratios were paired there and stay true."""
    content = read_cost(output_dir)
    same = content.get("baseline") == baseline and content.get("protocol") == protocol
    return content["rows"] if same else {}


def _trained_stages(data: TableData, row: str, seed: int) -> list[tuple[str, TimedStage]]:
    """The stages of a row that train, each behind a key that equal stages of different rows have in common."""
    plan = data.plan(MethodSpecification.parse(row), seed)
    found = []
    for stage in plan.stages:
        if plan.arguments_of(stage).get("num_train_epochs") == 0:
            continue
        facts = [stage.method.describe(), stage.config, plan.compared(stage), list(plan.counts.counts)]
        key = json.dumps(facts, sort_keys=True, default=str)
        found.append((key, TimedStage(plan, stage, data.splits(plan.row.name))))
    if not found:
        raise ValueError(f"{row} trains nothing whose steps could be timed")
    return found


def _memory_in_child(plan: Plan, stage: str) -> dict[str, Any]:
    """Peak memory of a few steps in a fresh process."""
    order = {
        "protocol": dataclasses.asdict(plan.protocol),
        "row": plan.row.label,
        "seed": plan.seed,
        "stage": stage,
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
        raise RuntimeError(f"Measuring the memory of {plan.row.label}, stage {stage}, failed: {last}")
    return json.loads(answer.stdout.strip().splitlines()[-1])


def _memory_here(order: dict[str, Any]) -> dict[str, Any]:
    """
    What a stage's training takes in this process: on a GPU the most that tensors took, else by how much the resident
    set grew over what libraries and data had taken before.
    """
    data = TableData(Protocol(**order["protocol"]))
    plan = data.plan(MethodSpecification.parse(order["row"]), order["seed"])
    stage = next(stage for stage in plan.stages if stage.name == order["stage"])
    timed = TimedStage(plan, stage, data.splits(plan.row.name))
    with tempfile.TemporaryDirectory() as folder:
        before = resident_memory()
        trainer = timed.trainer(folder, _MEMORY_STEPS)
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
