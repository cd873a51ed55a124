"""Finding the linear layer behind the logits."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from hf_ltr.adjustment import AdjustmentOptions, adjust_checkpoint, find_linear_head
from hf_ltr.adjustment.linear_head import NotLinearError

from .builders import MAKERS, SIZE, load, make_ours, make_timm, make_vit, save

IMAGES = torch.randn(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
EXPECTED = {"vit": "classifier", "resnet": "classifier.1", "timm": "timm_model.fc", "ours": "classifier"}


@pytest.mark.parametrize("kind", MAKERS)
def test_it_is_found_in_every_model(checkpoints, kind):
    model = load(checkpoints[kind])
    images = torch.randn(3, 3, 32, 32) if kind == "timm" else IMAGES
    head = find_linear_head(model, images)
    assert head.name == EXPECTED[kind] and head.has_bias
    with torch.no_grad():
        logits = model(pixel_values=images).logits
    torch.testing.assert_close(head.rows(images) @ head.weight.T + head.bias, logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("architecture", ["swin", "convnext", "dinov2"])
def test_it_is_found_in_other_families(architecture):
    import transformers

    options = {
        "swin": (
            "Swin",
            {
                "image_size": 32,
                "patch_size": 4,
                "embed_dim": 8,
                "depths": [1, 1],
                "num_heads": [2, 2],
                "window_size": 4,
            },
        ),
        "convnext": ("ConvNext", {"hidden_sizes": [8, 8, 8, 8], "depths": [1, 1, 1, 1]}),
        "dinov2": (
            "Dinov2",
            {"image_size": 28, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2},
        ),
    }
    name, fields = options[architecture]
    config = getattr(transformers, f"{name}Config")(num_labels=5, **fields)
    model = getattr(transformers, f"{name}ForImageClassification")(config).eval()
    side = fields.get("image_size", 32)
    assert find_linear_head(model, torch.randn(2, 3, side, side)).name == "classifier"


def test_a_layer_that_only_looks_like_the_head_is_not_taken():
    model = make_vit().eval()
    # Behind the real head, with as many outputs, and never used; and one that is used, but is not the end.
    model.another = nn.Linear(24, 4)
    assert find_linear_head(model, IMAGES).name == "classifier"
    model.classifier = nn.Sequential(nn.Linear(24, 4), nn.Tanh())
    with pytest.raises(NotLinearError, match=r"ViTForImageClassification .* classifier.0"):
        find_linear_head(model, IMAGES)


def test_a_head_that_is_not_linear_is_refused_with_what_still_works(tmp_path, data):
    save(make_ours(head="cosine"), tmp_path / "in")
    for method in ("tau_norm", "ncm", "crt", "lws"):
        with pytest.raises(ValueError, match="CosineHead.*logit_adjustment and pc_softmax work"):
            adjust_checkpoint(tmp_path / "in", tmp_path / "out", method, data=data, progress=False)
    assert not (tmp_path / "out").exists()


def test_a_missing_bias_is_refused_before_any_image_is_read(tmp_path, data):
    model = make_timm()
    model.timm_model.fc = nn.Linear(96, 4, bias=False)
    head = find_linear_head(model.eval(), torch.randn(2, 3, 32, 32))
    assert not head.has_bias and not head.bias.any()
    replace(head, weight=head.weight * 2).store()
    with pytest.raises(ValueError, match="has no bias"):
        replace(head, bias=torch.ones(4)).store()


def test_our_model_without_bias_gets_one(tmp_path):
    torch.manual_seed(0)
    counts = [9, 1, 4, 30]
    save(make_ours(head_options={"bias": False}, class_counts=counts), tmp_path / "in")
    adjust_checkpoint(tmp_path / "in", tmp_path / "out", AdjustmentOptions("logit_adjustment", tau=1.0))
    with torch.no_grad():
        before, after = (load(tmp_path / name)(pixel_values=IMAGES).logits for name in ("in", "out"))
    prior = torch.tensor(counts).div(sum(counts)).log()
    torch.testing.assert_close(after, before - prior, rtol=0, atol=1e-5)
