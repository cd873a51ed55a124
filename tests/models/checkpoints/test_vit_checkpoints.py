"""Checkpoints of transformers' ViTMAE and ViT: the same outputs here as there, sizes, licences, and refusals."""

from __future__ import annotations

import json
import logging

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    ViTConfig,
    ViTForImageClassification,
    ViTMAEConfig,
    ViTMAEForPreTraining,
    ViTMAEModel,
    ViTModel,
)

from hf_ltr.models import (
    LongTailConfig,
    LongTailForImageClassification,
    MaskedAutoencoder,
    sine_cosine_position_embedding,
)
from hf_ltr.models.checkpoints.vit_checkpoints import convert_vit_config, convert_vit_tensors

from ..test_position_embedding import slow_resampling

ENCODER = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 60,
    "image_size": 16,
    "patch_size": 4,
    # As MAE was trained; transformers' default is 1e-12.
    "layer_norm_eps": 1e-6,
}
DECODER = {
    "decoder_hidden_size": 16,
    "decoder_num_hidden_layers": 2,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 64,
}


@torch.no_grad()
def randomize(model: torch.nn.Module) -> torch.nn.Module:
    """Larger than initial values everywhere, tables that some versions of transformers leave zero included."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
        if "norm" in name and name.endswith("weight"):
            parameter.add_(1.0)
    return model.eval()


def make_autoencoder(**changes) -> ViTMAEForPreTraining:
    model = randomize(ViTMAEForPreTraining(ViTMAEConfig(**{**ENCODER, **DECODER, **changes})))
    with torch.no_grad():
        table = model.decoder.decoder_pos_embed
        side = round((table.shape[1] - 1) ** 0.5)
        table.copy_(sine_cosine_position_embedding(table.shape[2], side, side, 1))
    return model


def save_in_memory_names(model: torch.nn.Module, folder) -> None:
    """A file with the names that the model has in memory (transformers 5) instead of those it is saved under (4)."""
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    save_file(
        {name: value.contiguous() for name, value in model.state_dict().items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )


def write(model: torch.nn.Module, folder, names: str) -> None:
    if names == "in memory":
        save_in_memory_names(model, folder)
        return
    model.save_pretrained(folder)
    if names == "released":
        # transformers 4, with which the files on the Hub were written, called the decoder's blocks so.
        path = folder / "model.safetensors"
        tensors = load_file(path)
        renamed = {
            name.replace("decoder.decoder_encoder.layer.", "decoder.decoder_layers."): value
            for name, value in tensors.items()
        }
        save_file(renamed, path, metadata={"format": "pt"})


def names_in(folder) -> set[str]:
    return set(load_file(folder / "model.safetensors"))


def images(size: int = 16) -> torch.Tensor:
    return torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(1))


def test_all_spellings_are_covered(tmp_path):
    """What the parametrisation below means, so that it cannot become the same several times."""
    model = make_autoencoder()
    write(model, tmp_path / "file", "file")
    (tmp_path / "memory").mkdir()
    write(model, tmp_path / "memory", "in memory")
    assert "vit.encoder.layer.0.attention.attention.query.weight" in names_in(tmp_path / "file")
    assert "vit.layers.0.attention.q_proj.weight" in names_in(tmp_path / "memory")
    write(model, tmp_path / "released", "released")
    assert "decoder.decoder_layers.0.attention.attention.query.weight" in names_in(tmp_path / "released")


@pytest.mark.parametrize("names", ["file", "in memory", "released"])
@pytest.mark.parametrize("normalize", [True, False])
def test_a_masked_autoencoder_computes_what_transformers_computes(names, normalize, tmp_path, caplog):
    reference = make_autoencoder(norm_pix_loss=normalize, mask_ratio=0.5)
    write(reference, tmp_path, names)
    with caplog.at_level(logging.WARNING):
        model, info = MaskedAutoencoder.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values()) and not caplog.records
    assert model.mask_ratio == 0.5 and model.norm_pix_loss is normalize
    assert not model.backbone.pos_embed.requires_grad
    noise = torch.rand(3, 16, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected, actual = reference(images(), noise=noise), model(images(), noise)
    assert torch.equal(actual.mask, expected.mask)
    torch.testing.assert_close(actual.prediction, expected.logits, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(actual.loss, expected.loss, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("names", ["file", "in memory"])
@pytest.mark.parametrize("with_decoder", [True, False])
def test_the_encoder_of_a_classifier_computes_what_transformers_computes(names, with_decoder, tmp_path):
    autoencoder = make_autoencoder(mask_ratio=0.0)
    reference = autoencoder if with_decoder else autoencoder.vit
    assert isinstance(reference, ViTMAEForPreTraining if with_decoder else ViTMAEModel)
    write(reference, tmp_path, names)
    model, info = LongTailForImageClassification.from_pretrained(tmp_path, num_labels=4, output_loading_info=True)
    assert info["missing_keys"] == {"classifier.weight", "classifier.bias"} and not info["unexpected_keys"]
    assert model.config.class_counts is None and model.num_labels == 4
    with torch.no_grad():
        # Nothing is masked, and increasing noise keeps the order.
        encoded = autoencoder.vit(images(), noise=torch.arange(16.0).expand(3, -1)).last_hidden_state
        torch.testing.assert_close(model.backbone.forward_features(images()), encoded, rtol=1e-5, atol=1e-5)


def test_the_recipe_of_fine_tuning(tmp_path, caplog):
    """`global_pool="avg"`: the final norm is left behind, `fc_norm` begins anew; another image size."""
    reference = make_autoencoder()
    reference.save_pretrained(tmp_path)
    model, info = LongTailForImageClassification.from_pretrained(
        tmp_path, class_counts=[30, 20, 1], global_pool="avg", image_size=24, output_loading_info=True
    )
    assert info["missing_keys"] == {"classifier.weight", "classifier.bias"} and not info["unexpected_keys"]
    assert model.config.class_counts == [30, 20, 1] and model.config.image_size == 24
    assert model.backbone.fc_norm.weight.eq(1).all() and model.backbone.fc_norm.bias.eq(0).all()
    table = reference.vit.embeddings.position_embeddings.detach()
    expected = slow_resampling(table, (4, 4), (6, 6), 1)
    torch.testing.assert_close(model.backbone.pos_embed.detach(), expected, rtol=1e-4, atol=1e-5)
    assert "from 4 x 4 to 6 x 6" in caplog.text
    # It is a checkpoint of this package from then on.
    model.save_pretrained(tmp_path / "own")
    assert "backbone.blocks.0.attn.qkv.weight" in names_in(tmp_path / "own")
    again, info = LongTailForImageClassification.from_pretrained(tmp_path / "own", output_loading_info=True)
    assert not any(info.values()) and again.config.architectures == ["LongTailForImageClassification"]
    assert torch.equal(again(images(24)).logits, model(images(24)).logits)


def test_sharded_files(tmp_path):
    reference = make_autoencoder(mask_ratio=0.0)
    reference.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    model = LongTailForImageClassification.from_pretrained(tmp_path, num_labels=4)
    encoded = reference.vit(images(), noise=torch.arange(16.0).expand(3, -1)).last_hidden_state
    torch.testing.assert_close(model.backbone.forward_features(images()), encoded, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("model_class", [ViTModel, ViTForImageClassification])
@pytest.mark.parametrize("bias", [True, False])
def test_plain_vision_transformers(model_class, bias, tmp_path):
    reference = randomize(model_class(ViTConfig(**ENCODER, qkv_bias=bias)))
    reference.save_pretrained(tmp_path)
    model, info = LongTailForImageClassification.from_pretrained(tmp_path, num_labels=2, output_loading_info=True)
    # Pooler and classifier are left behind, whatever their classes.
    assert info["missing_keys"] == {"classifier.weight", "classifier.bias"} and not info["unexpected_keys"]
    encoder = reference if model_class is ViTModel else reference.vit
    expected = encoder(images()).last_hidden_state
    torch.testing.assert_close(model.backbone.forward_features(images()), expected, rtol=1e-5, atol=1e-5)
    assert model.config.image_mean == [0.5] * 3 and model.config.masked_autoencoder is None
    assert model.config.initial_weights == {"name": tmp_path.name, "license": None}
    # A masked autoencoder takes the encoder and makes its own decoder.
    config = LongTailConfig.from_pretrained(tmp_path, masked_autoencoder=MASKED)
    autoencoder, info = MaskedAutoencoder.from_pretrained(tmp_path, config=config, output_loading_info=True)
    assert info["missing_keys"] and all(key.startswith("decoder.") for key in info["missing_keys"])
    assert torch.equal(autoencoder.backbone.norm.weight, encoder.layernorm.weight)


MASKED = {"decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2}


def test_a_decoder_with_other_positions_is_said(tmp_path, caplog):
    reference = make_autoencoder()
    with torch.no_grad():
        reference.decoder.decoder_pos_embed.zero_()
    reference.save_pretrained(tmp_path)
    MaskedAutoencoder.from_pretrained(tmp_path)
    assert "other position embeddings than the fixed sine-cosine table" in caplog.text
    caplog.clear()
    LongTailForImageClassification.from_pretrained(tmp_path, num_labels=2)  # has no decoder
    assert "sine-cosine" not in caplog.text


def test_a_decoder_of_another_image_size_is_compared_with_its_own_grid(tmp_path, caplog):
    make_autoencoder().save_pretrained(tmp_path)
    model = MaskedAutoencoder.from_pretrained(tmp_path, image_size=24)
    assert "sine-cosine" not in caplog.text
    assert model.decoder.position_embedding.shape[1] == 37 and model(images(24)).loss.isfinite()


@pytest.mark.parametrize(
    "sizes, backbone",
    [
        ((768, 12, 12, 3072, 16), "vit_base_patch16_224"),
        ((1024, 24, 16, 4096, 16), "vit_large_patch16_224"),
        ((1280, 32, 16, 5120, 14), "vit_huge_patch14_224"),
        ((192, 12, 3, 768, 16), "vit_tiny_patch16_224"),
        ((768, 12, 12, 3072, 32), "vit_base_patch32_224"),
    ],
)
def test_published_sizes_have_their_names(sizes, backbone, tmp_path):
    width, depth, heads, mlp, patch = sizes
    ViTMAEConfig(
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        intermediate_size=mlp,
        patch_size=patch,
        architectures=["ViTMAEForPreTraining"],
    ).save_pretrained(tmp_path)
    config = LongTailConfig.from_pretrained(tmp_path, num_labels=10, image_size=224)
    assert config.backbone == backbone and config.backbone_kwargs == {}
    assert config.num_labels == 10 and config.crop_ratio == 224 / 256
    # The names must mean these sizes: hidden widths of all layers, counted on the meta device.
    from hf_ltr.models.checkpoints.checkpoint_conversion import encoder_sizes

    assert encoder_sizes(config)[1:] == (width, depth, heads, mlp, (patch, patch), 1)


def test_other_sizes_are_arguments_of_the_backbone(tmp_path):
    make_autoencoder(mask_ratio=0.6).config.save_pretrained(tmp_path)
    config = LongTailConfig.from_pretrained(tmp_path, class_counts=[9, 1], global_pool="avg")
    assert config.backbone == "vit_base_patch16_224" and config.image_size == 16
    assert config.backbone_kwargs == {
        "embed_dim": 24,
        "depth": 2,
        "num_heads": 3,
        "mlp_ratio": 2.5,
        "patch_size": 4,
    }
    assert config.masked_autoencoder == {
        "mask_ratio": 0.6,
        "norm_pix_loss": False,
        "decoder_dim": 16,
        "decoder_depth": 2,
        "decoder_heads": 2,
    }
    assert config.image_mean == [0.485, 0.456, 0.406] and config.image_std == [0.229, 0.224, 0.225]
    assert config.model_type == "long_tail"


def test_no_warning_about_another_model_type(tmp_path, caplog):
    make_autoencoder().config.save_pretrained(tmp_path)
    with caplog.at_level(logging.WARNING):
        LongTailConfig.from_pretrained(tmp_path)
    assert not caplog.records


def test_the_processor_of_the_checkpoint_says_how_images_were_normalised(tmp_path):
    make_autoencoder().config.save_pretrained(tmp_path)
    processor = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6], "size": 16}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
    config = LongTailConfig.from_pretrained(tmp_path)
    assert config.image_mean == [0.1, 0.2, 0.3] and config.image_std == [0.4, 0.5, 0.6]
    assert LongTailConfig.from_pretrained(tmp_path, image_mean=[0.5] * 3).image_mean == [0.5] * 3


def test_a_config_file_without_its_defaults():
    fields = convert_vit_config({"model_type": "vit_mae"}, "somebody/weights")
    assert fields["backbone"] == "vit_base_patch16_224" and fields["image_size"] == 224
    assert fields["architectures"] == ["ViTMAEModel"]
    assert fields["masked_autoencoder"]["decoder_dim"] == 512
    config = LongTailConfig(**{key: value for key, value in fields.items() if key != "model_type"})
    assert config.num_channels == 3


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"hidden_act": "relu"}, "activation is 'relu'"),
        ({"image_size": [16, 32]}, r"image_size is \(16, 32\)"),
        ({"patch_size": [4, 8]}, r"patch_size is \(4, 8\)"),
        ({"num_attention_heads": 5}, "width 768 is not divisible by its 5 heads"),
    ],
)
def test_what_timm_cannot_express_is_refused(changes, message):
    with pytest.raises(ValueError, match=f"somebody/weights: its {message}"):
        convert_vit_config({"model_type": "vit", **changes}, "somebody/weights")


def test_another_epsilon_is_said(caplog):
    convert_vit_config({"model_type": "vit", "layer_norm_eps": 1e-12}, "somebody/weights")
    assert not caplog.records
    convert_vit_config({"model_type": "vit", "layer_norm_eps": 1e-5}, "somebody/weights")
    assert "layer_norm_eps=1e-05" in caplog.text


def test_incomplete_attention_is_refused():
    tensors = make_autoencoder().state_dict()
    del tensors["vit.layers.1.attention.k_proj.bias"]
    with pytest.raises(ValueError, match=r"has no key for backbone\.blocks\.1\.attn\.qkv\.bias"):
        convert_vit_tensors(tensors)


def test_an_explicit_config_must_describe_the_same_encoder(tmp_path):
    make_autoencoder().save_pretrained(tmp_path)
    kwargs = {"embed_dim": 24, "depth": 2, "num_heads": 4, "mlp_ratio": 2.5, "patch_size": 4}
    config = LongTailConfig(backbone="vit_base_patch16_224", num_labels=2, image_size=16, backbone_kwargs=kwargs)
    with pytest.raises(ValueError, match=r"heads 3 \(the config: 4\)"):
        LongTailForImageClassification.from_pretrained(tmp_path, config=config)
    with pytest.raises(ValueError, match="its backbone is 'vit_base_patch16_224', but the config describes"):
        LongTailForImageClassification.from_pretrained(tmp_path, config=LongTailConfig(num_labels=2))
    kwargs["num_heads"] = 3
    config = LongTailConfig(backbone="vit_pico_patch4_16", num_labels=2, backbone_kwargs=kwargs)
    model = LongTailForImageClassification.from_pretrained(tmp_path, config=config)
    assert torch.equal(model.backbone.cls_token, make_autoencoder().vit.embeddings.cls_token)
    assert model.config.initial_weights["name"] == tmp_path.name and config.initial_weights is None
