"""Who is mixed with whom: another class wherever the sampler leaves one, and the same under every cut of a step."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch.utils.data import SequentialSampler

from hf_ltr.data.loading.batch_loader import BatchLoader
from hf_ltr.data.loading.batches import GlobalBatchSampler
from hf_ltr.data.randomness import is_padding, rows_of
from hf_ltr.data.samplers import SAMPLERS, ClassAwareSampler
from hf_ltr.data.transforms.mixing import Pairing

COUNTS = (150, 90, 60, 45, 36, 30, 30, 24, 20, 18)  # 503 rows
LABELS = np.repeat(np.arange(10), COUNTS)


def make_sampler(name: str):
    options = {"num_epochs": 4} if name == "progressively_balanced" else {}
    return SAMPLERS[name](LABELS, seed=5, **options)


def make_loader(**options) -> BatchLoader:
    images = np.zeros((len(LABELS), 4, 4), dtype=np.uint8) + (28 * LABELS)[:, None, None].astype(np.uint8)
    return BatchLoader(
        {"image": images, "label": torch.from_numpy(LABELS)},
        **{"num_labels": 10, "image_size": 4, "num_channels": 1, "image_mean": [0.5], "image_std": [0.25]},
        **{"train": True, "augmentation": "none", "seed": 3, "mixup_alpha": 1.0} | options,
    )


def epoch_of(sampler, batch_size=16, accumulation=1, world=1, epoch=0, **options) -> list[dict]:
    """Steps of an epoch, each one's rows and targets over all micro-batches and processes."""
    batch_loader = make_loader(**options)
    loaders = [
        batch_loader.loader(GlobalBatchSampler(sampler, batch_size, world, rank), accumulation_steps=accumulation)
        for rank in range(world)
    ]
    for loader in loaders:
        loader.set_epoch(epoch)
    steps: list[dict] = []
    for number, raws in enumerate(zip(*loaders, strict=True)):
        step = number // accumulation
        if number % accumulation == 0:
            steps.append({})
        for raw in raws:
            batch = batch_loader.prepare(raw, step=step)
            real = ~is_padding(raw["keys"])
            for row, key, target, image in zip(
                *(batch[name][real] for name in ("index", "keys", "targets", "pixel_values")), strict=True
            ):
                steps[-1][int(key)] = (int(row), target, image)
    return steps


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("batch_size", [8, 16, 64])
def test_two_classes_are_mixed_under_every_sampler(name, batch_size):
    sampler = make_sampler(name)
    rows = [row for step in epoch_of(sampler, batch_size) for row in step.values()]
    assert sorted(row for row, _, _ in rows) == sorted(sampler.indices(0).tolist())
    mixed = np.mean([int((target > 0).sum()) == 2 for _, target, _ in rows])
    drawn = np.bincount(LABELS[sampler.indices(0)], minlength=10) / len(LABELS)
    assert mixed > 0.9 * (1 - (drawn**2).sum())
    if name == "class_aware" and batch_size == 8:
        assert mixed > 0.99  # a run of four never meets itself
    for row, target, image in rows:
        # What is in the picture is what the target says: both are mixed with the same partner.
        pixel = (float(image.mean()) * 0.25 + 0.5) * 255
        assert pixel == pytest.approx(28 * float(target @ torch.arange(10.0)), abs=1e-2)
        assert target[LABELS[row]] > 0


@pytest.mark.parametrize("name", ["instance", "class_aware"])
@pytest.mark.parametrize("mix", [{}, {"mixup_alpha": 0.0, "cutmix_alpha": 1.0}])
def test_accumulation_and_processes_change_nothing(name, mix):
    whole = epoch_of(make_sampler(name), 24, epoch=1, **mix)
    assert len(whole[-1]) == 503 % 24 == 23  # an odd last step: one row stays alone
    for cut in ({"batch_size": 6, "accumulation": 4}, {"batch_size": 12, "world": 2}, {"batch_size": 8, "world": 3}):
        pieces = epoch_of(make_sampler(name), epoch=1, **cut, **mix)
        assert [step.keys() for step in pieces] == [step.keys() for step in whole]
        for step, other in zip(whole, pieces, strict=True):
            for key, (_, target, image) in step.items():
                assert torch.equal(target, other[key][1]) and torch.equal(image, other[key][2]), cut
    both = epoch_of(make_sampler(name), 2, accumulation=6, world=2, epoch=1, **mix)
    assert [step.keys() for step in both] == [step.keys() for step in whole]


def test_a_step_keeps_its_rows_and_halves_meet():
    order = Pairing(10, seed=1).order(37, epoch=3)
    assert sorted(order) == list(range(37))
    for start in range(0, 37, 10):
        part = order[start : start + 10] - start
        assert sorted(part) == list(range(len(part)))
        half = len(part) // 2
        assert (part[: 2 * half : 2] < half).all() and (part[1 : 2 * half : 2] >= half).all()
    assert order[-1] == 36
    assert (order == Pairing(10, seed=1).order(37, epoch=3)).all()
    assert (order != Pairing(10, seed=1).order(37, epoch=4)).any()
    assert (order != Pairing(10, seed=2).order(37, epoch=3)).any()


@pytest.mark.parametrize(("rows", "count"), [(4, 1), (4, 5), (2, 2), (8, 3), (8, 8), (100, 7)])
def test_small_and_last_steps(rows, count):
    order = Pairing(rows).order(count, epoch=0)
    assert sorted(order) == list(range(count))
    if count % 2:
        assert order[-1] == count - 1


def test_partners_are_uniform_in_the_other_half():
    seen = np.zeros((8, 8))
    for epoch in range(4000):
        pairs = Pairing(8).order(8, epoch).reshape(-1, 2)
        seen[pairs[:, 0], pairs[:, 1]] += 1
    assert (seen[:4, :4] == 0).all() and (seen[4:] == 0).all()
    np.testing.assert_allclose(seen[:4, 4:] / 4000, 0.25, atol=0.03)


def test_the_order_is_left_alone_where_nothing_is_mixed():
    sampler = make_sampler("instance")
    for options in ({"mixup_alpha": 0.0}, {"mixup_alpha": 0.0, "label_smoothing": 0.1}, {"mix_probability": 0.0}):
        batches = GlobalBatchSampler(sampler, 7)  # odd is fine then
        make_loader(**options).loader(batches)
        assert batches.pairing is None
        np.testing.assert_array_equal(rows_of(batches.keys()), sampler.indices(0))


def test_a_step_of_one_class_is_told():
    with pytest.warns(UserWarning, match="Only 0 % of the pairs.*Raise the batch size"):
        make_loader().loader(GlobalBatchSampler(ClassAwareSampler(LABELS), 4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_loader().loader(GlobalBatchSampler(ClassAwareSampler(LABELS), 4), accumulation_steps=4)
        # Sorted rows of a sampler that is not ours are paired too, but not read ahead.
        batches = GlobalBatchSampler(SequentialSampler(LABELS), 4)
        make_loader().loader(batches)
        assert batches.pairing == Pairing(4, 3)


@pytest.mark.parametrize("size", [1, 7])
def test_odd_batches_are_refused(size):
    with pytest.raises(ValueError, match=f"per process is {size}.*pairs of rows.*use {size + 1}"):
        make_loader().loader(GlobalBatchSampler(make_sampler("instance"), size), accumulation_steps=2)
