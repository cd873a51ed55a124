"""
Time of a training step: LongTailTrainer against a bare PyTorch loop, ResNet-32 on CIFAR-sized images.

    python benchmarks/training_step.py [--rounds 7] [--steps 8] [--threads 2] [--batch-size 128] [--variants bare,fp32]

The bare loop is float32 in the default memory format, on uint8 images in memory, with crop, flip and normalisation of
whole batches (one crop per image), plain `torch.optim.SGD` and cross-entropy: nothing a trainer could be blamed for.
Every other variant is one `LongTailTrainer.train()` per round. Steps after two warm-up steps count, from the end of
one to the end of the next, so neither the start nor the decoding of the images is in the figures; the time of a round
is its median step. With CIFAR-100 beside the repository (`../shared`, or HF_LTR_SHARED) the images are CIFAR-100-LT,
imbalance factor 100; generated ones otherwise. A precision that this machine emulates is left out, which is said;
`--emulated` times it all the same (ATEN_CPU_CAPABILITY=avx2 shows what a machine without AVX-512 does).
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from common import argument_parser, cifar100_folder, interleave, machine, ratio_table

WARM_UP = 2
MEAN, STD = (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)
BARE = "bare loop, fp32 contiguous"
# Name: (options of the training arguments, goal as a ratio to the bare loop).
VARIANTS: dict[str, tuple[dict[str, Any], float]] = {
    "fp32": ({"mixed_precision_mode": "no", "channels_last": False}, 1.03),
    "fp32_channels_last": ({"mixed_precision_mode": "no", "channels_last": True}, 0.80),
    "bf16_channels_last": ({"mixed_precision_mode": "bf16", "channels_last": True}, 0.55),
}


def load_images(rows: int) -> Any:
    """CIFAR-100-LT as a `datasets.Dataset`, or generated images of the same sizes."""
    folder = cifar100_folder()
    if folder is not None:
        from hf_ltr import load_long_tailed

        return load_long_tailed("cifar100", data_dir=folder, imbalance_factor=100, order_column="rank")["train"]
    from datasets import ClassLabel, Dataset, Features, Image
    from PIL import Image as PillowImage

    generator = np.random.default_rng(0)
    images = [PillowImage.fromarray(pixels) for pixels in generator.integers(0, 256, (rows, 32, 32, 3), np.uint8)]
    features = Features({"image": Image(), "label": ClassLabel(num_classes=100)})
    return Dataset.from_dict({"image": images, "label": (np.arange(rows) % 100).tolist()}, features=features)


class BareLoop:
    """What one would write by hand, without any library."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor, batch_size: int):
        import timm

        import hf_ltr.models  # noqa: F401 registers the network

        torch.manual_seed(0)
        self.images = F.pad(images, (4, 4, 4, 4))
        self.labels, self.batch_size = labels, batch_size
        self.mean, self.std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
        self.model = timm.create_model("resnet32_cifar", num_classes=100)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9, weight_decay=2e-4)

    def batch(self, rows: torch.Tensor) -> torch.Tensor:
        """Random crop, flip and normalisation, each image with a draw of its own: one gather."""
        size = 32
        count = len(rows)
        top, left = torch.randint(0, 9, (2, count, 1))
        flip = torch.rand(count, 1) < 0.5
        line = torch.arange(size)
        column = torch.where(flip, line.flip(0), line) + left
        pixels = self.images[
            rows[:, None, None, None],
            torch.arange(3)[None, :, None, None],
            (top + line)[:, None, :, None],
            column[:, None, None, :],
        ]
        return pixels.float().div_(255).sub_(self.mean).div_(self.std)

    def seconds(self, steps: int) -> float:
        """Time of the median step after the warm-up."""
        order = torch.randperm(len(self.labels))
        self.model.train()
        ends = []
        for step in range(WARM_UP + steps):
            rows = order[step * self.batch_size : (step + 1) * self.batch_size]
            loss = F.cross_entropy(self.model(self.batch(rows)), self.labels[rows])
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            ends.append(time.perf_counter())
        return median_step(ends)


def median_step(ends: list[float]) -> float:
    """Median time of the steps after the warm-up, from the times at which steps ended."""
    return statistics.median(end - start for start, end in pairwise(ends[WARM_UP - 1 :]))


def trainer_seconds(dataset: Any, options: dict[str, Any], steps: int, batch_size: int, threads: int) -> float:
    """Time of the median step inside `LongTailTrainer.train()`, after the warm-up."""
    from transformers import PrinterCallback, TrainerCallback

    from hf_ltr import (
        LongTailConfig,
        LongTailForImageClassification,
        LongTailTrainer,
        LongTailTrainingArguments,
        class_counts,
    )

    class StepTimes(TrainerCallback):
        """Ends of steps."""

        def __init__(self) -> None:
            self.ends: list[float] = []

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.ends.append(time.perf_counter())

    times = StepTimes()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        trainer = LongTailTrainer(
            model=LongTailForImageClassification(
                LongTailConfig(backbone="resnet32_cifar", class_counts=class_counts(dataset))
            ),
            args=LongTailTrainingArguments(
                output_dir=folder,
                max_steps=WARM_UP + steps,
                per_device_train_batch_size=batch_size,
                augmentation=["random_crop", "horizontal_flip"],
                save_strategy="no",
                disable_tqdm=True,
                cpu_threads=threads,
                use_cpu=True,
                **options,
            ),
            train_dataset=dataset,
            callbacks=[times],
        )
        trainer.pop_callback(PrinterCallback)
        trainer.train()
    return median_step(times.ends)


def is_emulated(precision: str) -> bool:
    """Whether a step of training in this precision is computed without instructions for it."""
    from hf_ltr.trainer.precision import native_bf16

    return precision == "bf16" and not native_bf16(use_cpu=True)


def main(argv: list[str] | None = None, report: Callable[[str], None] = print) -> dict[str, list[float]]:
    """Run and report; returns seconds per step by variant and round."""
    parser = argument_parser(__doc__, rounds=7, steps=8)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rows", type=int, default=10_847, help="generated images, without real ones")
    parser.add_argument("--variants", default=",".join(VARIANTS), help="comma-separated, of: " + ", ".join(VARIANTS))
    parser.add_argument("--emulated", action="store_true", help="time what this machine emulates, too: minutes")
    options = parser.parse_args(argv)

    torch.set_num_threads(options.threads)
    dataset = load_images(options.rows)
    from hf_ltr.data.loading.images import decode_resident

    bare = BareLoop(decode_resident(dataset, (32, 32), 3), torch.as_tensor(dataset["label"][:]), options.batch_size)
    variants: dict[str, Callable[[], float]] = {BARE: partial(bare.seconds, options.steps)}
    goals = {}
    for name in options.variants.split(","):
        arguments, goal = VARIANTS[name]
        if not options.emulated and is_emulated(arguments["mixed_precision_mode"]):
            report(
                f"{name} is left out: this machine emulates {arguments['mixed_precision_mode']} (--emulated times it)"
            )
            continue
        goals[name] = goal
        variants[name] = partial(
            trainer_seconds, dataset, arguments, options.steps, options.batch_size, options.threads
        )
    times = interleave(variants, options.rounds)
    source = cifar100_folder()
    report(machine(options.threads))
    report(
        f"ResNet-32, batch {options.batch_size}, {len(dataset):,} "
        f"{'generated images' if source is None else 'images of CIFAR-100-LT'}; "
        f"median step of each of {options.rounds} rounds of {options.steps} steps"
    )
    report(ratio_table(times, BARE, goals))
    return times


if __name__ == "__main__":
    main()
