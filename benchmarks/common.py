"""
What all benchmarks share: interleaved rounds, ratios, and the machine the figures belong to.

A single figure of a shared machine says little. Variants are therefore run in interleaved rounds, every other round in
reversed order, and compared by the median of the rounds' ratios and by best / best.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path

from hf_ltr.environment import hardware, package_versions

PACKAGES = ("torch", "torchvision", "transformers", "accelerate", "datasets", "timm")


def interleave(variants: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """
    Seconds of every variant in every round.

    Args:
        variants (`dict[str, Callable]`): Each runs once and returns the seconds that count.
        rounds (`int`): Every other one runs the variants in reversed order.
    """
    times: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(rounds):
        for name in list(variants)[:: 1 if number % 2 == 0 else -1]:
            times[name].append(variants[name]())
    return times


def median_ratio(times: list[float], reference: list[float]) -> float:
    """Median over the rounds of time / time of the reference in the same round."""
    return statistics.median(own / base for own, base in zip(times, reference, strict=True))


def best_ratio(times: list[float], reference: list[float]) -> float:
    """Best time / best time of the reference."""
    return min(times) / min(reference)


def ratio_table(
    times: Mapping[str, list[float]], reference: str, goals: Mapping[str, float], *, unit: float = 1e-3
) -> str:
    """
    One line per variant: best, median and worst time, and its ratios to the reference.

    Args:
        times (`dict[str, list[float]]`): Seconds by variant and round.
        reference (`str`): The variant all others are divided by.
        goals (`dict[str, float]`): The ratio a variant should not exceed.
        unit (`float`): Seconds per printed unit; milliseconds by default.
    """
    name_of_unit = {1.0: "s", 1e-3: "ms"}[unit]
    heading = f"min/median/max {name_of_unit}"
    lines = [f"{'variant':<44}{heading:>26}{'median ratio':>14}{'min/min':>9}{'goal':>7}"]
    for name, found in times.items():
        figures = "/".join(f"{value / unit:.1f}" for value in (min(found), statistics.median(found), max(found)))
        goal = f"{goals[name]:.2f}" if name in goals else ""
        lines.append(
            f"{name:<44}{figures:>26}{median_ratio(found, times[reference]):>14.3f}"
            f"{best_ratio(found, times[reference]):>9.3f}{goal:>7}"
        )
    return "\n".join(lines)


def machine(threads: int | None = None) -> str:
    """Processor, cores, load, threads and versions, in two lines."""
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    used = f", {threads} threads" if threads is not None else ""
    versions = ", ".join(f"{name} {version}" for name, version in package_versions(PACKAGES).items())
    return f"{hardware()}{load}{used}\n{versions}"


def argument_parser(description: str | None, *, rounds: int, steps: int | None = None) -> argparse.ArgumentParser:
    """A parser with the options every benchmark has."""
    parser = argparse.ArgumentParser(description=(description or "").strip().splitlines()[0])
    parser.add_argument("--rounds", type=int, default=rounds, help="interleaved rounds")
    if steps is not None:
        parser.add_argument("--steps", type=int, default=steps, help="timed steps per round")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch")
    return parser


def cifar100_folder() -> Path | None:
    """The real CIFAR-100 beside the repository, or None; HF_LTR_SHARED names the folder above `data`."""
    root = Path(os.environ.get("HF_LTR_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    folder = root / "data" / "cifar100"
    return folder if folder.is_dir() else None


def reset_peak_memory() -> int:
    """Start measuring the peak of the resident set anew; the bytes resident now (0 where the system cannot tell)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return 0
    return _status("VmRSS")


def peak_memory() -> int:
    """Highest resident set in bytes since [`reset_peak_memory`]."""
    return _status("VmHWM")


def _status(field: str) -> int:
    path = Path("/proc/self/status")
    if not path.is_file():
        return 0
    for line in path.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    return 0
