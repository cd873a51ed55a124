"""ConvMAE's encoder against formulas written out slowly, its counts, and its manners as a timm model."""

from functools import partial

import pytest
import timm
import torch
from torch import nn
from transformers.initialization import meta_device_safe_creation_ops

from hf_ltr.models import LongTailConfig, LongTailForImageClassification
from hf_ltr.models.backbone import extract_features
from hf_ltr.models.backbones.convolutional_vision_transformer import (
    ConvolutionalVisionTransformer,
    convert_released_checkpoint,
)
from hf_ltr.trainer.optimization import layer_numbers, parameter_groups

from .convolutional_reference import dense, encode, layer_norm, random_weights

NAME = "convvit_tiny_patch4_32"
PATCHES, DIMS, DEPTHS = (1, 2, 2), (4, 6, 8), (2, 1, 2)
SIZES = {"stage_dims": [4, 6], "stage_depths": [2, 1], "embed_dim": 8, "depth": 2, "num_heads": 2}


def make_model(seed: int = 0, **arguments) -> ConvolutionalVisionTransformer:
    torch.manual_seed(seed)
    return timm.create_model(NAME, **{"img_size": 12, "num_classes": 5, **SIZES, **arguments}).eval()


def make_config(**fields) -> LongTailConfig:
    return LongTailConfig(**{"backbone": NAME, "image_size": 12, "num_labels": 5, "backbone_kwargs": SIZES, **fields})


def make_images(batch: int = 2, size: int = 12, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(1)).to(dtype)


def count(dims: tuple[int, int, int], patches: tuple[int, int, int], depths: tuple[int, int, int], grid: int) -> int:
    """Parameters of the encoder with `fc_norm`, added up from the description of the architecture."""
    total, channels = 0, 3
    for width, size in zip(dims, patches, strict=True):
        total += width * channels * size**2 + width + 2 * width
        channels = width
    for width, depth in zip(dims[:2], depths[:2], strict=True):
        pointwise = 2 * (width * width + width) + (width * 4 * width + 4 * width) + (4 * width * width + width)
        total += depth * (pointwise + 25 * width + width + 4 * width)
    width = dims[2]
    total += width * width + width + grid * grid * width
    attention = width * 3 * width + 3 * width + width * width + width
    total += depths[2] * (attention + 8 * width * width + 5 * width + 4 * width)
    return total + 2 * width


@pytest.mark.parametrize(
    "name, size, classes, dims, patches, depths, expected",
    [
        ("convvit_base_patch16_224", 224, 1000, (256, 384, 768), (4, 2, 2), (2, 2, 11), 85_374_824),
        ("convvit_tiny_patch4_32", 32, 100, (64, 96, 192), (1, 2, 2), (2, 2, 11), 5_340_164),
    ],
)
def test_parameter_counts(name, size, classes, dims, patches, depths, expected):
    with torch.device("meta"), meta_device_safe_creation_ops():
        model = timm.create_model(name, num_classes=classes)
    assert sum(parameter.numel() for parameter in model.parameters()) == expected
    grid = size // (patches[0] * patches[1] * patches[2])
    assert count(dims, patches, depths, grid) + classes * dims[2] + classes == expected
    assert model.patch_embed.grid_size == (grid, grid) and model.default_cfg["input_size"] == (3, size, size)
    assert [stage.proj.out_channels for stage in model.patch_embed.stages] == list(dims[:2])


