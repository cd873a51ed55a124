"""Checkpoints at another image size, and checkpoints that do not fit."""

from __future__ import annotations

import logging

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoImageProcessor, AutoModelForImageClassification, pipeline

from hf_ltr.models import (
    LongTailConfig,
    LongTailForImageClassification,
    LongTailImageProcessor,
    MaskedAutoencoder,
)
from hf_ltr.models.checkpoints import checkpoint_conversion
from hf_ltr.models.checkpoints.checkpoint_conversion import encoder_sizes

from ..test_position_embedding import slow_resampling

SIZES = {"depth": 2, "embed_dim": 24, "num_heads": 2}
DECODER = {"decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2}
POSITIONS = "backbone.pos_embed"


def make_config(**fields) -> LongTailConfig:
    fields = {"backbone": "vit_pico_patch4_16", "num_labels": 3, "backbone_kwargs": SIZES, **fields}
    return LongTailConfig(**fields)


def make_checkpoint(folder, model_class=LongTailForImageClassification, save_options=None, **fields):
    torch.manual_seed(0)
    model = model_class(make_config(**fields)).eval()
    with torch.no_grad():
        # timm's initial values are too small to see a mistake.
        model.backbone.pos_embed.normal_()
    model.save_pretrained(folder, **(save_options or {}))
    return model


def images(size: int, channels: int = 3) -> torch.Tensor:
    return torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(1))


def assert_resampled(loaded, model, old, new, prefix) -> None:
    expected = slow_resampling(model.backbone.pos_embed.detach(), old, new, prefix)
    torch.testing.assert_close(loaded.backbone.pos_embed.detach(), expected, rtol=1e-4, atol=1e-5)
    others = {name: value for name, value in loaded.state_dict().items() if name != POSITIONS}
    before = model.state_dict()
    assert others and all(torch.equal(value, before[name]) for name, value in others.items())


@pytest.mark.parametrize(
    "fields, old, new, prefix",
    [
        ({}, (4, 4), (7, 7), 1),
        ({"global_pool": "avg"}, (4, 4), (7, 7), 1),
        ({"backbone_kwargs": {**SIZES, "class_token": False}, "global_pool": "avg"}, (4, 4), (7, 7), 0),
        ({"backbone_kwargs": {**SIZES, "no_embed_class": True}}, (4, 4), (7, 7), 0),
        ({"backbone_kwargs": {**SIZES, "reg_tokens": 2}}, (4, 4), (7, 7), 3),
        ({"backbone_kwargs": {**SIZES, "patch_size": [2, 4]}}, (8, 4), (14, 7), 1),
        ({"backbone_kwargs": {**SIZES, "patch_size": [4, 2]}}, (4, 8), (7, 14), 1),
    ],
)
def test_a_classifier_at_another_image_size(fields, old, new, prefix, tmp_path, caplog):
    model = make_checkpoint(tmp_path, **fields)
    with caplog.at_level(logging.WARNING):
        loaded, info = LongTailForImageClassification.from_pretrained(
            tmp_path, image_size=28, output_loading_info=True
        )
    assert not any(info.values())
    assert_resampled(loaded, model, old, new, prefix)
    assert loaded.config.image_size == 28 and loaded.backbone.pos_embed.requires_grad
    assert loaded.name_or_path == str(tmp_path)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 1 and f"from {old[0]} x {old[1]} to {new[0]} x {new[1]} patches" in lines[0]
    assert loaded(images(28)).logits.isfinite().all()
    # And what was loaded is a checkpoint of the new size.
    loaded.save_pretrained(tmp_path / "new")
    caplog.clear()
    again = LongTailForImageClassification.from_pretrained(tmp_path / "new")
    assert torch.equal(again.backbone.pos_embed, loaded.backbone.pos_embed) and not caplog.records


def test_smaller_images_and_a_whole_config(tmp_path):
    model = make_checkpoint(tmp_path, image_size=32)
    config = make_config(image_size=16, drop_path_rate=0.1)
    loaded = LongTailForImageClassification.from_pretrained(tmp_path, config=config)
    assert_resampled(loaded, model, (8, 8), (4, 4), 1)
    assert loaded.config.drop_path_rate == 0.1 and config.name_or_path == ""


