"""Softmax equalization: which entries are left out, and coins that belong to the rows."""

from __future__ import annotations

import pytest
import torch

from hf_ltr import get_method
from hf_ltr.data.randomness import STREAM_GATE, pack_keys, uniform

from ..contracts.builders import make_trainer
from .fixtures import COUNTS, FixedModel, batch_of, outputs_of, slow_cross_entropy, some_labels, some_logits

RARE = [0, 2, 4]  # shares 7/404, 25/404 and 12/404 of the COUNTS, below 0.1


def slow_row(row: torch.Tensor, label: int, coins: torch.Tensor) -> torch.Tensor:
    kept = [c for c in range(len(row)) if c == label or c not in RARE or not coins[c]]
    return -row[label] + torch.log(sum(torch.exp(row[c]) for c in kept))


@pytest.mark.parametrize("gamma", [0.3, 0.9])
def test_rare_entries_are_left_out_by_the_coins_of_the_rows(gamma):
    method = get_method("equalization", class_counts=COUNTS, threshold=0.1, gamma=gamma)
    method.seed = 11
    logits, labels = some_logits(), some_labels()
    keys = pack_keys(3, torch.arange(11) % 2, torch.arange(11) + 40)
    coins = uniform(keys, 11, STREAM_GATE, 5) < gamma
    weight = [1.0] * 10 + [0.0]
    expected = sum(slow_row(logits[i], int(labels[i]), coins[i]) for i in range(10)) / 10
    terms, _ = method.training_loss(FixedModel(logits), batch_of(labels, weight, keys=keys))
    torch.testing.assert_close(terms["supervised"], expected, rtol=1e-9, atol=0)
    plain = sum(slow_cross_entropy(logits[i], int(labels[i])) for i in range(10)) / 10
    assert abs(plain - expected) > 1e-3


def test_coins_do_not_depend_on_how_rows_are_batched_but_on_seed_epoch_and_occurrence():
    method = get_method("equalization", class_counts=COUNTS, threshold=0.1, gamma=0.5)
    logits, labels = some_logits(64), some_labels(64)
    keys = pack_keys(0, torch.zeros(64, dtype=torch.int64), torch.arange(64))

    def rows(order, keys=keys):
        return method.row_losses(outputs_of(logits[order]), batch_of(labels[order], keys=keys[order]))

    together = rows(torch.arange(64))
    order = torch.randperm(64, generator=torch.Generator().manual_seed(5))
    torch.manual_seed(1)  # torch's generator must have no part in it
    apart = torch.cat([rows(part) for part in order.split(5)])
    torch.testing.assert_close(apart, together[order], rtol=1e-12, atol=0)
    everything = torch.arange(64)
    for epoch, occurrence in ((1, 0), (0, 1)):
        other = pack_keys(epoch, torch.full((64,), occurrence), everything)
        assert not torch.allclose(rows(everything, other), together)
    method.seed = 1
    assert not torch.allclose(rows(everything), together)


def test_coins_fall_with_probability_gamma():
    """With one rare class and its logit at 0 among zeros, a row's loss tells the coin: log 4 if it was left out."""
    method = get_method("equalization", class_counts=COUNTS, threshold=0.02, gamma=0.7)
    rows = 4000
    batch = batch_of(torch.full((rows,), 1))
    losses = method.row_losses(outputs_of(torch.zeros(rows, 5, dtype=torch.float64)), batch)
    left_out = torch.isclose(losses, torch.tensor(4.0, dtype=torch.float64).log())
    assert torch.isclose(losses[~left_out], torch.tensor(5.0, dtype=torch.float64).log()).all()
    assert left_out.double().mean().item() == pytest.approx(0.7, abs=0.03)


def test_sample_loss_draws_from_torch_s_generator():
    method = get_method("equalization", class_counts=COUNTS, threshold=0.1, gamma=0.5)
    out, labels = outputs_of(some_logits()), some_labels()
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(method.sample_loss(out, labels))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_the_seed_is_the_run_s(tmp_path):
    trainer = make_trainer("equalization", tmp_path, seed=17)
    trainer.method.setup(trainer)
    assert trainer.method.seed == 17
    wrapped = get_method("deferred_reweighting", class_counts=trainer.method.class_counts, base="equalization")
    wrapped.setup(trainer)
    assert wrapped.base.seed == 17


def test_a_wrapper_uses_the_coins_of_the_rows():
    wrapped = get_method("deferred_reweighting", class_counts=COUNTS, base="equalization", defer_until=1.0)
    batch, logits = batch_of(some_labels()), some_logits()
    terms, _ = wrapped.training_loss(FixedModel(logits), batch)
    expected = wrapped.base.row_losses(outputs_of(logits), batch).mean()
    torch.testing.assert_close(terms["supervised"], expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize(("classes", "expected"), [(100, 0.005), (10, 0.05)])
def test_the_default_threshold_is_the_published_one_of_cifar(classes, expected):
    method = get_method("equalization", class_counts=[5] * classes)
    assert method.threshold == pytest.approx(expected)
    assert method.describe()["options"] == {"threshold": method.threshold, "gamma": 0.9}


@pytest.mark.parametrize(("options", "message"), [({"threshold": 40}, "share"), ({"gamma": 1.5}, "probability")])
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        get_method("equalization", class_counts=COUNTS, **options)