def test_classification_equals_a_slow_reference_in_float64():
    model = make_model().double()
    weights = random_weights(DIMS, PATCHES, DEPTHS, grid=3, last_norm="fc_norm", classes=5)
    model.load_state_dict(convert_released_checkpoint({"model": weights}, model))
    images = make_images(dtype=torch.float64)
    logits = []
    for image in images:
        tokens, _ = encode(image, weights, PATCHES, heads=2)
        logits.append(dense(layer_norm(tokens.mean(dim=0), weights, "fc_norm", 1e-6), weights, "head"))
    torch.testing.assert_close(model(images), torch.stack(logits), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("visible", [[0, 4, 5], [8], [2, 6]])
def test_masked_stages_equal_a_slow_reference_in_float64(visible):
    model = make_model().double()
    weights = random_weights(DIMS, PATCHES, DEPTHS, grid=3, last_norm="fc_norm", classes=5)
    model.load_state_dict(convert_released_checkpoint(weights, model))
    keep = torch.zeros(1, 9).index_fill(1, torch.tensor(visible), 1.0)
    image = make_images(1, dtype=torch.float64)
    tokens, maps = model.patch_embed.forward_stages(image, keep)
    assert [tuple(stage.shape) for stage in maps] == [(1, 4, 12, 12), (1, 6, 6, 6)]
    tokens = model.blocks((tokens + model.pos_embed)[:, visible])
    expected, _ = encode(image[0], weights, PATCHES, heads=2, visible=visible)
    torch.testing.assert_close(tokens[0], expected, rtol=1e-9, atol=1e-9)


def test_hidden_patches_do_not_influence_visible_ones():
    model = make_model()
    keep = torch.tensor([[1.0, 0, 1, 0, 1, 0, 0, 0, 1]])
    pixels = keep.reshape(1, 1, 3, 3).repeat_interleave(4, 2).repeat_interleave(4, 3).bool()
    images = make_images(1)
    changed = torch.where(pixels, images, 100.0 - images)
    (tokens, maps), (other_tokens, other_maps) = (
        model.patch_embed.forward_stages(values, keep) for values in (images, changed)
    )
    shown = keep[0].bool()
    assert torch.equal(tokens[:, shown], other_tokens[:, shown])
    assert not torch.equal(tokens[:, ~shown], other_tokens[:, ~shown])
    for stage, other in zip(maps, other_maps, strict=True):
        factor = 12 // stage.shape[-1]
        inside = pixels[:, :, ::factor, ::factor].expand_as(stage)
        assert torch.equal(stage[inside], other[inside])
    without_mask = (model.patch_embed(values)[:, shown] for values in (images, changed))
    assert not torch.allclose(*without_mask)


def test_manners_of_a_timm_model():
    model, images = make_model(), make_images()
    assert model.num_features == 8 and model.num_prefix_tokens == 0 and model.global_pool == "avg"
    assert model.no_weight_decay() >= {"pos_embed"} and isinstance(model.get_classifier(), nn.Linear)
    tokens = model.forward_features(images)
    assert tokens.shape == (2, 9, 8)
    features = model.forward_head(tokens, pre_logits=True)
    torch.testing.assert_close(features, model.fc_norm(tokens.mean(dim=1)))
    torch.testing.assert_close(model(images), model.head(features))
    final, maps = model.forward_intermediates(images, indices=[0, 1])
    assert torch.equal(final, tokens) and [tuple(entry.shape) for entry in maps] == [(2, 8, 3, 3)] * 2
    torch.testing.assert_close(maps[1].flatten(2).transpose(1, 2), tokens)
    model.reset_classifier(7)
    assert model(images).shape == (2, 7) and model.global_pool == "avg"
    model.reset_classifier(0)
    torch.testing.assert_close(model(images), features)
    pyramid = timm.create_model(NAME, features_only=True, out_indices=(0, 1), img_size=12, **SIZES)
    assert [tuple(entry.shape) for entry in pyramid(images)] == [(2, 8, 3, 3)] * 2
    assert pyramid.feature_info.reduction() == [4, 4]


def test_the_norm_stands_before_pooling_if_told_so():
    model, images = make_model(fc_norm=False), make_images()
    features, tokens = extract_features(model, images, with_tokens=True)
    assert isinstance(model.norm, nn.LayerNorm) and isinstance(model.fc_norm, nn.Identity)
    torch.testing.assert_close(features, model.head(model.norm(tokens).mean(dim=1)))


def test_initial_values():
    torch.manual_seed(0)
    model = timm.create_model(NAME, img_size=12, embed_dim=96, depth=1, num_heads=2)
    assert model.head.weight.std().item() == pytest.approx(0.02, rel=0.1) and not model.head.bias.any()
    assert model.pos_embed.std().item() == pytest.approx(0.02, rel=0.1) and model.pos_embed.requires_grad
    assert model.patch_embed.linear.weight.std().item() == pytest.approx(0.02, rel=0.1)
    # Convolutions keep torch's uniform values of bound 1 / sqrt(fan in), as in the published code.
    for layer, fan_in in ((model.patch_embed.proj, 96 * 4), (model.patch_embed.stages[1].blocks[0].conv_in, 96)):
        bound = fan_in**-0.5
        assert 0.95 * bound < layer.weight.abs().max() <= bound and layer.bias.any()


def test_stochastic_depth_counts_the_convolutional_blocks():
    model = make_model(drop_path_rate=0.4)
    embedding = model.patch_embed
    rates = [getattr(block.drop_path, "drop_prob", 0.0) for stage in embedding.stages for block in stage.blocks]
    rates += [block.drop_path1.drop_prob for block in model.blocks]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])
    assert model.blocks[1].drop_path2.drop_prob == pytest.approx(0.4)
    images = make_images()
    assert torch.equal(model(images), make_model()(images))
    assert not torch.equal(model.train()(images), model(images))


