"""The configs of MEM and LiVT say what their sources say, and the optimizer is built from it."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers.initialization import meta_device_safe_creation_ops

from hf_ltr import LongTailConfig, LongTailForImageClassification, LongTailTrainingArguments
from hf_ltr.recipe import ModelOptions
from hf_ltr.trainer.optimization import cosine_factor, parameter_groups
from hf_ltr.trainer.stage_model import stage_config
from hf_ltr.trainer.stage_plan import stage_arguments
from tests.contracts.recipe_parsing import plan_config

MIXING = ("mixup_alpha", "cutmix_alpha", "label_smoothing")


@pytest.fixture
def read(repository, tmp_path):
    def read_config(path: str):
        parsed, plan = plan_config(repository / f"recipes/configs/{path}.yaml", [200, 50, 5])
        common = parsed.of(LongTailTrainingArguments)
        common.pop("output_dir", None)
        stages = [stage for stage in plan.stages if stage.name not in plan.compared]
        config = parsed.build(ModelOptions).config(plan.method.class_counts)
        found = {}
        for stage in stages:
            options = stage_arguments(stage, stages, common, tmp_path / stage.name, lambda text: None)
            found[stage.name] = LongTailTrainingArguments(**options), stage_config(stage, config)
        return found

    return read_config


@pytest.mark.parametrize(
    ("name", "epochs", "rate", "decay", "drop_path", "pretraining_epochs"),
    [
        ("imagenet_lt_vit_b", 100, 2e-3, 0.65, 0.1, 400),
        ("imagenet_lt_vit_l", 100, 4e-3, 0.75, 0.2, 800),
        ("inat18_vit_b", 100, 2e-3, 0.65, 0.1, 400),
        ("inat18_vit_l", 100, 4e-3, 0.75, 0.2, 800),
        ("inat18_convvit_b", 100, 2e-3, 0.65, 0.1, 400),
        ("places_lt_vit_b", 30, 2e-3, 0.65, 0.1, None),
        ("places_lt_vit_l", 30, 4e-3, 0.75, 0.2, None),
    ],
)
def test_mem_configs_have_the_recipes_of_masked_autoencoding(
    read, name, epochs, rate, decay, drop_path, pretraining_epochs
):
    stages = read(f"mem_vit/{name}")
    args, config = stages["finetuning"]
    assert (args.num_train_epochs, args.warmup_epochs, args.min_learning_rate) == (epochs, 5, 1e-6)
    assert args.per_device_train_batch_size == 1024 and args.learning_rate == pytest.approx(rate)
    assert (args.adam_beta1, args.adam_beta2, args.weight_decay) == (0.9, 0.999, 0.05)
    assert (args.layer_decay, config.drop_path_rate, config.head_init_std) == (decay, drop_path, 2e-5)
    assert config.global_pool == "avg" and config.crop_ratio == pytest.approx(224 / 256)
    assert args.augmentation == ["random_resized_crop", "horizontal_flip", "randaugment", "random_erasing"]
    assert args.augmentation_options["randaugment"] == {"policy": "rand-m9-mstd0.5-inc1"}
    assert args.augmentation_options["random_erasing"] == {"probability": 0.25, "mode": "pixel"}
    assert [getattr(args, option) for option in MIXING] == [0.8, 1.0, 0.1]
    assert (args.mix_probability, args.mix_switch_probability) == (1.0, 0.5)
    assert args.max_grad_norm == 0
    assert list(config.image_mean) == [0.485, 0.456, 0.406]
    if pretraining_epochs is None:
        assert "pretraining" not in stages and config.backbone_pretrained and config.backbone.endswith(".mae")
    else:
        args, config = stages["pretraining"]
        assert (args.num_train_epochs, args.warmup_epochs, args.min_learning_rate) == (pretraining_epochs, 40, 0)
        assert args.per_device_train_batch_size == 4096 and args.learning_rate == pytest.approx(2.4e-3)
        assert (args.adam_beta1, args.adam_beta2, args.weight_decay) == (0.9, 0.95, 0.05)
        assert args.layer_decay is None and not any(getattr(args, option) for option in MIXING)
        crop = {"scale": [0.2, 1.0], "interpolation": "bicubic"}
        assert args.augmentation_options == {"random_resized_crop": crop}
        assert args.augmentation == ["random_resized_crop", "horizontal_flip"]
        decoder = {"decoder_dim": 512, "decoder_depth": 8, "decoder_heads": 16}
        assert config.masked_autoencoder == {"mask_ratio": 0.75, "norm_pix_loss": True, **decoder}
    args, _ = stages["modulator"]
    assert args.learning_rate == 1e-3 and args.layer_decay is None and args.num_train_epochs == 10
    assert not any(getattr(args, option) for option in MIXING)


def test_livt_is_masked_autoencoding_and_balanced_binary_cross_entropy(read):
    for name, size, decay, drop_path, smoothing in (
        ("imagenet_lt_livt", 224, 0.75, 0.1, 0.1),
        ("inat18_livt", 128, 0.65, 0.2, 0.0),
    ):
        stages = read(f"classifier/{name}")
        assert list(stages) == ["pretraining", "train"]
        args, config = stages["train"]
        assert config.method["name"] == "balanced_bce" and config.method["options"] == {"tau": 1.0}
        assert (args.learning_rate, args.adam_beta2, args.warmup_epochs) == (pytest.approx(4e-3), 0.99, 10)
        assert (args.layer_decay, config.drop_path_rate, args.label_smoothing) == (decay, drop_path, smoothing)
        assert (args.mixup_alpha, args.cutmix_alpha, config.image_size) == (0.8, 1.0, 224)
        args, config = stages["pretraining"]
        assert (args.num_train_epochs, args.adam_beta2, config.image_size) == (800, 0.95, size)


@pytest.mark.parametrize("name", ["imagenet_lt_resnext50", "inat18_resnext50", "places_lt_resnet152"])
def test_convolutional_networks_have_two_stages(read, name):
    stages = read(f"mem_vit/{name}")
    assert list(stages) == ["finetuning", "modulator"]
    args, config = stages["finetuning"]
    assert args.optim == "sgd" and args.num_train_epochs == (30 if "places" in name else 100)
    args, _ = stages["modulator"]
    assert args.optim == "adamw_torch_fused" and args.learning_rate == 1e-3
    assert args.parameter_options is None and not args.lr_milestones


def test_the_optimizer_of_fine_tuning_is_that_of_masked_autoencoders():
    """ViT-B: rates from 0.65 ** 13 at the patch embedding to 1 at the head, no weight decay on 1-D and embeddings."""
    config = LongTailConfig(
        backbone="vit_base_patch16_224", num_labels=10, global_pool="avg", head_init_std=2e-5, drop_path_rate=0.1
    )
    # Without the second, timm 1.0.20 cannot compute its drop rates on the meta device.
    with torch.device("meta"), meta_device_safe_creation_ops():
        model = LongTailForImageClassification(config)
    groups = parameter_groups(model, learning_rate=2e-3, weight_decay=0.05, decay_all=False, layer_decay=0.65)
    scales = sorted({round(group["lr"] / 2e-3, 12) for group in groups})
    assert scales == pytest.approx([0.65 ** (13 - layer) for layer in range(14)])
    of_name = {name: group for group in groups for name in group["names"]}
    for name, layer in (
        ("backbone.cls_token", 0),
        ("backbone.pos_embed", 0),
        ("backbone.patch_embed.proj.weight", 0),
        ("backbone.blocks.0.attn.qkv.weight", 1),
        ("backbone.blocks.11.mlp.fc2.bias", 12),
        ("backbone.fc_norm.weight", 13),
        ("classifier.weight", 13),
    ):
        assert of_name[name]["lr"] == pytest.approx(2e-3 * 0.65 ** (13 - layer)), name
    parameters = dict(model.named_parameters())
    for name, group in of_name.items():
        decayed = parameters[name].ndim > 1 and name not in ("backbone.cls_token", "backbone.pos_embed")
        assert group["weight_decay"] == (0.05 if decayed else 0.0), name
    # Every layer ends at its share of the smallest rate.
    assert 2e-3 * cosine_factor(1000, warmup_steps=50, total_steps=1000, minimum=1e-6 / 2e-3) == pytest.approx(1e-6)


def test_a_new_head_is_almost_zero():
    torch.manual_seed(0)
    config = LongTailConfig(
        backbone="vit_pico_patch4_16", num_labels=50, global_pool="avg", head_init_std=2e-5, num_channels=1
    )
    model = LongTailForImageClassification(config)
    weight = model.classifier.weight
    assert weight.std().item() == pytest.approx(2e-5, rel=0.1) and not model.classifier.bias.any()
    assert isinstance(model.backbone.fc_norm, nn.LayerNorm) and isinstance(model.backbone.norm, nn.Identity)
