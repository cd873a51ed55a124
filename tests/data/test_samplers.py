import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Sampler

from hf_ltr.data.samplers import (
    SAMPLERS,
    ClassAwareSampler,
    ClassBalancedSampler,
    GroupBalancedSampler,
    InstanceSampler,
    ProgressivelyBalancedSampler,
    ReverseSampler,
    SquareRootSampler,
)

COUNTS = [60, 25, 10, 0, 5]  # class 3 has no image
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(5), COUNTS))


def make(name: str, labels=LABELS, **options):
    if name == "progressively_balanced":
        options.setdefault("num_epochs", 5)
    return SAMPLERS[name](labels, **options)


def shares(sampler, epochs: int = 300, first: int = 0) -> np.ndarray:
    """Share of each class over many epochs."""
    drawn = np.concatenate([sampler.indices(first + epoch) for epoch in range(epochs)])
    return np.bincount(LABELS[drawn], minlength=5) / len(drawn)


@pytest.mark.parametrize("name", SAMPLERS)
def test_common_behaviour(name):
    sampler = make(name, seed=3)
    assert isinstance(sampler, Sampler) and len(sampler) == 100
    first = list(sampler)
    assert len(first) == 100 and all(type(row) is int and 0 <= row < 100 for row in first)
    assert list(sampler) == first  # the same epoch again
    sampler.set_epoch(1)
    second = list(sampler)
    assert second != first
    assert second == sampler.indices(1).tolist() == make(name, seed=3).indices(1).tolist()  # exact after a restart
    assert make(name, seed=4).indices(1).tolist() != second
    assert sampler.indices(1).dtype == np.int64


@pytest.mark.parametrize("name", SAMPLERS)
def test_label_types_and_lengths(name):
    expected = make(name, LABELS).indices(2).tolist()
    assert make(name, LABELS.tolist()).indices(2).tolist() == expected
    assert make(name, torch.from_numpy(LABELS)).indices(2).tolist() == expected
    for count in (7, 250):
        sampler = make(name, num_samples=count)
        assert len(sampler) == count == len(sampler.indices(0)) == len(list(sampler))


@pytest.mark.parametrize("name", SAMPLERS)
def test_global_random_states_are_untouched(name):
    torch.manual_seed(0)
    np.random.seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    list(make(name))
    assert torch.equal(torch.get_rng_state(), before[0]) and (np.random.get_state()[1] == before[1]).all()


def test_works_in_a_plain_data_loader():
    sampler = ClassBalancedSampler(LABELS)
    batches = list(DataLoader(torch.arange(100), sampler=sampler, batch_size=32))
    assert torch.cat(batches).tolist() == sampler.indices(0).tolist()


def test_instance_sampler_is_a_permutation():
    sampler = InstanceSampler(LABELS)
    assert sorted(sampler.indices(0)) == list(range(100))
    twice = InstanceSampler(LABELS, num_samples=150).indices(0)
    assert sorted(twice[:100]) == list(range(100)) and len(set(twice[100:])) == 50
    assert sorted(InstanceSampler(6).indices(0)) == list(range(6))
    positions = np.stack([np.argsort(InstanceSampler(4).indices(epoch)) for epoch in range(2_000)])
    for row in positions.T:  # every row at every position equally often
        assert np.abs(np.bincount(row, minlength=4) / 2_000 - 0.25).max() < 0.05


def test_class_balanced_probabilities():
    sampler = ClassBalancedSampler(LABELS)
    np.testing.assert_allclose(sampler.class_probabilities(0), [0.25, 0.25, 0.25, 0, 0.25])
    np.testing.assert_allclose(shares(sampler), [0.25, 0.25, 0.25, 0, 0.25], atol=0.01)
    # Inside a class all rows alike: 1 / (C n_y).
    drawn = np.concatenate([sampler.indices(epoch) for epoch in range(300)])
    per_row = np.bincount(drawn, minlength=100)[LABELS == 1] / len(drawn)
    np.testing.assert_allclose(per_row, 0.25 / 25, atol=0.003)


def test_square_root_probabilities():
    expected = np.sqrt(COUNTS) / np.sqrt(COUNTS).sum()
    np.testing.assert_allclose(SquareRootSampler(LABELS).class_probabilities(0), expected)
    np.testing.assert_allclose(shares(SquareRootSampler(LABELS)), expected, atol=0.01)


def test_reverse_probabilities():
    weights = np.array([60 / 60, 60 / 25, 60 / 10, 0, 60 / 5])
    np.testing.assert_allclose(ReverseSampler(LABELS).class_probabilities(0), weights / weights.sum())
    np.testing.assert_allclose(shares(ReverseSampler(LABELS)), weights / weights.sum(), atol=0.01)


