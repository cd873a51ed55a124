"""Terms of a loss: what is summed, what is only logged, and each one's share of a step."""

from __future__ import annotations

import pytest
import torch

from hf_ltr import get_method
from hf_ltr.trainer.terms import attach_term_scales, scaled_sum


class TwoMasses(type(get_method("cross_entropy", class_counts=[2, 2]))):
    """The second term is a mean over the rows of class 1."""

    def term_mass(self, batch):
        return {"second": (batch["labels"] == 1).float().sum()}


def batches(*labels: list[int]) -> list[dict]:
    return [{"pixel_values": torch.zeros(len(part), 1), "labels": torch.tensor(part)} for part in labels]


def test_terms_that_are_logged_are_not_summed():
    (batch,) = made = batches([0, 1])
    attach_term_scales(get_method("cross_entropy", class_counts=[2, 2]), made, 1)
    parameter = torch.tensor(3.0, requires_grad=True)
    loss, shares = scaled_sum({"supervised": 2 * parameter, "log/norm": 100 * parameter}, batch)
    assert loss.item() == 6.0
    assert {name: share.item() for name, share in shares.items()} == {"supervised": 6.0, "log/norm": 300.0}
    loss.backward()
    assert parameter.grad.item() == 2.0


def test_a_term_is_a_mean_over_its_own_mass():
    made = batches([0, 1, 1], [0])
    attach_term_scales(TwoMasses([2, 2]), made, 1)
    losses = [
        scaled_sum({"supervised": torch.tensor(value), "second": torch.tensor(10.0)}, batch)
        for value, batch in zip((1.0, 5.0), made, strict=True)
    ]
    assert [share["supervised"].item() for _, share in losses] == pytest.approx([3 / 4, 5 / 4])
    assert [share["second"].item() for _, share in losses] == [10.0, 0.0]
    assert sum(loss.item() for loss, _ in losses) == pytest.approx(12.0)


def test_the_average_over_processes_is_the_mean_over_all_rows(monkeypatch):
    """Two processes of two rows and one: DDP halves the sum of their gradients, the factors undo it."""
    monkeypatch.setattr("hf_ltr.trainer.terms.dist.all_reduce", lambda total: total.copy_(torch.tensor([3.0, 1.0])))
    scales = []
    for labels in ([0, 1], [0]):
        (batch,) = made = batches(labels)
        attach_term_scales(TwoMasses([2, 2]), made, 2)
        _, shares = scaled_sum({"supervised": torch.tensor(1.0), "second": torch.tensor(1.0)}, batch)
        scales.append((shares["supervised"].item(), shares["second"].item()))
    assert scales == [pytest.approx((2 * 2 / 3, 2.0)), pytest.approx((1 * 2 / 3, 0.0))]


def test_a_mass_without_its_term_is_named():
    made = batches([0, 1])
    attach_term_scales(TwoMasses([2, 2]), made, 1)
    with pytest.raises(ValueError, match="term_mass names .*'second'.*supervised"):
        scaled_sum({"supervised": torch.tensor(1.0)}, made[0])
