"""Numbers of numpy, torch, pandas and Arrow, wherever a person would pass one; they are stored as plain ones."""

from __future__ import annotations

import json

import numpy as np
import pandas
import pyarrow
import pytest
import torch

from hf_ltr import LongTailConfig, LongTailTrainingArguments, get_method, load_long_tailed
from hf_ltr.data import ClassCounts, long_tail_info

COUNTS = {
    "numpy scalars": [np.int64(500), np.int32(50), np.uint8(5)],
    "numpy floats": [np.float32(500), np.float64(50), 5.0],
    "tensors": [torch.tensor(500), torch.tensor(50), torch.tensor(5)],
    "arrays": [np.array(500), np.array(50), np.array(5)],
    "array": np.array([500, 50, 5], dtype=np.uint16),
    "tensor": torch.tensor([500.0, 50, 5]),
    "series": pandas.Series({"ant": 500, "bee": 50, "crab": 5}),
    "sorted value_counts": pandas.Series([1] * 50 + [0] * 500 + [2] * 5).value_counts().sort_index(),
    "values of a dict": {"ant": 500, "bee": 50, "crab": 5}.values(),
    "arrow": list(pyarrow.array([500, 50, 5])),
}


@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS)
def test_counts(counts):
    assert ClassCounts.of(counts).counts == LongTailConfig(class_counts=counts).class_counts == [500, 50, 5]


@pytest.mark.parametrize(
    "counts, message",
    [
        (pandas.Series([1] * 50 + [0] * 3 + [2] * 5).value_counts(), r"index \[1, 2, 0\].*sort_index"),
        ({500, 50, 5}, "must be a list"),
    ],
)
def test_counts_in_the_order_of_something_else(counts, message):
    for read in (ClassCounts.of, lambda counts: LongTailConfig(class_counts=counts)):
        with pytest.raises(ValueError, match=message):
            read(counts)


@pytest.mark.parametrize(
    "fields",
    [
        {"drop_rate": np.float32(0.5)},
        {"drop_path_rate": torch.tensor(0.5)},
        {"num_labels": torch.tensor(3)},
        {"num_labels": np.int64(3), "id2label": {np.int64(0): "a", np.int64(1): "b", np.int64(2): "c"}},
        {"head": "cosine", "head_scale": np.array(16.0)},
        {"head_init_std": np.float16(0.5)},
        {"image_size": np.int64(32)},
        {"image_size": [32, 32]},
        {"image_size": (32, 32)},
        {"image_size": np.array([32, 32])},
        {"image_mean": np.array([0.5, 0.5, 0.25]), "image_std": np.float32(0.5)},
        {"crop_ratio": np.float32(0.5)},
        {"group_thresholds": np.array([50, 10])},
        {"logit_adjustment": {"tau": np.float32(1), "remove": np.array([1, 2, 3]), "add": None}},
        {"backbone_pretrained": np.False_, "num_experts": np.int64(1)},
        {"backbone": "convnext_atto", "backbone_kwargs": {"depths": np.array([1, 1, 1, 1]), "conv_mlp": np.True_}},
        {
            "backbone": "vit_pico_patch4_16",
            "modules": {"modulator": {"width": np.int64(32)}},
            "class_counts": np.array([9, 5, 1]),
        },
    ],
)
def test_fields_of_a_config(fields):
    config = LongTailConfig(**{"num_labels": None if "class_counts" in fields else 3, **fields})
    stored = json.loads(config.to_json_string(use_diff=False))
    assert LongTailConfig.from_dict(stored).to_dict() == config.to_dict()


def test_options_of_a_method():
    method = get_method("focal", class_counts=np.array([5, 3]), gamma=np.float32(0.5))
    assert json.loads(json.dumps(method.describe()))["options"]["gamma"] == 0.5


def test_training_arguments(tmp_path):
    args = LongTailTrainingArguments(
        output_dir=str(tmp_path),
        learning_rate=np.float32(0.5),
        num_train_epochs=np.int64(3),
        per_device_train_batch_size=torch.tensor(4),
        lr_milestones=np.array([1, 2]),
        channels_last=np.True_,
        augmentation_options={"translate": np.float32(0.5)},
    )
    stored = json.loads(json.dumps(args.to_dict()))
    assert (stored["learning_rate"], stored["num_train_epochs"], stored["lr_milestones"]) == (0.5, 3, [1, 2])
    assert (stored["channels_last"], stored["augmentation_options"]) == (True, {"translate": 0.5})


def test_options_of_a_dataset():
    record = long_tail_info(load_long_tailed("digits", imbalance_factor=np.int64(10), seed=torch.tensor(3))["train"])
    assert (record["imbalance_factor"], record["seed"]) == (10, 3)
