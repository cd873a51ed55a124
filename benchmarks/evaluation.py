"""
Evaluation at the size of iNaturalist 2018: 24,426 rows by 8,142 classes, LongTailTrainer against the stock Trainer.

    python benchmarks/evaluation.py [--rounds 3] [--threads 2] [--batch-size 128] [--skip-stock]

The model costs next to nothing (one addition makes its logits), so the figures are those of the evaluation loop alone:
seconds of one `evaluate()` that computes accuracy (the stock Trainer) or all metrics per group (LongTailTrainer), and
how far the resident set grew during it. Every measurement is a fresh process, which evaluates a few rows first. The
stock Trainer runs at its defaults but for the batch size, with a `compute_metrics` that takes the argmax.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from common import argument_parser, best_ratio, interleave, machine, median_ratio, peak_memory, reset_peak_memory
from torch import nn
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments

from hf_ltr import LongTailConfig, LongTailTrainer, LongTailTrainingArguments
from hf_ltr.models.modeling import LongTailOutput

ROWS, CLASSES = 24_426, 8_142
OURS, STOCK = "LongTailTrainer", "stock Trainer, default"
GOAL_SECONDS, GOAL_MEBIBYTES = 1.0, 64


class Rows(Dataset):
    """Tensors, so that no image decoding is in the figures."""

    def __init__(self, rows: int, classes: int):
        self.labels = torch.arange(rows) % classes
        self.items = [
            {"pixel_values": torch.full((1, 1, 1), row / rows), "labels": row % classes} for row in range(rows)
        ]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return self.items[row]


class Trivial(nn.Module):
    """Logits of one addition: a fixed row plus what the image holds."""

    def __init__(self, classes: int):
        super().__init__()
        self.config = LongTailConfig(
            backbone="resnet20_cifar",
            image_size=1,
            num_channels=1,
            image_mean=[0.0],
            image_std=[1.0],
            class_counts=[max(1, 1000 // (1 + label)) for label in range(classes)],
        )
        self.scores = nn.Parameter(torch.randn(classes, generator=torch.Generator().manual_seed(0)))

    def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None) -> Any:
        logits = self.scores + pixel_values.flatten(1)
        if labels is None:
            return LongTailOutput(logits=logits, raw_logits=logits)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def make_trainer(name: str, model: nn.Module, threads: int, **options: Any) -> Trainer:
    """Ours, or the stock one with the metric that everybody writes."""
    if name == OURS:
        args = LongTailTrainingArguments(**options, use_cpu=True, cpu_threads=threads, mixed_precision_mode="no")
        return LongTailTrainer(model=model, args=args)

    def accuracy(prediction: Any) -> dict[str, float]:
        return {"accuracy": float((prediction.predictions.argmax(1) == prediction.label_ids).mean())}

    return Trainer(model=model, args=TrainingArguments(**options, use_cpu=True), compute_metrics=accuracy)


def measure(name: str, rows: int, classes: int, batch_size: int, threads: int) -> dict[str, float]:
    """One `evaluate()` in this process: seconds, bytes of growth, and the accuracy as a check."""
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(
            name,
            Trivial(classes),
            threads,
            output_dir=folder,
            per_device_eval_batch_size=batch_size,
            disable_tqdm=True,
        )
        trainer.evaluate(Rows(2 * batch_size, classes))
        everything = Rows(rows, classes)
        before = reset_peak_memory()
        start = time.perf_counter()
        metrics = trainer.evaluate(everything)
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "growth": peak_memory() - before, "accuracy": metrics["eval_accuracy"]}


def main(argv: list[str] | None = None, report: Callable[[str], None] = print) -> dict[str, list[dict[str, float]]]:
    """Run and report; returns the measurements by variant."""
    parser = argument_parser(__doc__, rounds=3)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--classes", type=int, default=CLASSES)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--skip-stock", action="store_true", help="it takes up to a minute and a half a round")
    parser.add_argument("--one", help="measure this variant once in this process and print JSON")
    options = parser.parse_args(argv)
    sizes = [options.rows, options.classes, options.batch_size, options.threads]
    if options.one:
        print(json.dumps(measure(options.one, *sizes)))
        return {}

    found: dict[str, list[dict[str, float]]] = {}

    def fresh(name: str) -> float:
        command = [sys.executable, __file__, "--one", name]
        for option, value in zip(("--rows", "--classes", "--batch-size", "--threads"), sizes, strict=True):
            command += [option, str(value)]
        process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        result = json.loads(process.stdout.strip().splitlines()[-1])
        found.setdefault(name, []).append(result)
        return result["seconds"]

    names = [OURS] if options.skip_stock else [OURS, STOCK]
    times = interleave({name: partial(fresh, name) for name in names}, options.rounds)
    report(machine(options.threads))
    report(
        f"{options.rows:,} rows x {options.classes:,} classes, batch {options.batch_size}, {options.rounds} rounds; "
        f"goal for {OURS}: {GOAL_SECONDS:.0f} s, {GOAL_MEBIBYTES} MiB"
    )
    report(f"{'variant':<26}{'min/median/max s':>24}{'growth, max MiB':>17}{'accuracy':>10}")
    for name in names:
        seconds = times[name]
        figures = "/".join(f"{value:.2f}" for value in (min(seconds), statistics.median(seconds), max(seconds)))
        growth = max(result["growth"] for result in found[name]) / 2**20
        report(f"{name:<26}{figures:>24}{growth:>17.1f}{found[name][0]['accuracy']:>10.5f}")
    if STOCK in times:
        report(
            f"stock / ours: median of ratios {median_ratio(times[STOCK], times[OURS]):.1f}, "
            f"min/min {best_ratio(times[STOCK], times[OURS]):.1f}"
        )
    return found


if __name__ == "__main__":
    main()
