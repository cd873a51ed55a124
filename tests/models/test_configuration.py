"""The config says early and clearly what is wrong, and survives a round trip through JSON."""

import numpy as np
import pytest
import torch
from transformers import AutoConfig

from hf_ltr.models import LongTailConfig, LongTailForImageClassification, backbone_shape

TINY_VIT = {"backbone": "vit_pico_patch4_16", "backbone_kwargs": {"depth": 1, "embed_dim": 16, "num_heads": 2}}


class Counts:
    """What a `ClassCounts` looks like to the config."""

    def __init__(self, counts, names=None):
        self.counts, self.names = counts, names


def test_round_trip_keeps_every_field(tmp_path):
    config = LongTailConfig(
        **TINY_VIT,
        class_counts=[120, 30, 4, 2],
        id2label={0: "ant", 1: "bee", 2: "crab", 3: "dog"},
        group_scheme="auto",
        image_mean=[0.1],
        image_std=[0.2],
        num_channels=1,
        global_pool="avg",
        head="cosine",
        head_scale=16.0,
        drop_path_rate=0.1,
        logit_adjustment={"tau": 1.5, "remove": [120, 30, 4, 2]},
        modules={"modulator": {"width": 64}},
        masked_autoencoder={"mask_ratio": 0.5},
        method={"name": "mem"},
        crop_ratio=0.9,
        interpolation="bilinear",
    )
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(loaded, LongTailConfig)
    before, after = config.to_dict(), loaded.to_dict()
    for ignored in ("transformers_version", "_name_or_path"):
        before.pop(ignored, None), after.pop(ignored, None)
    assert before == after
    assert loaded.modules["modulator"]["group_of_class"] == [0, 1, 2, 2]


def test_statistics_given_for_a_vit_survive_although_they_are_the_default_of_another_backbone(tmp_path):
    cifar = LongTailConfig(num_labels=3)
    config = LongTailConfig(**TINY_VIT, num_labels=3, image_mean=cifar.image_mean, image_std=cifar.image_std)
    config.save_pretrained(tmp_path)
    assert LongTailConfig.from_pretrained(tmp_path).image_mean == cifar.image_mean != [0.5, 0.5, 0.5]


@pytest.mark.parametrize(
    "counts", [[5, 3, 0], (5, 3, 0), np.array([5, 3, 0]), torch.tensor([5, 3, 0]), Counts([5, 3, 0])], ids=type
)
def test_class_counts_become_plain_integers(counts):
    config = LongTailConfig(class_counts=counts)
    assert config.class_counts == [5, 3, 0] and all(type(count) is int for count in config.class_counts)
    assert config.num_labels == 3
    config.class_counts = counts
    assert config.class_counts == [5, 3, 0]


def test_names_of_class_counts_become_labels():
    config = LongTailConfig(class_counts=Counts([5, 3], ["ant", "bee"]))
    assert config.id2label == {0: "ant", 1: "bee"} and config.label2id == {"ant": 0, "bee": 1}


def test_defaults_of_the_image():
    cifar = LongTailConfig()
    assert cifar.image_size == 32 and cifar.image_mean == [0.5071, 0.4865, 0.4409] and cifar.crop_ratio == 1.0
    resnet = LongTailConfig(backbone="resnet18")
    assert resnet.image_size == 224 and resnet.image_mean == [0.5] * 3 and resnet.crop_ratio == 0.875
    published = LongTailConfig(backbone="resnet18", backbone_pretrained=True)
    assert published.image_mean == [0.485, 0.456, 0.406] and published.crop_ratio == 0.95
    grey = LongTailConfig(num_channels=1)
    assert grey.image_mean == [pytest.approx((0.5071 + 0.4865 + 0.4409) / 3)]
    assert LongTailConfig(backbone="resnet18", image_size=384).crop_ratio == 1.0


def test_what_a_method_may_fill_is_unset():
    config = LongTailConfig(num_labels=2)
    fillable = ("head", "head_scale", "modules", "masked_autoencoder", "logit_adjustment", "class_counts", "method")
    assert [getattr(config, name) for name in fillable] == [None] * len(fillable)