def test_dropout_rates_reach_their_layers():
    model = make_model(drop_rate=0.1, pos_drop_rate=0.2, proj_drop_rate=0.3, attn_drop_rate=0.4)
    assert model.head_drop.p == 0.1 and model.pos_drop.p == 0.2 and model.blocks[0].attn.attn_drop.p == 0.4
    assert model.patch_embed.stages[0].blocks[0].mlp.drop1.p == model.blocks[0].mlp.drop1.p == 0.3


def test_layer_decay_gives_the_convolutional_stages_the_rate_of_the_embeddings():
    model = LongTailForImageClassification(make_config())
    layers = layer_numbers(model)
    for name, layer in layers.items():
        if name.startswith(("backbone.patch_embed.", "backbone.pos_embed")):
            assert layer == 0
        elif name.startswith("backbone.blocks."):
            assert layer == int(name.split(".")[2]) + 1
        else:
            assert name.startswith(("backbone.fc_norm.", "classifier.")) and layer == 3
    assert set(layers) == {name for name, _ in model.named_parameters()}
    groups = parameter_groups(model, learning_rate=1.0, weight_decay=0.05, decay_all=False, layer_decay=0.5)
    rate = {name: group["lr"] for group in groups for name in group["names"]}
    decay = {name: group["weight_decay"] for group in groups for name in group["names"]}
    depthwise = "backbone.patch_embed.stages.0.blocks.1.depthwise"
    assert rate[f"{depthwise}.weight"] == 0.125 and rate["backbone.blocks.1.norm1.weight"] == 0.5
    assert decay[f"{depthwise}.weight"] == 0.05 and decay[f"{depthwise}.bias"] == 0.0
    assert decay["backbone.pos_embed"] == decay["backbone.patch_embed.stages.0.norm.weight"] == 0.0


def test_gradient_checkpointing_changes_no_gradient():
    model, images = make_model().train(), make_images()
    gradients, calls = [], []
    model.patch_embed.stages[0].blocks[0].register_forward_pre_hook(lambda *arguments: calls.append(1))
    for enable in (False, True):
        model.set_grad_checkpointing(enable)
        model.zero_grad()
        calls.clear()
        model(images).square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
        assert len(calls) == (2 if enable else 1)
    torch.testing.assert_close(*gradients)


def test_autocast():
    model, images = make_model(), make_images()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        tokens, _ = model.patch_embed.forward_stages(images, torch.ones(2, 9))
    torch.testing.assert_close(tokens.float(), model.patch_embed(images), rtol=0.1, atol=0.1)


def test_another_input_size_resamples_positions():
    model = make_model()
    model.set_input_size(img_size=(8, 16))
    assert model.pos_embed.shape == (1, 8, 8) and model(torch.randn(1, 3, 8, 16)).shape == (1, 5)
    with pytest.raises(ValueError, match="patches of 4 pixels, which cannot be changed to 8"):
        model.set_input_size(patch_size=8)


def test_stages_may_be_more_or_fewer():
    arguments = {"patch_sizes": (2, 2), "stage_dims": (4,), "stage_depths": (1,)}
    model = make_model(**arguments)
    assert model(make_images()).shape == (2, 5) and model.patch_embed.reductions == [2]


