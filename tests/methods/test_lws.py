"""LWS: what moves, and the stage from a linear checkpoint."""

import pytest
import torch
import torch.nn.functional as F

from hf_ltr import LongTailForImageClassification
from hf_ltr.data.samplers import ClassAwareSampler
from hf_ltr.models import as_linear
from hf_ltr.trainer.stage_model import build_stage_model

from ..contracts.builders import make_dataset
from .decoupled_runs import make_trainer, moved, state


@pytest.mark.parametrize("norm", ["train", "eval"])
def test_only_the_scales_move(norm, tmp_path):
    trainer = make_trainer(tmp_path, "lws", method_options={"norm": norm})
    before = state(trainer)
    trainer.train()
    assert moved(before, state(trainer)) == ({"classifier.scale"}, norm == "train")
    sampler = trainer.train_sampler(torch.tensor([0, 1]))
    assert isinstance(sampler, ClassAwareSampler) and sampler.samples_per_class == 4


def test_released_norm_policy_is_the_default(tmp_path):
    assert make_trainer(tmp_path, "lws").method.norm == "train"


def test_the_gradient_is_that_of_cross_entropy_on_scaled_logits(tmp_path):
    trainer = make_trainer(tmp_path, "lws")
    trainer.method.setup(trainer)
    generator = torch.Generator().manual_seed(0)
    head = trainer.model.classifier.double()
    features = torch.randn(5, head.in_features, dtype=torch.float64, generator=generator)
    labels = torch.tensor([3, 0, 1, 1, 2])
    outputs = type("Outputs", (), {"raw_logits": head(features)})
    trainer.method.sample_loss(outputs, labels).mean().backward()
    scale = torch.ones(4, dtype=torch.float64, requires_grad=True)
    F.cross_entropy(scale * (features @ head.weight.T + head.bias).detach(), labels).backward()
    torch.testing.assert_close(head.scale.grad, scale.grad, rtol=1e-10, atol=1e-12)


def test_the_stage_starts_with_the_logits_of_the_first(tmp_path):
    trainer = make_trainer(tmp_path, "lws")
    config = trainer.model.config
    config.head = None
    linear = LongTailForImageClassification(config).eval()
    linear.save_pretrained(tmp_path / "representation")
    stage = trainer.method.stages()[1]
    scaled = build_stage_model(stage, config, str(tmp_path / "representation"), seed=5).eval()
    pixels = trainer.processing_class(images=make_dataset()["image"][:4], return_tensors="pt")["pixel_values"]
    assert scaled.config.head == "scaled"
    assert torch.equal(scaled(pixels).logits, linear(pixels).logits)


def test_the_trained_head_folds(tmp_path):
    trainer = make_trainer(tmp_path, "lws")
    trainer.train()
    head = trainer.model.classifier
    assert (head.scale - 1).abs().max() > 1e-3
    features = torch.randn(6, head.in_features)
    torch.testing.assert_close(as_linear(head)(features), head(features), rtol=1e-4, atol=1e-5)