def test_shape_of_a_backbone():
    transformer = backbone_shape(LongTailConfig(**TINY_VIT))
    assert (transformer.feature_dim, transformer.token_dim, transformer.num_tokens) == (16, 16, 17)
    assert transformer.num_prefix_tokens == 1
    network = backbone_shape(LongTailConfig(backbone="mobilenetv3_small_050", image_size=64))
    assert (network.feature_dim, network.token_dim, network.num_tokens, network.num_prefix_tokens) == (1024, 288, 4, 0)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"backbone": "resnet32_cifer"}, "resnet32_cifar"),
        ({"backbone": None}, "Unknown backbone"),
        ({"head": "cosin"}, "cosine"),
        ({"head": "linear", "head_scale": 3.0}, "cosine head"),
        ({"head": "cosine", "head_scale": -1.0}, "positive"),
        ({"head": "cosine", "head_init_std": 1.0}, "linear head"),
        ({"num_labels": 3, "class_counts": [1, 2]}, "must agree"),
        ({"class_counts": [1, 2], "id2label": {0: "a", 1: "b", 2: "c"}}, "must agree"),
        ({"class_counts": [1, -2]}, "class 1 has -2"),
        ({"class_counts": [1.5, 2]}, "class 0 has 1.5"),
        ({"class_counts": []}, "empty"),
        ({"group_scheme": "automatic"}, "auto"),
        ({"group_thresholds": (20, 100)}, "many before few"),
        ({"drop_rate": 1.0}, "drop_rate"),
        ({"num_channels": 0}, "num_channels"),
        ({"num_experts": 0}, "num_experts"),
        ({"image_size": [32, 48]}, "square"),
        ({"image_size": "32"}, "positive integer"),
        ({"image_mean": [0.5, 0.5]}, "3 channels"),
        ({"image_std": [0.5, 0.0, 0.5]}, "positive"),
        ({"crop_ratio": 1.5}, "crop_ratio"),
        ({"interpolation": "lanczos"}, "bicubic"),
        ({"backbone_kwargs": {"dephts": 3}}, "dephts"),
        ({"backbone": "vit_tiny_patch4_32", "image_size": 30}, "30 pixels"),
        ({"backbone": "vit_tiny_patch4_32", "global_pool": ""}, "vector"),
        ({"backbone": "vit_tiny_patch4_32", "image_size": 32, "backbone_kwargs": {"img_size": 16}}, "give one"),
        ({"class_counts": [5, 0], "logit_adjustment": {"remove": [5, 0]}}, "class 1"),
        ({"id2label": {0: "ant", 1: "bee"}, "logit_adjustment": {"add": [0.0, 1.0]}}, r"0 \(ant\)"),
        ({"num_labels": 3, "logit_adjustment": {"remove": [5, 1]}}, "2 values for 3 labels"),
        ({"num_labels": 3, "logit_adjustment": {"taus": 1.0}}, "'tau'"),
        ({"num_labels": 3, "masked_autoencoder": {"mask_ration": 0.5}}, "mask_ratio"),
        ({"num_labels": 3, "masked_autoencoder": {"mask_ratio": 1.0}}, "above 0 and below 1"),
        ({"num_labels": 3, "masked_autoencoder": {"decoder_dim": 50}}, "divisible"),
        ({"num_labels": 3, "modules": {"modulator": {}}}, "group_of_class"),
    ],
)
def test_a_wrong_field_is_refused_at_once(fields, message):
    with pytest.raises(ValueError, match=message):
        LongTailConfig(**fields)


def test_an_image_size_that_does_not_fit_is_explained_before_training():
    with pytest.raises(ValueError, match="cannot take images of 33 pixels.*Its own image size is 224"):
        LongTailConfig(backbone="swin_tiny_patch4_window7_224", image_size=33)


def test_fields_assigned_later_are_checked_by_the_model():
    config = LongTailConfig(num_labels=3)
    config.head = "cosinus"
    with pytest.raises(ValueError, match="cosine"):
        LongTailForImageClassification(config)


def test_new_classes_drop_what_the_stored_config_says_about_the_old_ones(tmp_path):
    counts = [200, 50, 5]
    LongTailConfig(
        class_counts=counts,
        id2label={0: "a", 1: "b", 2: "c"},
        logit_adjustment={"remove": counts},
        modules={"modulator": {"top_k": 2}},
    ).save_pretrained(tmp_path)
    other = LongTailConfig.from_pretrained(tmp_path, num_labels=4)
    assert other.num_labels == 4 and other.id2label[3] == "LABEL_3"
    assert other.class_counts is None and other.logit_adjustment is None and other.modules is None
    counted = LongTailConfig.from_pretrained(tmp_path, class_counts=Counts([9, 8], ["x", "y"]))
    assert counted.id2label == {0: "x", 1: "y"} and counted.class_counts == [9, 8]
    same = LongTailConfig.from_pretrained(tmp_path, class_counts=[100, 20, 2], head="cosine")
    assert same.id2label == {0: "a", 1: "b", 2: "c"} and same.class_counts == [100, 20, 2]
    assert same.modules["modulator"]["top_k"] == 2 and same.head == "cosine"