def test_errors():
    with pytest.raises(ValueError, match="one entry per stage in stage_dims and stage_depths.*not 2, 1 and 3"):
        make_model(stage_depths=[1])
    with pytest.raises(ValueError, match="no class token; use global_pool='avg'"):
        make_config(global_pool="token")
    with pytest.raises(ValueError, match="cannot create backbone 'convvit_tiny_patch4_32'.*class_token"):
        LongTailForImageClassification(make_config(backbone_kwargs={**SIZES, "class_token": True}))
    with pytest.raises(ValueError, match="16 x 16 pixels do not fit a model built for 12 x 12"):
        make_model()(torch.zeros(1, 3, 16, 16))
    with pytest.raises(ValueError, match="patches of 4 pixels do not divide them"):
        make_config(image_size=18)


def test_classifier_begins_as_timm_and_survives_saving(tmp_path):
    torch.manual_seed(3)
    model = LongTailForImageClassification(make_config(drop_path_rate=0.1)).eval()
    torch.manual_seed(3)
    expected = timm.create_model(NAME, img_size=12, num_classes=5, drop_path_rate=0.1, **SIZES)
    state = expected.state_dict()
    assert all(torch.equal(value, state.pop(key)) for key, value in model.backbone.state_dict().items())
    assert torch.equal(model.classifier.weight, state.pop("head.weight")) and set(state) == {"head.bias"}
    model.save_pretrained(tmp_path)
    loaded, info = LongTailForImageClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    images = make_images()
    assert torch.equal(loaded.eval()(images).logits, model(images).logits)
    assert torch.equal(loaded(images).logits, expected.eval()(images))


def test_modulator_reads_the_tokens_after_the_last_block(tmp_path):
    config = make_config(class_counts=[300, 200, 50, 30, 5], modules={"modulator": {"width": 8, "heads": 1}})
    model = LongTailForImageClassification(config).eval()
    images = make_images()
    _, tokens = extract_features(model.backbone, images, with_tokens=True)
    embedded = model.backbone.patch_embed(images) + model.backbone.pos_embed
    torch.testing.assert_close(tokens, model.backbone.blocks(embedded))
    seen = []
    model.modulator.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    output = model(images)
    assert torch.equal(seen[0], tokens) and output.extras["magnitudes"].shape == (2, 3)
    model.save_pretrained(tmp_path)
    assert torch.equal(LongTailForImageClassification.from_pretrained(tmp_path).eval()(images).logits, output.logits)


@pytest.mark.parametrize("last_norm, classes", [("norm", None), ("fc_norm", 5), ("fc_norm", 3)])
@pytest.mark.parametrize("grid", [3, 6])
def test_released_checkpoints_load_by_file(tmp_path, monkeypatch, last_norm, classes, grid):
    weights = random_weights(DIMS, PATCHES, DEPTHS, grid=grid, last_norm=last_norm, classes=classes)
    weights |= {"mask_token": torch.zeros(1, 1, 4), "decoder_embed.weight": torch.zeros(4, 8)}
    path = tmp_path / "checkpoint.pth"
    torch.save({"model": {name: weight.float() for name, weight in weights.items()}}, path)
    overlay = {"file": str(path), "num_classes": classes or 1000}
    monkeypatch.setattr(timm, "create_model", partial(timm.create_model, pretrained_cfg_overlay=overlay))
    config = make_config(backbone_pretrained=True, backbone_kwargs=SIZES)
    model = LongTailForImageClassification(config)
    backbone = model.backbone
    depthwise = backbone.patch_embed.stages[0].blocks[1].depthwise.weight
    assert torch.equal(depthwise, weights["blocks1.1.attn.weight"].float())
    assert torch.equal(backbone.blocks[1].mlp.fc2.bias, weights["blocks3.1.mlp.fc2.bias"].float())
    assert torch.equal(backbone.patch_embed.linear.weight, weights["patch_embed4.weight"].float())
    own = weights["fc_norm.weight"].float() if last_norm == "fc_norm" else torch.ones(8)
    assert torch.equal(backbone.fc_norm.weight, own)
    assert backbone.pos_embed.shape == (1, 9, 8)
    assert torch.equal(backbone.pos_embed, weights["pos_embed"].float()) == (grid == 3)
    if classes == 5:
        assert torch.equal(model.classifier.weight, weights["head.weight"].float())
