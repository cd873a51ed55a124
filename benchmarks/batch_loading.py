"""
Images per second and core of the input path: crop, flip and normalise with random numbers of its own for every image.

    python benchmarks/batch_loading.py [--rounds 7] [--steps 10] [--batch-size 128] [--image-size 32]

Compared in one process, on generated images, one thread:
- `batched`: `BatchLoader` with resident images, from the loader's keys to the normalised float batch;
- `per sample`: the usual recipe, torchvision v2 on PIL images one by one, and stacking. The images are decoded
  already, so what a stock input path spends on decoding (about 50 us per image) comes on top.

Rounds are interleaved, every other one in reversed order. Reported are the median and the best time of a round, and
the ratio as the median of the rounds' ratios and as best / best: single figures on a shared machine say little.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import v2

from hf_ltr.data.loading.batch_loader import BatchLoader
from hf_ltr.data.loading.batches import GlobalBatchSampler
from hf_ltr.data.samplers import InstanceSampler

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


def batched(images: np.ndarray, labels: np.ndarray, batch_size: int, names: list[str]) -> Iterator[torch.Tensor]:
    """Endless batches of the library."""
    batch_loader = BatchLoader(
        {"image": images, "label": labels},
        num_labels=int(labels.max()) + 1,
        image_size=images.shape[1],
        image_mean=MEAN,
        image_std=STD,
        train=True,
        augmentation=names,
    )
    loader = batch_loader.loader(GlobalBatchSampler(InstanceSampler(labels), batch_size, drop_last=True))
    for epoch in itertools.count():
        loader.set_epoch(epoch)
        for raw in loader:
            yield batch_loader.prepare(raw)["pixel_values"]


def per_sample(images: np.ndarray, labels: np.ndarray, batch_size: int) -> Iterator[torch.Tensor]:
    """Endless batches of the usual recipe."""
    decoded = [Image.fromarray(image) for image in images]
    transform = v2.Compose(
        [
            v2.RandomCrop(images.shape[1], padding=4),
            v2.RandomHorizontalFlip(),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )
    generator = np.random.default_rng(0)
    while True:
        order = generator.permutation(len(decoded))
        for first in range(0, len(order) - batch_size + 1, batch_size):
            yield torch.stack([transform(decoded[row]) for row in order[first : first + batch_size].tolist()])


def seconds(batches: Iterator[torch.Tensor], steps: int) -> float:
    """Time of some batches."""
    start = time.perf_counter()
    for _ in range(steps):
        next(batches)
    return time.perf_counter() - start


def measure(paths: dict[str, Iterator[torch.Tensor]], rounds: int, steps: int) -> dict[str, list[float]]:
    """Seconds per round of each path, interleaved."""
    for batches in paths.values():
        seconds(batches, 2)
    times: dict[str, list[float]] = {name: [] for name in paths}
    for number in range(rounds):
        for name in list(paths) if number % 2 == 0 else list(reversed(paths)):
            times[name].append(seconds(paths[name], steps))
    return times


def main(argv: list[str] | None = None, report: Callable[[str], None] = print) -> dict[str, float]:
    """Run and report; returns images/s per core of each path (best round)."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=10, help="batches per round")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument(
        "--rows", type=int, default=10_847, help="generated images; default as CIFAR-100-LT, factor 100"
    )
    arguments = parser.parse_args(argv)

    torch.set_num_threads(1)
    generator = np.random.default_rng(0)
    shape = (arguments.rows, arguments.image_size, arguments.image_size, 3)
    images = generator.integers(0, 256, shape, dtype=np.uint8)
    labels = generator.integers(0, 100, arguments.rows)
    crop_flip = ["random_crop", "horizontal_flip"]
    paths = {
        "per sample (torchvision v2 on PIL)": per_sample(images, labels, arguments.batch_size),
        "batched": batched(images, labels, arguments.batch_size, crop_flip),
        "batched + cutout": batched(images, labels, arguments.batch_size, [*crop_flip, "cutout"]),
        "batched + rotation": batched(images, labels, arguments.batch_size, [*crop_flip, "rotation"]),
    }
    times = measure(paths, arguments.rounds, arguments.steps)

    count = arguments.steps * arguments.batch_size
    reference = times["per sample (torchvision v2 on PIL)"]
    size = arguments.image_size
    report(
        f"{size}x{size} images, batch {arguments.batch_size}, one thread, {arguments.rounds} rounds of "
        f"{arguments.steps} batches, torch {torch.__version__}"
    )
    report(f"{'path':<36}{'images/s/core: median':>23}{'best':>10}{'speed-up: median':>18}{'best/best':>11}")
    for name, found in times.items():
        ratio = statistics.median(base / own for base, own in zip(reference, found, strict=True))
        report(
            f"{name:<36}{count / statistics.median(found):>23,.0f}{count / min(found):>10,.0f}{ratio:>18.2f}"
            f"{min(reference) / min(found):>11.2f}"
        )
    return {name: count / min(found) for name, found in times.items()}


if __name__ == "__main__":
    main()