def test_progressively_balanced_probabilities():
    sampler = ProgressivelyBalancedSampler(LABELS, num_epochs=5)
    instance, balanced = np.array(COUNTS) / 100, np.array([0.25, 0.25, 0.25, 0, 0.25])
    for epoch, progress in enumerate([0, 0.25, 0.5, 0.75, 1.0]):
        expected = progress * balanced + (1 - progress) * instance
        np.testing.assert_allclose(sampler.class_probabilities(epoch), expected)
    np.testing.assert_allclose(sampler.class_probabilities(9), balanced)
    np.testing.assert_allclose(shares(sampler, first=5), balanced, atol=0.01)
    np.testing.assert_allclose(ProgressivelyBalancedSampler(LABELS, num_epochs=1).class_probabilities(0), instance)


def test_draws_are_random_order():
    """With-replacement draws must not come grouped by class."""
    labels = LABELS[ClassBalancedSampler(LABELS, num_samples=4_000).indices(0)]
    assert abs((labels[1:] == labels[:-1]).mean() - 0.25) < 0.03


@pytest.mark.parametrize("per_class", [1, 3, 4])
def test_class_aware_structure(per_class):
    sampler = ClassAwareSampler(LABELS, samples_per_class=per_class, num_samples=240)
    rows = sampler.indices(1)
    slots = LABELS[rows].reshape(-1, per_class)
    assert (slots == slots[:, :1]).all()  # k images of a class in a row
    order = slots[:, 0]
    rounds = [order[first : first + 4] for first in range(0, len(order) // 4 * 4, 4)]
    assert all(sorted(part) == [0, 1, 2, 4] for part in rounds)  # a permutation of the classes with images
    assert len({tuple(part) for part in rounds}) > 1  # not always the same one
    for label in (0, 1, 2, 4):
        mine = rows[LABELS[rows] == label]
        members = set(np.flatnonzero(LABELS == label))
        size = len(members)
        cycles = [mine[first : first + size] for first in range(0, len(mine), size)]
        assert all(len(set(cycle)) == len(cycle) and set(cycle) <= members for cycle in cycles)
        full = [tuple(cycle) for cycle in cycles if len(cycle) == size]
        assert len(set(full)) > 1 or len(full) < 2 or size == 1  # shuffled anew


def test_class_aware_reaches_every_image_of_a_large_class():
    sampler = ClassAwareSampler(LABELS, samples_per_class=4, num_samples=40)
    drawn = np.concatenate([sampler.indices(epoch) for epoch in range(300)])
    counts = np.bincount(drawn, minlength=100)[LABELS == 0]
    assert counts.min() > 0.4 * counts.mean() and counts.max() < 1.7 * counts.mean()


@pytest.mark.parametrize("name", SAMPLERS)
def test_errors(name):
    with pytest.raises(ValueError, match="non-empty"):
        make(name, [])
    with pytest.raises(ValueError, match="label of row 1 is -1"):
        make(name, [0, -1, 1])
    with pytest.raises(ValueError, match="whole numbers"):
        make(name, [0.5, 1.0])
    with pytest.raises(ValueError, match="num_samples"):
        make(name, num_samples=0)
    assert len(make(name, np.array([0.0, 1.0, 1.0]))) == 3


def test_errors_of_options():
    with pytest.raises(ValueError, match="num_epochs"):
        ProgressivelyBalancedSampler(LABELS, num_epochs=0)
    with pytest.raises(ValueError, match="samples_per_class"):
        ClassAwareSampler(LABELS, samples_per_class=0)


def test_an_epoch_of_the_class_aware_sampler_is_one_row_per_row_of_the_dataset():
    """The released loops stop after N / batch steps; their sampler's own length would be 11 times N on ImageNet-LT."""
    labels = np.repeat(np.arange(3), [40, 8, 2])
    sampler = ClassAwareSampler(labels)
    assert len(sampler) == len(sampler.indices(0)) == 50
    assert sampler.samples_per_class == 4
    drawn = labels[sampler.indices(0)]
    assert (drawn[:48].reshape(12, 4) == drawn[:48:4, None]).all(), "four of a class in a row, as released"


def test_groups_without_images_take_no_share_of_the_group_balanced_sampler():
    """Three groups are named, the middle one has no image: the two others are drawn half of the time each."""
    labels = np.repeat([0, 2, 3], [60, 20, 20])
    sampler = GroupBalancedSampler(labels, group_of_class=[0, 1, 2, 2])
    assert sampler.class_probabilities(0) == pytest.approx([0.5, 0.0, 0.25, 0.25])
    assert sampler.class_probabilities(0).sum() == pytest.approx(1.0)
