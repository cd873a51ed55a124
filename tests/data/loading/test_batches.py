import numpy as np
import pytest
import torch
from accelerate import skip_first_batches
from torch.utils.data import RandomSampler

from hf_ltr.data.loading.batches import GlobalBatchSampler, KeyedDataLoader, SequentialShards
from hf_ltr.data.randomness import is_padding, rows_of
from hf_ltr.data.samplers import ClassBalancedSampler, InstanceSampler


class Rows:
    """A dataset that hands the keys back."""

    def __init__(self, count: int):
        self.count = count

    def __len__(self):
        return self.count

    def __getitems__(self, keys):
        return {"keys": torch.tensor(keys)}


def global_batches(rows: int, batch_size: int, world_size: int, epoch: int = 0, **options) -> list[list[list[int]]]:
    """[global batch][rank] -> keys"""
    parts = []
    for rank in range(world_size):
        sampler = GlobalBatchSampler(InstanceSampler(rows, seed=1), batch_size, world_size, rank, **options)
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert len(batches) == len(sampler)
        parts.append(batches)
    return [list(batch) for batch in zip(*parts, strict=True)]


@pytest.mark.parametrize("rows", [16, 17, 32, 33, 37, 41, 47, 100])
@pytest.mark.parametrize(("batch_size", "world_size"), [(8, 2), (4, 4), (2, 8), (16, 1)])
def test_process_count_changes_nothing(rows, batch_size, world_size):
    one = global_batches(rows, 16, 1, epoch=3)
    many = global_batches(rows, batch_size, world_size, epoch=3)
    assert len(one) == len(many) == -(-rows // 16)
    for (whole,), parts in zip(one, many, strict=True):
        kept = [key for part in parts for key in part if not is_padding(key)]
        assert kept == whole
        for part in parts:
            assert 1 <= len(part) <= batch_size
            if is_padding(part[0]):
                assert len(part) == 1 and rows_of(part[0]) in rows_of(np.array(whole))
        # Even parts keep neighbours together; only the part with the very last row may be odd.
        odd = [part for part in parts if len(part) % 2 and not is_padding(part[0])]
        assert len(odd) == len(whole) % 2 and all(part[-1] == whole[-1] for part in odd)
        sizes = [len(part) for part in parts if not is_padding(part[0])]
        assert max(sizes) - min(sizes) <= 3 if len(sizes) < world_size else max(sizes) - min(sizes) <= 2


@pytest.mark.parametrize("rows", [17, 33, 47])
def test_accumulation_changes_nothing(rows):
    large = [key for (batch,) in global_batches(rows, 16, 1) for key in batch]
    small = [key for (batch,) in global_batches(rows, 4, 1) for key in batch]
    assert large == small


def test_odd_batch_sizes_split_evenly():
    *_, last = global_batches(29, 3, 4)  # 12, 12, 5
    assert [len(part) for part in last] == [1, 1, 1, 2]
    assert all(len(part) <= 3 for part in global_batches(23, 3, 4)[-1])


def test_padding_when_nothing_is_left():
    *_, last = global_batches(17, 4, 4)
    assert [bool(is_padding(part[0])) for part in last].count(False) == 1
    assert len({rows_of(part[0]) for part in last}) == 1


def test_drop_last():
    assert [sum(len(part) for part in batch) for batch in global_batches(33, 8, 2, drop_last=True)] == [16, 16]
    with pytest.raises(ValueError, match="no batch left"):
        GlobalBatchSampler(InstanceSampler(5), 8, drop_last=True)


def epoch_of(keys: np.ndarray) -> np.ndarray:
    return keys >> 48


def test_keys_carry_epoch_and_occurrence():
    sampler = ClassBalancedSampler([0] * 30 + [1])
    batches = GlobalBatchSampler(sampler, 8)
    batches.set_epoch(4)
    keys = np.array([key for batch in batches for key in batch])
    epoch, occurrence, rows = epoch_of(keys), keys >> 32 & 0xFFFF, rows_of(keys)
    assert (epoch == 4).all() and rows.tolist() == sampler.indices(4).tolist()
    assert occurrence[rows == 30].tolist() == list(range((rows == 30).sum()))
    assert len(set(keys.tolist())) == len(keys) == 31


def test_epoch_has_one_truth():
    batches = GlobalBatchSampler(InstanceSampler(20, seed=5), 4)
    batches.sampler.set_epoch(2)  # accelerate reaches past us to `batch_sampler.sampler`
    assert batches.epoch == 2
    assert [row for batch in batches for row in rows_of(np.array(batch))] == InstanceSampler(20, seed=5).indices(
        2
    ).tolist()


def test_foreign_samplers():
    sampler = RandomSampler(range(10), generator=torch.Generator().manual_seed(0))
    batches = GlobalBatchSampler(sampler, 4)
    batches.set_epoch(6)
    keys = np.array([key for batch in batches for key in batch])
    assert sorted(rows_of(keys)) == list(range(10)) and (epoch_of(keys) == 6).all()


def test_skip_first_batches_and_late_set_epoch():
    """A mid-epoch resume of transformers.Trainer: skip first, then set the epoch through two wrappers."""
    loader = KeyedDataLoader(Rows(40), GlobalBatchSampler(InstanceSampler(40, seed=2), 8))
    loader.set_epoch(3)
    expected = [batch["keys"].tolist() for batch in loader]
    fresh = KeyedDataLoader(Rows(40), GlobalBatchSampler(InstanceSampler(40, seed=2), 8))
    skipped = skip_first_batches(fresh, 2)
    state = torch.get_rng_state()
    skipped.batch_sampler.batch_sampler.set_epoch(3)
    assert [batch["keys"].tolist() for batch in skipped] == expected[2:]
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("workers", [0, 2])
def test_opening_a_loader_leaves_the_global_generator_alone(workers):
    loader = KeyedDataLoader(Rows(40), GlobalBatchSampler(InstanceSampler(40), 8), num_workers=workers)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    batches = list(loader)
    assert torch.equal(torch.get_rng_state(), state)
    assert len(batches) == len(loader) == 5
    # The stock loader does draw from it: this is what the class is for.
    list(torch.utils.data.DataLoader(range(4)))
    assert not torch.equal(torch.get_rng_state(), state)


def test_set_epoch_of_the_loader():
    loader = KeyedDataLoader(Rows(40), GlobalBatchSampler(InstanceSampler(40), 8))
    first = [batch["keys"].tolist() for batch in loader]
    loader.set_epoch(1)
    second = [batch["keys"].tolist() for batch in loader]
    assert first != second and (epoch_of(np.array(second)) == 1).all()
    KeyedDataLoader(Rows(5), SequentialShards(5, 2)).set_epoch(1)  # nothing to set, no error


@pytest.mark.parametrize("rows", [0, 1, 7, 24, 25])
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_sequential_shards(rows, world_size):
    shards = [SequentialShards(rows, 4, world_size, rank) for rank in range(world_size)]
    batches = [list(shard) for shard in shards]
    assert [row for part in batches for batch in part for row in batch] == list(range(rows))
    assert [len(part) for part in batches] == [len(shard) for shard in shards]
    assert all(len(batch) == 4 for part in batches for batch in part[:-1])


def test_errors():
    for make in (lambda *a: GlobalBatchSampler(InstanceSampler(5), *a), lambda *a: SequentialShards(5, *a)):
        with pytest.raises(ValueError, match="batch size"):
            make(0)
        with pytest.raises(ValueError, match="rank 2 of 2"):
            make(4, 2, 2)
