"""A checkpoint from somebody else is data: its config runs no code, reads no file and takes no memory by its words."""

from __future__ import annotations

import json
import os
import pickle
import tracemalloc

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageClassification

from hf_ltr.models import LongTailConfig, LongTailForImageClassification, LongTailImageProcessor
from hf_ltr.models.backbone_options import BACKBONE_OPTIONS

VIT = {"backbone": "vit_pico_patch4_16", "backbone_kwargs": {"depth": 1, "embed_dim": 16, "num_heads": 2}}


def write_checkpoint(folder, **fields):
    """A folder as `save_pretrained` writes it, with other words in its config.json."""
    LongTailForImageClassification(LongTailConfig(num_labels=3)).save_pretrained(folder)
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    return folder


class Payload:
    """Pickled, it makes a folder when it is loaded."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize(
    "name",
    ["checkpoint_path", "cache_dir", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "pretrained_model_args"]
    + ["pretrained_strict", "pretrained_filter_fn", "pretrained_custom_load", "file", "url", "hf_hub_id"],
)
@pytest.mark.parametrize("model_class", [LongTailForImageClassification, AutoModelForImageClassification])
def test_a_config_names_no_file(tmp_path, name, model_class):
    ran = tmp_path / "ran"
    with open(tmp_path / "payload.pth", "wb") as stream:
        pickle.dump(Payload(ran), stream)
    value = str(tmp_path / "payload.pth")
    value = {"file": value} if name.endswith(("cfg", "overlay")) else value
    folder = write_checkpoint(tmp_path / "model", backbone_kwargs={name: value}, backbone_pretrained=True)
    with pytest.raises(ValueError, match=f"{name}' ?.*(reads no files|Unknown argument|BACKBONE_OPTIONS)|{name}"):
        model_class.from_pretrained(folder)
    with pytest.raises(ValueError, match=name):
        AutoConfig.from_pretrained(folder)
    config = LongTailConfig(num_labels=3)
    config.backbone_kwargs = {name: value}
    with pytest.raises(ValueError, match=name):
        LongTailForImageClassification(config)
    assert not ran.exists()


def test_no_allowed_argument_of_timm_names_weights():
    for name in BACKBONE_OPTIONS - {"pretrained_window_sizes"}:
        assert not any(part in name for part in ("pretrain", "checkpoint", "cache", "file", "url", "hub", "cfg"))
    assert not BACKBONE_OPTIONS & {"features_only", "num_classes", "scriptable", "exportable", "no_jit", "device"}


@pytest.mark.parametrize(
    "backbone",
    ["hf-hub:timm/resnet18.a1_in1k", "hf_hub:timm/resnet18", "local-dir:/tmp", "timm/resnet18", "../resnet18"]
    + ["resnet18.hf-hub:x/y", "resnet18./etc/passwd", "resnet18.a b", "resnet18\n", "https://x.y/resnet18", ""]
    + [None, 5, ["resnet18"]],
)
def test_a_backbone_is_a_name_of_an_architecture(tmp_path, backbone):
    with pytest.raises(ValueError, match="Unknown backbone"):
        LongTailConfig(backbone=backbone, num_labels=3)
    folder = write_checkpoint(tmp_path, backbone=backbone)
    with pytest.raises(ValueError, match="Unknown backbone"):
        AutoConfig.from_pretrained(folder)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"features_only": True}, "features_only"),
        ({"block_args": {"x": 1}}, "block_args"),
        ({"act_layer": {"file": "x"}}, "plain value"),
        ({"act_layer": "torch.load"}, "name of a layer"),
        ({"act_layer": "/etc/passwd"}, "name of a layer"),
        ({"depth": float("nan")}, "at most"),
        ({"depth": [[[[1]]]]}, "plain value"),
        ([1, 2], "key: value"),
        ("depth", "key: value"),
        ({1: 2}, "must be text"),
        ({"num_heads": 0}, "timm cannot create"),
        ({"num_heads": "2"}, "timm cannot create"),
        ({"depth": -1.5}, "timm cannot create"),
        ({"embed_dim": 1.5}, "timm cannot create"),
    ],
)
def test_backbone_arguments_are_plain(options, message):
    if isinstance(options, dict) and 1 not in options:
        options = {**VIT["backbone_kwargs"], **options}
    with pytest.raises(ValueError, match=message):
        LongTailConfig(backbone=VIT["backbone"], num_labels=3, backbone_kwargs=options)


@pytest.mark.parametrize(
    "fields",
    [
        {"num_labels": 10**9},
        {"num_labels": 10**7},
        {"num_labels": 10**400},
        {"num_experts": 10**9},
        {"num_channels": 10**9},
        {"image_size": 10**9},
        {**VIT, "image_size": 10**6},
        {
            **VIT,
            "image_size": 4096,
            "backbone_kwargs": {"embed_dim": 64, "num_heads": 2, "patch_size": 1, "depth": 1},
        },
        {"backbone": "vit_tiny_patch4_32", "backbone_kwargs": {"depth": 10**6}},
        {"backbone": "vit_tiny_patch4_32", "backbone_kwargs": {"embed_dim": 10**6, "num_heads": 10**6}},
        {"backbone": "vit_tiny_patch4_32", "backbone_kwargs": {"embed_dim": 65536, "num_heads": 2}},
        {"backbone": "vit_tiny_patch4_32", "backbone_kwargs": {"mlp_ratio": 60000.0, "embed_dim": 9600}},
        {"backbone": "vit_tiny_patch4_32", "backbone_kwargs": {"patch_size": 10**7}},
        {"backbone": "vit_tiny_patch4_32", "backbone_kwargs": {"reg_tokens": 10**9}},
        {"backbone": "resnet18", "backbone_kwargs": {"layers": [10**6, 1, 1, 1]}},
        {"backbone": "resnet18", "backbone_kwargs": {"layers": [1] * 300}},
        {"backbone": "resnet18", "backbone_kwargs": {"channels": [60000, 60000, 60000, 60000]}},
        {"backbone": "convnext_tiny", "backbone_kwargs": {"dims": [10**9, 1, 1, 1]}},
        {"class_counts": [500, 50, 5], "modules": {"modulator": {"width": 10**9}}},
        {"class_counts": [500, 50, 5], "modules": {"modulator": {"width": 65536, "depth": 200}}},
        {"class_counts": [500, 50, 5], "modules": {"modulator": {"depth": 10**9}}},
        {"class_counts": [500, 50, 5], "modules": {"modulator": {"fusion_width": 10**12}}},
        {"class_counts": [500, 50, 5], "modules": {"modulator": {"group_of_class": [0, 1, 2**60]}}},
        {"num_labels": 3, "masked_autoencoder": {"decoder_dim": 10**9}},
        {"num_labels": 3, "masked_autoencoder": {"decoder_depth": 10**9}},
        {"num_labels": 3, "masked_autoencoder": {"decoder_dim": 65536, "decoder_depth": 200}},
        {**VIT, "num_labels": 3, "masked_autoencoder": {"decoder_dim": 65536, "decoder_depth": 0}, "image_size": 4096},
    ],
)
def test_sizes_are_compared_before_memory_is_taken(tmp_path, fields):
    folder = write_checkpoint(tmp_path)
    path = folder / "config.json"
    stored = {key: value for key, value in json.loads(path.read_text()).items() if key not in ("id2label", "label2id")}
    if not fields.keys().isdisjoint(("backbone", "image_size")):
        stored = {key: value for key, value in stored.items() if key not in ("image_size", "crop_ratio")}
    path.write_text(json.dumps({**stored, "num_labels": 3, **fields}))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="num_|image|at most|positive|parameters|blocks|decoder|no class"):
            LongTailForImageClassification.from_pretrained(folder)
        assert tracemalloc.get_traced_memory()[1] < 100e6  # gigabytes before
    finally:
        tracemalloc.stop()
    with pytest.raises(ValueError):
        LongTailConfig(**{"num_labels": None if "class_counts" in fields else 3, **fields})


def test_labels_assigned_later_are_limited_too():
    config = LongTailConfig(num_labels=3)
    with pytest.raises(ValueError, match="num_labels"):
        config.num_labels = 10**9
    with pytest.raises(ValueError, match="num_labels"):
        LongTailConfig.from_dict({"model_type": "long_tail"}, num_labels=10**9)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"validate": 1}, "no field 'validate'"),
        ({"to_dict": "x"}, "no field 'to_dict'"),
        ({"__class__": "x"}, "no field '__class__'"),
        ({"sub_configs": {}, "attribute_map": {"num_labels": "x"}}, "no field '(sub_configs|attribute_map)'"),
        ({"quantization_config": {"quant_method": "hqq"}}, "quantization_config is not supported"),
        ({"attn_implementation": "somebody/kernel"}, "Unknown attn_implementation"),
        ({"_attn_implementation": "somebody/kernel"}, "Unknown _attn_implementation"),
        ({"_attn_implementation_internal": "somebody/kernel"}, "Unknown _attn_implementation_internal"),
        ({"experts_implementation": "somebody/kernel"}, "Unknown experts_implementation"),
        ({"crop_ratio": 1e-9}, "crop_ratio"),
        ({"image_std": [1e-300] * 3}, "image_std"),
        ({"image_mean": [1e308] * 3}, "image_mean"),
        ({"logit_adjustment": {"tau": 1e308}}, "tau"),
        ({"backbone": "hf-hub:somebody/else"}, "Unknown backbone"),
        ({"backbone": "timm/resnet18.a1_in1k"}, "Write 'resnet18.a1_in1k', and backbone_pretrained=True"),
        ({"id2label": {"0": "a", "1": "b", "2": "c"}, "label2id": {"a": 1}}, "'a' is class 1, but .* class 0"),
        ({"dtype": "float99"}, "Unknown dtype"),
        ({"dtype": "load"}, "Unknown dtype"),
        ({"dtype": 7}, "Unknown dtype"),
        ({"problem_type": "x"}, "Unknown problem_type"),
        ({"method": "mem"}, "key: value"),
        ({"initial_weights": "x"}, "initial_weights"),
        ({"initial_weights": {"name": "x", "license": None, "auto_map": 1}}, "initial_weights"),
        ({"masked_autoencoder": {"checkpoint_path": "x"}}, "checkpoint_path"),
        ({"modules": {"modulator": {"checkpoint_path": "x"}}}, "checkpoint_path"),
        ({"head_options": {"file": "x"}}, "file"),
    ],
)
def test_other_fields_of_a_config(tmp_path, fields, message):
    folder = write_checkpoint(tmp_path, **fields)
    with pytest.raises(ValueError, match=message):
        LongTailForImageClassification.from_pretrained(folder)


@pytest.mark.parametrize("content", ["[1]", "null", "[" * 100_000, '{"num_channels": ' + "9" * 5000 + "}"])
def test_a_config_that_is_no_object(tmp_path, content):
    folder = write_checkpoint(tmp_path)
    (folder / "config.json").write_text(content)
    with pytest.raises(ValueError, match="config.json of .* cannot be read"):
        LongTailForImageClassification.from_pretrained(folder)


@pytest.mark.parametrize("given", [None, {}, {"LABEL_0": 0, "LABEL_1": 1}, {"a": 0}, {"a": "0", "b": "1"}])
def test_label2id_follows_id2label(given):
    config = LongTailConfig(id2label={0: "a", 1: "b"}, label2id=given)
    assert config.label2id == {"a": 0, "b": 1}


@pytest.mark.parametrize(
    "options, message",
    [
        ({"size": {"shortest_edge": 10**6}}, "size.'shortest_edge'.* at most 40,960"),
        ({"size": {"height": 10**6, "width": 10**6}}, "size.'height'.* at most 4,096"),
        ({"size": {"shortest_edge": 0}}, "size.'shortest_edge'"),
        ({"crop_size": {"height": 10**6, "width": 10**6}}, "crop_size.'height'"),
        ({"crop_size": {"height": 0, "width": 0}}, "crop_size.'height'"),
        ({"pad_size": {"height": 10**6, "width": 10**6}}, "pad_size.'height'"),
        ({"image_mean": [float("nan")] * 3}, "image_mean"),
        ({"image_std": [0.0, 0.0, 0.0]}, "image_std"),
        ({"image_std": [0.5] * 4}, "image_std has 4 values but images have 3"),
        ({"rescale_factor": 0.0}, "rescale_factor"),
        ({"resample": 99}, "resample"),
        ({"num_channels": 10**9}, "num_channels"),
    ],
)
def test_options_of_an_image_processor(tmp_path, options, message):
    processor = LongTailImageProcessor.from_config(LongTailConfig(num_labels=3))
    processor.save_pretrained(tmp_path)
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | options))
    for make in (LongTailImageProcessor.from_pretrained, AutoImageProcessor.from_pretrained):
        with pytest.raises(ValueError, match=message):
            make(tmp_path)
    with pytest.raises(ValueError, match=message):
        processor(np.zeros((8, 8, 3), dtype=np.uint8), **options)


def test_code_beside_a_checkpoint_does_not_run(tmp_path):
    auto_map = {"AutoModelForImageClassification": "evil.Model", "AutoConfig": "evil.Config"}
    folder = write_checkpoint(tmp_path / "model", auto_map=auto_map)
    (folder / "evil.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'ran')!r})\nclass Model: pass\n")
    assert isinstance(AutoModelForImageClassification.from_pretrained(folder), LongTailForImageClassification)
    assert not (tmp_path / "ran").exists()


def test_pickled_weights_run_nothing(tmp_path):
    folder = write_checkpoint(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    torch.save({"classifier.weight": Payload(tmp_path / "ran")}, folder / "pytorch_model.bin")
    with pytest.raises(pickle.UnpicklingError, match="weights_only|Weights only"):
        LongTailForImageClassification.from_pretrained(folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"\0" * 1000, 600])
def test_weights_that_are_none(tmp_path, content):
    folder = write_checkpoint(tmp_path)
    weights = folder / "model.safetensors"
    weights.write_bytes(content if isinstance(content, bytes) else weights.read_bytes()[:content])
    with pytest.raises(ValueError, match="weights of .* cannot be read"):
        LongTailForImageClassification.from_pretrained(folder)


def test_weights_of_another_backbone(tmp_path):
    folder = write_checkpoint(tmp_path, num_channels=1, image_mean=[0.5], image_std=[0.5])
    with pytest.raises(ValueError, match="weights of .* have other shapes"):
        LongTailForImageClassification.from_pretrained(folder)


def test_what_was_saved_before_still_loads(tmp_path):
    config = LongTailConfig(backbone="resnet18", backbone_kwargs={"layers": [1, 1, 1, 1]}, class_counts=[3, 2])
    config.save_pretrained(tmp_path)
    model = LongTailForImageClassification(AutoConfig.from_pretrained(tmp_path))
    save_file(model.state_dict(), tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert LongTailForImageClassification.from_pretrained(tmp_path).config.backbone_kwargs == {"layers": [1, 1, 1, 1]}
