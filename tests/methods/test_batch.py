"""What methods read of a batch and of outputs, experts included."""

from __future__ import annotations

import pytest
import torch

from hf_ltr import METHODS, LongTailMethod, get_method
from hf_ltr.methods import DeferredReweighting
from hf_ltr.methods.batch import batch_targets, sample_weights, sum_over_experts, weighted_mean
from hf_ltr.models import LongTailOutput

from .fixtures import COUNTS, batch_of, inference_logits, some_labels, some_logits

SUPERVISED = sorted(name for name, method in METHODS.items() if method.uses_labels)
EXPERTS = 3


def expert_outputs() -> LongTailOutput:
    """Of three experts; the logits of the whole are their mean, which no loss is to be made of."""
    experts = torch.stack([some_logits(seed=seed) for seed in range(EXPERTS)], dim=1).requires_grad_()
    mean = experts.mean(dim=1)
    return LongTailOutput(raw_logits=mean, logits=inference_logits(mean), expert_logits=experts)


def whole(logits: torch.Tensor) -> LongTailOutput:
    return LongTailOutput(raw_logits=logits, logits=inference_logits(logits))


class FixedOutputs(torch.nn.Module):
    def __init__(self, outputs: LongTailOutput):
        super().__init__()
        self.outputs = outputs

    def forward(self, pixel_values: torch.Tensor) -> LongTailOutput:
        return self.outputs


@pytest.mark.parametrize("name", SUPERVISED)
def test_a_loss_that_says_nothing_of_experts_trains_each_of_them(name):
    outputs, batch = expert_outputs(), batch_of(some_labels())
    method = get_method(name, class_counts=COUNTS)
    losses = method.row_losses(outputs, batch)
    singles = [method.row_losses(whole(logits), batch) for logits in outputs.expert_logits.unbind(dim=1)]
    torch.testing.assert_close(losses, sum(singles), rtol=1e-12, atol=0)
    # Whoever wraps it reads the same.
    if len(method.stages()) == 1 and not method.batch_coupled:
        wrapper = DeferredReweighting(COUNTS, base=method, defer_until=0)
        torch.testing.assert_close(wrapper.row_losses(outputs, batch), losses, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["cross_entropy", "class_balanced", "equalization", "lade", "cdb"])
def test_terms_of_a_model_with_experts_are_the_sum_over_them(name):
    outputs, batch = expert_outputs(), batch_of(some_labels())
    method = get_method(name, class_counts=COUNTS)
    terms, _ = method.training_loss(FixedOutputs(outputs), batch)
    alone = [method.training_loss(FixedOutputs(whole(logits)), batch)[0] for logits in outputs.expert_logits.unbind(1)]
    for term, value in terms.items():
        torch.testing.assert_close(value, sum(one[term] for one in alone), rtol=1e-10, atol=1e-12)
    sum(terms.values()).backward()


class OfItsOwn(LongTailMethod):
    """Its loss looks at all experts at once."""

    reads_experts = True

    def sample_loss(self, outputs, targets):
        return outputs.expert_logits.amax(dim=(1, 2))


def test_a_method_with_a_loss_of_its_own_sees_all_experts():
    outputs = expert_outputs()
    expected = outputs.expert_logits.amax(dim=(1, 2))
    assert torch.equal(OfItsOwn(COUNTS).row_losses(outputs, batch_of(some_labels())), expected)


def test_without_experts_the_loss_is_that_of_the_outputs():
    outputs = whole(some_logits())
    assert sum_over_experts(lambda one: one, outputs) is outputs


def test_a_mean_over_nothing_is_zero_with_its_graph():
    values = torch.ones(3, requires_grad=True)
    mean = weighted_mean(values, torch.zeros(3))
    mean.backward()
    assert mean.item() == 0 and values.grad.tolist() == [0, 0, 0]
    assert weighted_mean(torch.tensor([1.0, 5.0]), torch.tensor([3.0, 1.0])).item() == 2


def test_weights_and_targets_have_defaults():
    labels = some_labels()
    assert sample_weights({"pixel_values": torch.zeros(4, 1)}).tolist() == [1.0] * 4
    assert sample_weights(batch_of(labels, [0.0] * 11)).sum() == 0
    assert batch_targets(batch_of(labels)) is labels
    soft = torch.rand(11, 5)
    assert batch_targets(batch_of(labels, targets=soft)) is soft
