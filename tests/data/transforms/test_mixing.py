import numpy as np
import pytest
import torch
from timm.data.mixup import mixup_target

from hf_ltr.data.transforms.mixing import Mixing, partners, require_even, smoothed_one_hot


def batch(rows: int = 8, side: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(rows, 3, side, side, generator=generator), torch.arange(rows) % 5


def test_partners_are_neighbours():
    assert partners(6).tolist() == [1, 0, 3, 2, 5, 4]
    assert partners(5).tolist() == [1, 0, 3, 2, 4]
    assert partners(1).tolist() == [0]


def test_smoothing_is_timms():
    labels = torch.tensor([0, 3, 4])
    torch.testing.assert_close(smoothed_one_hot(labels, 5, 0.1), mixup_target(labels, 5, lam=1.0, smoothing=0.1))
    assert smoothed_one_hot(labels, 5).tolist() == torch.eye(5)[labels].tolist()


def test_label_smoothing_alone():
    pixels, labels = batch()
    mixing = Mixing(5, label_smoothing=0.2)
    assert mixing.active and not mixing.mixes
    mixed, targets = mixing(pixels, labels, 3)
    assert mixed is pixels
    assert targets[1].tolist() == pytest.approx([0.04, 0.84, 0.04, 0.04, 0.04])


@pytest.mark.parametrize("rows", [8, 7])
def test_mixup_against_loop(rows):
    pixels, labels = batch(rows)
    mixing = Mixing(5, mixup_alpha=0.8, label_smoothing=0.1)
    for step in range(5):
        weight = mixing.draw(step, 6, 6).weight
        mixed, targets = mixing(pixels, labels, step)
        one_hot = smoothed_one_hot(labels, 5, 0.1)
        for i in range(rows):
            j = min(i ^ 1, rows - 1)
            torch.testing.assert_close(mixed[i], weight * pixels[i] + (1 - weight) * pixels[j])
            torch.testing.assert_close(targets[i], weight * one_hot[i] + (1 - weight) * one_hot[j])
    assert torch.equal(pixels, batch(rows)[0])


def test_cutmix_against_loop():
    pixels, labels = batch(7)
    mixing = Mixing(5, cutmix_alpha=1.0)
    areas = set()
    for step in range(20):
        draw = mixing.draw(step, 6, 6)
        mixed, targets = mixing(pixels, labels, step)
        top, bottom, left, right = draw.box
        inside = torch.zeros(6, 6, dtype=torch.bool)
        inside[top:bottom, left:right] = True
        assert draw.weight == pytest.approx(1 - inside.float().mean().item())
        areas.add(int(inside.sum()))
        for i in range(7):
            j = min(i ^ 1, 6)
            assert torch.equal(mixed[i], torch.where(inside, pixels[j], pixels[i]))
            assert targets[i, labels[i]] == pytest.approx(1.0 if j == i else draw.weight)
        torch.testing.assert_close(targets.sum(dim=1), torch.ones(7))
    assert len(areas) > 5


def test_cut_into_pieces():
    """Gradient accumulation and processes: even pieces of the batch are mixed as the whole."""
    pixels, labels = batch(12)
    mixing = Mixing(5, mixup_alpha=0.8, cutmix_alpha=1.0, label_smoothing=0.1)
    for step in range(6):
        whole, targets = mixing(pixels, labels, step)
        pieces = [mixing(pixels[part], labels[part], step) for part in (slice(0, 4), slice(4, 6), slice(6, 12))]
        assert torch.equal(torch.cat([piece for piece, _ in pieces]), whole)
        assert torch.equal(torch.cat([target for _, target in pieces]), targets)


def test_odd_batches_are_refused():
    require_even(8)
    with pytest.raises(ValueError, match="per_device_train_batch_size is 7.*use 8"):
        require_even(7, "per_device_train_batch_size")


def test_draws_depend_on_seed_and_step_only():
    mixing = Mixing(5, mixup_alpha=0.8, cutmix_alpha=1.0, seed=3)
    np.random.seed(0)
    torch.manual_seed(0)
    state = torch.get_rng_state(), np.random.get_state()[1].copy()
    draws = [mixing.draw(step, 32, 32) for step in range(20)]
    assert torch.equal(torch.get_rng_state(), state[0]) and (np.random.get_state()[1] == state[1]).all()
    again = Mixing(7, mixup_alpha=0.8, cutmix_alpha=1.0, seed=3)
    assert [again.draw(step, 32, 32) for step in range(20)] == draws
    assert len(set(draws)) == 20
    assert Mixing(5, mixup_alpha=0.8, cutmix_alpha=1.0, seed=4).draw(0, 32, 32) != draws[0]


def test_distribution_of_the_draws():
    steps = 4_000
    both = Mixing(5, 0.8, 1.0, mix_probability=0.7, switch_probability=0.3)
    draws = [both.draw(step, 32, 32) for step in range(steps)]
    cutmix = sum(draw.box is not None for draw in draws) / steps
    mixup = sum(draw.box is None and draw.weight != 1 for draw in draws) / steps
    assert abs(cutmix - 0.7 * 0.3) < 0.03 and abs(mixup - 0.7 * 0.7) < 0.03
    # Beta(a, a) has mean 1/2 and variance 1 / (4 (2a + 1)).
    weights = np.array([Mixing(5, mixup_alpha=0.8).draw(step, 8, 8).weight for step in range(steps)])
    assert abs(weights.mean() - 0.5) < 0.02 and abs(weights.var() - 1 / (4 * 2.6)) < 0.01
    # Without clipping at the border the weight would have mean 1/2; the box's centre is uniform, so it is larger.
    weights = np.array([Mixing(5, cutmix_alpha=1.0).draw(step, 32, 32).weight for step in range(steps)])
    sides = np.sqrt(1 - (np.arange(100_000) + 0.5) / 100_000)
    expected = 1 - ((sides - sides**2 / 4) ** 2).mean()  # mean covered length of a side s is s - s^2 / 4
    assert abs(weights.mean() - expected) < 0.02


@pytest.mark.parametrize(
    "options",
    [
        {"mixup_alpha": -1.0},
        {"cutmix_alpha": -0.1},
        {"mix_probability": 1.5},
        {"switch_probability": -0.5},
        {"label_smoothing": 1.0},
    ],
)
def test_errors(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Mixing(5, **options)


def test_switched_off():
    assert not Mixing(5).active
    assert not Mixing(5, mixup_alpha=0.5, mix_probability=0.0).mixes
