import subprocess
import sys

import numpy as np
import pytest
import torch

from hf_ltr.data.randomness import (
    PADDING_FLAG,
    bits,
    hash_integers,
    is_padding,
    occurrences,
    pack_keys,
    rows_of,
    stable_argsort,
    uniform,
)

GOLDEN = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1
FROZEN_UNIFORM = [[5078209, 3662343, 5917529], [6035116, 1557181, 5813272], [5202453, 3751252, 739707]]


def splitmix(value: int) -> int:
    """The finaliser of SplitMix64 in unbounded integers."""
    value &= MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
    return value ^ (value >> 31)


def keys(count: int, epoch: int = 0) -> torch.Tensor:
    return pack_keys(epoch, torch.zeros(count, dtype=torch.int64), torch.arange(count))


def test_finaliser_is_splitmix64():
    # First outputs of the reference generator (Vigna's splitmix64.c) for seed 1234567.
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    assert [splitmix(1234567 + (i + 1) * GOLDEN) for i in range(4)] == expected


@pytest.mark.parametrize("kind", ["int", "numpy", "torch"])
def test_layout_of_keys(kind):
    make = {"int": int, "numpy": np.int64, "torch": torch.tensor}[kind]
    for epoch, occurrence, row in [(0, 0, 0), (3, 2, 7), (32_767, 65_535, 2**32 - 1)]:
        packed = pack_keys(epoch, make(occurrence), make(row))
        assert int(packed) == epoch << 48 | occurrence << 32 | row
        assert int(rows_of(packed)) == row
        assert not bool(is_padding(packed))
        padded = packed + PADDING_FLAG
        assert bool(is_padding(padded))
        assert int(rows_of(padded)) == row


def test_keys_out_of_range():
    with pytest.raises(ValueError, match="epoch 32768"):
        pack_keys(32_768, 0, 0)
    with pytest.raises(ValueError, match="rows must lie"):
        pack_keys(0, np.zeros(1, dtype=np.int64), np.array([2**32]))
    assert pack_keys(0, 65_536, 5) == 5  # occurrences wrap


def test_occurrences():
    assert occurrences(np.array([3, 5, 3, 3, 5])).tolist() == [0, 0, 1, 2, 1]
    assert occurrences(np.array([], dtype=np.int64)).tolist() == []
    rows = np.random.default_rng(0).integers(0, 200_000, 3_000) // 400
    seen: dict[int, int] = {}
    for row, occurrence in zip(rows.tolist(), occurrences(rows).tolist(), strict=True):
        assert occurrence == seen.get(row, 0)
        seen[row] = occurrence + 1


def test_stable_argsort_is_numpys():
    values = np.random.default_rng(1).integers(0, 2**40, 2_000) // 2**30 * 2**25
    assert (stable_argsort(values) == np.argsort(values, kind="stable")).all()


def test_bits_follow_the_formula():
    """Against the definition in unbounded integers: wrapping products and logical shifts are right."""
    seed, stream = 42, 7
    salt = hash_integers(seed, stream)
    rows = torch.tensor([0, 1, 2**31, pack_keys(32_767, 65_535, 2**32 - 1)])
    ours = bits(rows, seed, stream, 5)
    for row, line in zip(rows.tolist(), ours.tolist(), strict=True):
        state = splitmix((row + 1) * GOLDEN ^ salt)
        for counter, value in enumerate(line):
            assert value & MASK == splitmix(state + (counter + 1) * GOLDEN)


def test_known_values():
    """A silent change here would change every run: these numbers are frozen."""
    assert hash_integers(0) == 16294208416658607535
    assert hash_integers(1, 2) != hash_integers(2, 1)
    rows = torch.tensor([0, 1, pack_keys(5, 1, 123)])
    assert (uniform(rows, 0, 256, 3) * 2**24).to(torch.int64).tolist() == FROZEN_UNIFORM


def test_same_in_another_process():
    code = "import torch; from hf_ltr.data.randomness import bits; print(bits(torch.arange(4), 9, 1, 2).tolist())"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == str(bits(torch.arange(4), 9, 1, 2).tolist())


def test_draws_depend_on_nothing_else():
    everything = uniform(keys(64), 1, 2, 10)
    assert torch.equal(uniform(keys(64)[10:20], 1, 2, 10), everything[10:20])
    assert torch.equal(uniform(keys(64), 1, 2, 4), everything[:, :4])
    assert torch.equal(uniform(keys(64), 1, 2, torch.tensor([7, 3])), everything[:, [7, 3]])
    assert torch.equal(uniform(keys(64) + PADDING_FLAG, 1, 2, 10), everything)
    before = torch.get_rng_state()
    uniform(keys(4), 0, 0, 2)
    assert torch.equal(torch.get_rng_state(), before)


def test_uniformity():
    draws = uniform(keys(20_000), 0, 3, 4)
    assert draws.dtype == torch.float32 and 0 <= draws.min() and draws.max() < 1
    for column in draws.T:
        counts = torch.histc(column, 50, 0, 1)
        assert ((counts - 400) ** 2 / 400).sum() < 100  # chi-squared, 49 degrees of freedom: 99.998 %


def test_independence():
    """No correlation between neighbouring rows, epochs, occurrences, counters, streams and seeds."""
    base = uniform(keys(20_000), 0, 1, 2)
    occurrence = pack_keys(0, torch.ones(20_000, dtype=torch.int64), torch.arange(20_000))
    others = {
        "row": uniform(keys(20_000) + 1, 0, 1, 1)[:, 0],
        "epoch": uniform(keys(20_000, epoch=1), 0, 1, 1)[:, 0],
        "occurrence": uniform(occurrence, 0, 1, 1)[:, 0],
        "counter": base[:, 1],
        "stream": uniform(keys(20_000), 0, 2, 1)[:, 0],
        "seed": uniform(keys(20_000), 1, 1, 1)[:, 0],
    }
    for name, other in others.items():
        correlation = torch.corrcoef(torch.stack((base[:, 0], other)))[0, 1]
        assert abs(correlation) < 0.03, name
        assert (base[:, 0] == other).sum() < 10, name


def test_hash_integers_takes_any_integer():
    values = [0, -1, 1, 2**63, 2**64, 2**64 + 1, -(2**70)]
    assert len({hash_integers(value) for value in values}) == len(values)
    assert all(0 <= hash_integers(value) < 2**64 for value in values)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_equal_on_cuda():
    rows = keys(10_000)
    assert torch.equal(bits(rows.cuda(), 3, 1, 8).cpu(), bits(rows, 3, 1, 8))
    assert torch.equal(uniform(rows.cuda(), 3, 1, 8).cpu(), uniform(rows, 3, 1, 8))