def test_from_a_masked_autoencoder_to_a_classifier_of_larger_images(tmp_path):
    model = make_checkpoint(tmp_path, MaskedAutoencoder, masked_autoencoder=DECODER)
    loaded, info = LongTailForImageClassification.from_pretrained(
        tmp_path, num_labels=5, global_pool="avg", image_size=24, output_loading_info=True
    )
    assert info["missing_keys"] == {"classifier.weight", "classifier.bias"} and not info["unexpected_keys"]
    expected = slow_resampling(model.backbone.pos_embed, (4, 4), (6, 6), 1)
    torch.testing.assert_close(loaded.backbone.pos_embed.detach(), expected, rtol=1e-4, atol=1e-5)
    assert loaded.backbone.pos_embed.requires_grad
    assert loaded.backbone.fc_norm.weight.eq(1).all()


def test_a_masked_autoencoder_goes_on_at_another_size_with_its_table_frozen(tmp_path):
    model = make_checkpoint(tmp_path, MaskedAutoencoder, masked_autoencoder=DECODER)
    loaded, info = MaskedAutoencoder.from_pretrained(tmp_path, image_size=24, output_loading_info=True)
    assert not any(info.values())
    assert_resampled(loaded, model, (4, 4), (6, 6), 1)
    assert not loaded.backbone.pos_embed.requires_grad
    # The decoder's table is computed, not interpolated.
    assert torch.equal(loaded.decoder.position_embedding, MaskedAutoencoder(loaded.config).decoder.position_embedding)
    assert loaded(images(24)).loss.isfinite()


def test_sharded_checkpoints_and_those_of_torch(tmp_path):
    model = make_checkpoint(tmp_path / "sharded", save_options={"max_shard_size": "20KB"})
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 1
    loaded = LongTailForImageClassification.from_pretrained(tmp_path / "sharded", image_size=24)
    assert_resampled(loaded, model, (4, 4), (6, 6), 1)
    (tmp_path / "torch" / "inner").mkdir(parents=True)
    model.config.save_pretrained(tmp_path / "torch" / "inner")
    torch.save(model.state_dict(), tmp_path / "torch" / "inner" / "pytorch_model.bin")
    loaded = LongTailForImageClassification.from_pretrained(
        tmp_path / "torch", subfolder="inner", image_size=24, local_files_only=True, revision="main"
    )
    assert_resampled(loaded, model, (4, 4), (6, 6), 1)


def test_type_device_and_tensors_in_memory(tmp_path):
    model = make_checkpoint(tmp_path)
    loaded = LongTailForImageClassification.from_pretrained(
        tmp_path, image_size=24, dtype=torch.bfloat16, device_map="cpu"
    )
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.bfloat16}
    expected = slow_resampling(model.backbone.pos_embed.detach(), (4, 4), (6, 6), 1)
    torch.testing.assert_close(loaded.backbone.pos_embed.float(), expected, rtol=1e-2, atol=2e-2)
    loaded = LongTailForImageClassification.from_pretrained(
        None, config=make_config(image_size=24), state_dict=model.state_dict()
    )
    assert_resampled(loaded, model, (4, 4), (6, 6), 1)


def test_auto_classes_and_pipelines(tmp_path):
    model = make_checkpoint(tmp_path)
    LongTailImageProcessor.from_config(model.config).save_pretrained(tmp_path)
    auto = AutoModelForImageClassification.from_pretrained(tmp_path, image_size=24)
    assert type(auto) is LongTailForImageClassification
    assert_resampled(auto, model, (4, 4), (6, 6), 1)
    classify = pipeline("image-classification", model=str(tmp_path), image_processor=str(tmp_path))
    image = Image.new("RGB", (16, 16), (200, 10, 10))
    expected = model(**AutoImageProcessor.from_pretrained(tmp_path)(image, return_tensors="pt")).logits.softmax(-1)
    assert classify(image)[0]["score"] == pytest.approx(expected.max().item(), abs=1e-5)


@pytest.mark.parametrize("name", ["vit_pico_patch4_16", "resnet20_cifar"])
def test_a_checkpoint_that_fits_is_handed_on_untouched(name, tmp_path, monkeypatch):
    fields = {} if name.startswith("vit") else {"backbone_kwargs": {}}
    model = make_checkpoint_of(name, tmp_path, **fields)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_conversion, "load_state_dict", None)  # no tensor is read
        files = [str(tmp_path / "model.safetensors")]
        assert checkpoint_conversion.convert_checkpoint(model, None, files) is None
    loaded = LongTailForImageClassification.from_pretrained(tmp_path)
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in model.state_dict().items())


