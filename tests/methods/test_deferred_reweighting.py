"""Deferred re-weighting: its schedule, its weighted mean, its state."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from hf_ltr import METHODS, get_method
from hf_ltr.methods import DeferredReweighting
from hf_ltr.methods.cross_entropy import CrossEntropy

from .fixtures import FixedModel, batch_of, outputs_of

COUNTS = [7, 300, 25, 60]


def trainer_with(epochs: int) -> SimpleNamespace:
    return SimpleNamespace(state=SimpleNamespace(num_train_epochs=epochs))


def published_weights(beta: float = 0.9999) -> torch.Tensor:
    weights = torch.tensor([(1 - beta) / (1 - beta**count) for count in COUNTS], dtype=torch.float64)
    return weights / weights.sum() * len(COUNTS)


def test_weights_come_at_the_published_epoch():
    method = get_method("ldam_drw", class_counts=COUNTS)
    method.on_epoch(trainer_with(200), 159)
    assert torch.equal(method.class_weights, torch.ones(4))
    method.on_epoch(trainer_with(200), 160)
    torch.testing.assert_close(method.class_weights.double(), published_weights(), rtol=1e-6, atol=0)


def test_mean_divides_by_the_sum_of_the_weights_over_the_step():
    """Two micro-batches, combined by their masses, equal the weighted mean of all rows; a mean over rows would not."""
    method = get_method("ldam_drw", class_counts=COUNTS, defer_until=0.0).double()
    method.on_epoch(trainer_with(10), 0)
    logits = torch.randn(10, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 5
    labels = torch.tensor([0, 1, 1, 1, 1, 1, 2, 3, 0, 1])
    rows, weights = method.sample_loss(outputs_of(logits), labels), method.class_weights[labels]
    expected = (rows * weights).sum() / weights.sum()
    total, value = 0.0, 0.0
    for part in (slice(0, 6), slice(6, 10)):
        batch = batch_of(labels[part])
        terms, _ = method.training_loss(FixedModel(logits[part]), batch)
        mass = method.term_mass(batch)["supervised"]
        value, total = value + terms["supervised"] * mass, total + mass
    torch.testing.assert_close(value / total, expected, rtol=1e-9, atol=0)
    assert abs((rows * weights).mean() - expected) > 0.1 * expected


def test_padding_rows_weigh_nothing():
    method = get_method("ldam_drw", class_counts=COUNTS).double()
    labels = torch.tensor([0, 1, 2, 2])
    batch = batch_of(labels, [1.0, 1.0, 1.0, 0.0])
    logits = torch.randn(4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    terms, _ = method.training_loss(FixedModel(logits), batch)
    expected = method.sample_loss(outputs_of(logits[:3]), labels[:3]).mean()
    torch.testing.assert_close(terms["supervised"], expected, rtol=1e-9, atol=0)


def test_state_is_the_weights_in_force():
    method = get_method("ldam_drw", class_counts=COUNTS)
    assert set(method.state_dict()) == {"class_weights"}
    with pytest.raises(ValueError, match="fraction"):
        get_method("ldam_drw", class_counts=COUNTS, defer_until=160)


SINGLE_STAGE = [
    name
    for name, method in METHODS.items()
    if method.uses_labels and not method.batch_coupled and len(get_method(name, class_counts=COUNTS).stages()) == 1
]


@pytest.mark.parametrize("base", [name for name in SINGLE_STAGE if "drw" not in name and "deferred" not in name])
def test_the_loss_of_any_base_is_weighted(base):
    """Mean of the base's row losses under the published weights, whatever the base does to its own mean."""
    method = get_method("deferred_reweighting", class_counts=COUNTS, base=base, defer_until=0.0).double()
    method.on_epoch(trainer_with(10), 0) if base != "cdb" else method.class_weights.copy_(method.balanced_weights)
    logits = torch.randn(10, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 5
    labels = torch.tensor([0, 1, 1, 1, 1, 1, 2, 3, 0, 1])
    batch = batch_of(labels)
    rows = method.base.row_losses(outputs_of(logits), batch)
    weights = published_weights()[labels]
    terms, _ = method.training_loss(FixedModel(logits), batch)
    torch.testing.assert_close(terms["supervised"], (rows * weights).sum() / weights.sum(), rtol=1e-6, atol=0)
    assert rows.shape == (10,)


@pytest.mark.parametrize("term", ["supervised", "individual"])
def test_further_terms_of_the_base_stay(term):
    class Regularised(CrossEntropy):
        name = "regularised"

        def training_loss(self, model, batch):
            terms, outputs = super().training_loss(model, batch)
            return {term: terms["supervised"], "decay": outputs.raw_logits.square().mean()}, outputs

        def term_mass(self, batch):
            return {"decay": torch.tensor(3.0)}

    method = DeferredReweighting(COUNTS, Regularised(COUNTS), defer_until=0.0).double()
    method.on_epoch(trainer_with(4), 0)
    logits, labels = torch.randn(6, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 3, 3])
    if term != "supervised":
        with pytest.raises(ValueError, match="the term 'supervised' of its base, but regularised has individual"):
            method.training_loss(FixedModel(logits), batch_of(labels))
        return
    terms, _ = method.training_loss(FixedModel(logits), batch_of(labels))
    expected = torch.nn.functional.cross_entropy(logits, labels, weight=method.class_weights)
    torch.testing.assert_close(terms, {"supervised": expected, "decay": logits.square().mean()})
    assert method.term_mass(batch_of(labels)).keys() == {"supervised", "decay"}


def test_a_coupled_loss_has_no_rows_to_weight():
    with pytest.raises(ValueError, match="couples the rows"):
        get_method("deferred_reweighting", class_counts=COUNTS, base="lade")
