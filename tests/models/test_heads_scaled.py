"""Learnable weight scaling: golden values, and loading linear checkpoints into it."""

import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hf_ltr.models import CosineHead, LongTailConfig, LongTailForImageClassification, ScaledHead, as_linear

from ..methods.experts_golden import assert_close, values

IMAGES = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def model(head=None, **fields):
    torch.manual_seed(0)
    return LongTailForImageClassification(
        LongTailConfig(backbone="resnet20_cifar", num_labels=3, head=head, **fields)
    ).eval()


def test_equals_the_public_code_in_value_and_gradient():
    head = ScaledHead(nn.Linear(6, 10).double())
    with torch.no_grad():
        head.weight.copy_(values("lws_scaling", "inputs", "weight"))
        head.bias.copy_(values("lws_scaling", "inputs", "bias"))
        head.scale.copy_(values("lws_scaling", "inputs", "scales"))
    logits = head(values("lws_scaling", "inputs", "features"))
    assert_close(logits, values("lws_scaling", "outputs", "logits"))
    loss = F.cross_entropy(logits, values("lws_scaling", "inputs", "labels"))
    assert_close(loss, values("lws_scaling", "outputs", "ce"))
    loss.backward()
    assert_close(head.scale.grad, values("lws_scaling", "gradients", "scales"))


def test_a_new_model_starts_as_the_linear_one():
    linear, scaled = model(), model("scaled")
    assert [name for name, _ in scaled.classifier.named_parameters()] == ["weight", "bias", "scale"]
    assert torch.equal(scaled.classifier.scale, torch.ones(3))
    assert torch.equal(linear(IMAGES).logits, scaled(IMAGES).logits)
    # No random number more than the linear model: whatever is drawn next is the same.
    linear_state = (model(), torch.get_rng_state())[1]
    assert torch.equal(linear_state, (model("scaled"), torch.get_rng_state())[1])


def test_a_linear_checkpoint_loads_with_scales_of_one_and_without_a_report(tmp_path, caplog):
    linear = model()
    with torch.no_grad():
        linear.classifier.bias.uniform_(-2, 2)
    linear.save_pretrained(tmp_path)
    state = torch.get_rng_state()
    with caplog.at_level("WARNING"):
        scaled = LongTailForImageClassification.from_pretrained(tmp_path, head="scaled").eval()
    assert not caplog.records
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(scaled.classifier.scale, torch.ones(3))
    assert torch.equal(linear(IMAGES).logits, scaled(IMAGES).logits)


def test_trained_scales_survive_saving(tmp_path):
    scaled = model("scaled")
    with torch.no_grad():
        scaled.classifier.scale.copy_(torch.tensor([0.5, 2.0, 3.0]))
    scaled.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["head"] == "scaled"
    loaded = LongTailForImageClassification.from_pretrained(tmp_path).eval()
    assert torch.equal(loaded.classifier.scale, torch.tensor([0.5, 2.0, 3.0]))
    assert torch.equal(loaded(IMAGES).logits, scaled(IMAGES).logits)


def test_a_checkpoint_without_a_head_gets_a_whole_new_one(tmp_path):
    scaled = model("scaled")
    with torch.no_grad():
        scaled.classifier.scale.fill_(7.0)
    state = {name: value for name, value in scaled.state_dict().items() if not name.startswith("classifier.")}
    scaled.save_pretrained(tmp_path, state_dict=state)
    loaded = LongTailForImageClassification.from_pretrained(tmp_path)
    assert torch.equal(loaded.classifier.scale, torch.ones(3))
    assert torch.isfinite(loaded.classifier.weight).all() and loaded.classifier.weight.std() > 0


@pytest.mark.parametrize("fields", [{}, {"head_init_std": 0.01}])
def test_reset_classifier_begins_anew(fields):
    scaled = model("scaled", **fields)
    before = scaled.classifier.weight.detach().clone()
    with torch.no_grad():
        scaled.classifier.scale.fill_(7.0)
    scaled.reset_classifier()
    assert torch.equal(scaled.classifier.scale, torch.ones(3))
    assert not torch.equal(before, scaled.classifier.weight)
    assert scaled.classifier.weight.std().item() == pytest.approx(before.std().item(), rel=0.3)


def test_without_bias(tmp_path):
    for head in (None, "scaled"):
        made = model(head, head_options={"bias": False})
        assert made.classifier.bias is None
        assert torch.equal(made.classifier.weight, model().classifier.weight)
        made.reset_classifier()
        made.save_pretrained(tmp_path / str(head))
        loaded = LongTailForImageClassification.from_pretrained(tmp_path / str(head)).eval()
        assert loaded.classifier.bias is None
        assert torch.equal(loaded(IMAGES).logits, made(IMAGES).logits)


def test_a_bias_that_a_checkpoint_did_without_is_zero(tmp_path):
    without = model(head_options={"bias": False})
    without.save_pretrained(tmp_path)
    loaded = LongTailForImageClassification.from_pretrained(tmp_path, head_options=None).eval()
    assert torch.equal(loaded.classifier.bias, torch.zeros(3))
    assert torch.equal(loaded.classifier.weight, without.classifier.weight)
    assert torch.equal(loaded(IMAGES).logits, without(IMAGES).logits)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_logits_under_autocast_are_float32_and_near(dtype):
    scaled = model("scaled")
    with torch.no_grad():
        scaled.classifier.scale.uniform_(0.5, 2)
    exact = scaled(IMAGES).logits
    with torch.autocast("cpu", dtype=dtype):
        logits = scaled(IMAGES).logits
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, exact, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("bias", [True, False])
def test_it_folds_into_a_linear_layer(bias):
    torch.manual_seed(0)
    head = ScaledHead(nn.Linear(5, 7, bias=bias).double())
    with torch.no_grad():
        head.scale.uniform_(-1, 3)
    features = torch.randn(4, 5, dtype=torch.float64)
    linear = as_linear(head)
    assert type(linear) is nn.Linear and linear.bias is not None
    torch.testing.assert_close(linear(features), head(features), rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        linear.weight.zero_()
    assert head.weight.abs().sum() > 0


def test_a_linear_layer_folds_into_an_equal_one():
    plain = nn.Linear(5, 7)
    linear = as_linear(plain)
    assert linear is not plain and linear.weight.dtype == torch.float32
    assert torch.equal(linear.weight, plain.weight) and torch.equal(linear.bias, plain.bias)


def test_what_is_not_linear_does_not_fold():
    with pytest.raises(ValueError, match="cosine head divides by the length of the features"):
        as_linear(CosineHead(5, 7))
    with pytest.raises(ValueError, match="Identity is no head"):
        as_linear(nn.Identity())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"head": "scaled", "head_options": {"tau": 1.0}}, "option of a scaled head"),
        ({"head": "cosine", "head_options": {"bias": False}}, "option of a cosine head"),
        ({"head_options": {"bias": "no"}}, "must be true or false"),
        ({"head": "scaled", "head_scale": 3.0}, "belongs to a cosine head, but head is 'scaled'"),
        ({"head": "centroids"}, "centroid"),
    ],
)
def test_contradictions_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        LongTailConfig(backbone="resnet20_cifar", num_labels=3, **fields)