def make_checkpoint_of(name: str, folder, **fields) -> LongTailForImageClassification:
    torch.manual_seed(0)
    model = LongTailForImageClassification(make_config(backbone=name, **fields))
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("image_size", [16, 32])
def test_another_patch_size_is_refused(image_size, tmp_path):
    make_checkpoint(tmp_path)
    changed = {"backbone_kwargs": {**SIZES, "patch_size": 8}, "image_size": image_size}
    with pytest.raises(ValueError, match=r"patch size \(4, 4\) \(the config: \(8, 8\)\)"):
        LongTailForImageClassification.from_pretrained(tmp_path, config=make_config(**changed))
    with pytest.raises(ValueError, match="patch size"):
        LongTailForImageClassification.from_pretrained(tmp_path, **changed)
    # Without a config beside the weights, their shapes say it.
    with pytest.raises(ValueError, match="patches of 4 x 4 pixels.*into 8 x 8"):
        LongTailForImageClassification.from_pretrained(
            None, config=make_config(**changed), state_dict=load_file(tmp_path / "model.safetensors")
        )
    kept = LongTailForImageClassification.from_pretrained(
        None,
        config=make_config(**changed),
        state_dict=load_file(tmp_path / "model.safetensors"),
        ignore_mismatched_sizes=True,
    )
    assert kept.backbone.pos_embed.isfinite().all() and kept.backbone.patch_embed.proj.weight.isfinite().all()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"depth": 3}, r"blocks 2 \(the config: 3\)"),
        ({"depth": 1}, r"blocks 2 \(the config: 1\)"),
        ({"num_heads": 4}, r"heads 2 \(the config: 4\)"),
        ({"embed_dim": 32}, r"width 24 \(the config: 32\), MLP width 96 \(the config: 128\)"),
        ({"reg_tokens": 1}, r"prefix tokens 1 \(the config: 2\)"),
    ],
)
def test_another_encoder_is_refused(changes, message, tmp_path):
    """Most of these the loader would not notice, or report as weights that are missing by intention."""
    make_checkpoint(tmp_path)
    kwargs = {**SIZES, **changes}
    with pytest.raises(ValueError, match=message) as error:
        LongTailForImageClassification.from_pretrained(tmp_path, config=make_config(backbone_kwargs=kwargs))
    assert "backbone='vit_pico_patch4_16' and backbone_kwargs=" in str(error.value)
    with pytest.raises(ValueError, match=message):
        LongTailForImageClassification.from_pretrained(tmp_path, backbone_kwargs=kwargs)


def test_another_kind_of_backbone_is_refused(tmp_path):
    make_checkpoint(tmp_path)
    config = LongTailConfig(backbone="resnet20_cifar", num_labels=3)
    with pytest.raises(ValueError, match="its backbone is 'vit_pico_patch4_16', but the config describes 'resnet20"):
        LongTailForImageClassification.from_pretrained(tmp_path, config=config)


def test_the_same_encoder_under_another_name_fits(tmp_path):
    model = make_checkpoint(tmp_path)
    config = make_config(
        backbone="vit_base_patch16_224", image_size=16, backbone_kwargs={**SIZES, "patch_size": 4}, drop_path_rate=0.2
    )
    loaded = LongTailForImageClassification.from_pretrained(tmp_path, config=config)
    assert torch.equal(loaded(images(16)).logits, model(images(16)).logits)


def test_positions_of_no_square_image_are_refused():
    config = make_config()
    tensors = LongTailForImageClassification(config).state_dict()
    tensors[POSITIONS] = torch.zeros(1, 1 + 15, 24)
    with pytest.raises(ValueError, match="16 position embeddings, which is no square image's number"):
        LongTailForImageClassification.from_pretrained(None, config=config, state_dict=tensors)


def test_backbones_without_a_table_take_any_image_size(tmp_path, caplog):
    model = make_checkpoint_of("resnet20_cifar", tmp_path, backbone_kwargs={})
    loaded = LongTailForImageClassification.from_pretrained(tmp_path, image_size=48)
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in model.state_dict().items())
    assert not caplog.records


def test_checkpoints_of_other_models_are_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "resnet", "architectures": ["ResNetModel"]}')
    with pytest.raises(ValueError, match="type 'resnet'.*'vit_mae' and 'vit'.*backbone_pretrained=True"):
        LongTailConfig.from_pretrained(tmp_path)


def test_encoder_sizes():
    expected = ("VisionTransformer", 24, 2, 2, 96, (4, 4), 1)
    assert encoder_sizes(make_config()) == expected
    assert encoder_sizes(make_config(image_size=32, drop_path_rate=0.3, global_pool="avg")) == expected
    assert encoder_sizes(LongTailConfig(backbone="resnet20_cifar")) is None
