"""
What a user waits for: the import, the help of the command, and the first finished training step on CIFAR-100-LT.

    python benchmarks/startup.py [--rounds 5] [--threads 2]

Every figure is a fresh process, from its start to its end: `import hf_ltr` (less the start of a bare interpreter),
`hf-ltr --help`, and `recipes/classifier.py`-like training of ResNet-32 on CIFAR-100-LT (imbalance factor 100, batch
128, defaults otherwise) up to the end of its first step. The images come from `../shared` or HF_LTR_SHARED, or are
generated and written as a parquet file with PNG images first, which does not count.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from common import argument_parser, cifar100_folder, interleave, machine

BARE, IMPORT, HELP, FIRST_STEP = "bare interpreter", "import hf_ltr", "hf-ltr --help", "CIFAR-100-LT to the first step"
GOALS = {IMPORT: 0.3, FIRST_STEP: 10.0}
_TRAIN = """
import os, sys
from hf_ltr import (LongTailConfig, LongTailForImageClassification, LongTailTrainer, LongTailTrainingArguments,
                    class_counts, load_long_tailed)
from transformers import TrainerCallback

class Stop(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        os._exit(0)

data = load_long_tailed("cifar100", data_dir=sys.argv[1], imbalance_factor=100)
trainer = LongTailTrainer(
    model=LongTailForImageClassification(
        LongTailConfig(backbone="resnet32_cifar", class_counts=class_counts(data["train"]))
    ),
    args=LongTailTrainingArguments(
        output_dir=sys.argv[2], disable_tqdm=True, save_strategy="no", use_cpu=True, cpu_threads=int(sys.argv[3])
    ),
    train_dataset=data["train"],
    callbacks=[Stop()],
)
trainer.train()
sys.exit("no step was finished")
"""


def generated_cifar100(folder: Path) -> Path:
    """50,000 + 10,000 generated images in the layout of the parquet files of CIFAR-100."""
    import numpy as np
    from datasets import ClassLabel, Dataset, Features, Image
    from PIL import Image as PillowImage

    generator = np.random.default_rng(0)
    features = Features({"img": Image(), "fine_label": ClassLabel(num_classes=100)})
    for split, rows in (("train", 50_000), ("test", 10_000)):
        images = [PillowImage.fromarray(pixels) for pixels in generator.integers(0, 256, (rows, 32, 32, 3), np.uint8)]
        columns = {"img": images, "fine_label": (np.arange(rows) % 100).tolist()}
        Dataset.from_dict(columns, features=features).to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return folder


def main(argv: list[str] | None = None, report: Callable[[str], None] = print) -> dict[str, list[float]]:
    """Run and report; returns seconds by variant and round."""
    parser = argument_parser(__doc__, rounds=5)
    parser.add_argument("--data-dir", help="folder of CIFAR-100 parquet files")
    options = parser.parse_args(argv)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    repository = str(Path(__file__).resolve().parents[1])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [repository, os.environ.get("PYTHONPATH")]))

    def timed(*arguments: str) -> float:
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, env=environment, cwd=scratch
        )
        return time.perf_counter() - start

    def first_step() -> float:
        with tempfile.TemporaryDirectory() as output:
            return timed("-c", _TRAIN, str(data), output, str(options.threads))

    with tempfile.TemporaryDirectory() as scratch:
        data = options.data_dir or cifar100_folder() or generated_cifar100(Path(scratch))
        # What a first use of these files would leave in the cache of `datasets` is not repeated on a second one.
        environment["HF_DATASETS_CACHE"] = str(Path(scratch) / "cache")
        started = time.perf_counter()
        first_step()
        cold = time.perf_counter() - started
        times = interleave(
            {
                BARE: lambda: timed("-c", "pass"),
                IMPORT: lambda: timed("-c", "import hf_ltr"),
                HELP: lambda: timed("-m", "hf_ltr.cli.main", "--help"),
                FIRST_STEP: first_step,
            },
            options.rounds,
        )
    times[IMPORT] = [own - bare for own, bare in zip(times[IMPORT], times[BARE], strict=True)]
    report(machine(options.threads))
    report(f"{options.rounds} rounds of fresh processes; seconds")
    report(f"{'what':<34}{'min/median/max s':>24}{'goal':>7}")
    for name, found in times.items():
        figures = "/".join(f"{value:.2f}" for value in (min(found), statistics.median(found), max(found)))
        report(f"{name:<34}{figures:>24}{GOALS.get(name, ''):>7}")
    report(f"first step with an empty cache of datasets, once: {cold:.2f} s")
    return times


if __name__ == "__main__":
    main()
