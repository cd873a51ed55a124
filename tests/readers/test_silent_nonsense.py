"""What was once taken without a word, or ended in somebody else's traceback: each kind with its sentence."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from datasets import Dataset

from hf_ltr import LongTailConfig, LongTailTrainingArguments, class_counts, get_method, load_long_tailed
from hf_ltr.data import ClassCounts
from hf_ltr.data.labels import read_labels
from hf_ltr.data.loading.batch_loader import BatchLoader
from hf_ltr.data.sources.columns import class_names
from hf_ltr.data.sources.lists.coco_lists import read_annotations
from hf_ltr.data.sources.lists.split_lists import parse_list
from hf_ltr.losses import FocalLoss, LDAMLoss, LogitAdjustedLoss
from hf_ltr.reading import read_json
from hf_ltr.recipe import DataOptions, ModelOptions, parse_options
from hf_ltr.table.protocol import load_protocol

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    "option, value",
    [("imbalance_factor", value) for value in (NAN, INF, 0, 0.5, True, "50")]
    + [("validation_per_class", value) for value in (1.5, True, "2", None)]
    + [("seed", value) for value in ("x", 1.5, True, None)],
)
def test_numbers_of_a_dataset(option, value):
    with pytest.raises(ValueError, match=f"{option}.* must be a (finite|whole) number"):
        load_long_tailed("digits", **{option: value})


class Items:
    """A map-style dataset of ready images."""

    def __init__(self, labels, shape=(3, 8, 8), dtype=torch.float32, value=0.0):
        self.given, self.shape, self.dtype, self.value = labels, shape, dtype, value

    def __len__(self):
        return len(self.given)

    def __getitem__(self, row):
        if not isinstance(self.value, float):
            return {"pixel_values": self.value, "labels": self.given[row]}
        return {"pixel_values": torch.full(self.shape, self.value, dtype=self.dtype), "labels": self.given[row]}


@pytest.mark.parametrize("label", [0.7, torch.tensor(0.7), np.float32(1.5), NAN, INF, -1, "1", None, 10**30])
def test_labels_of_a_map_style_dataset_are_class_indices(label):
    with pytest.raises(ValueError, match="row 2|such as '|holds values such as"):
        read_labels(Items([0, 1, label, 1]), ("labels",), 3, required=True)


def test_whole_labels_of_any_type_are_taken():
    labels = [0, 1.0, torch.tensor(2), np.int8(1), torch.tensor([1])]
    assert read_labels(Items(labels), ("labels",), 3, required=True).tolist() == [0, 1, 2, 1, 1]


@pytest.mark.parametrize("dtype, filler", [("uint8", 255), ("int64", 255), ("uint16", 65535), ("int8", 127)])
def test_the_filler_of_a_type_is_no_class(dtype, filler):
    labels = np.array([0, 1, 2, filler, 1], dtype=dtype)
    for data in ({"label": labels}, Dataset.from_dict({"label": labels})):
        with pytest.raises(ValueError, match=f"Row 3.* has label {filler}, the usual mark for 'no label'"):
            class_counts(data)
    with pytest.raises(ValueError, match=f"Row 3 of train.*{filler}"):
        class_names({"train": Dataset.from_dict({"label": labels})}, "label")


def test_classes_up_to_a_filler_are_classes_where_all_are_there():
    assert len(class_counts({"label": np.arange(256, dtype=np.uint8)})) == 256
    splits = {"train": Dataset.from_dict({"label": [0, 255]}), "test": Dataset.from_dict({"label": [254]})}
    with pytest.warns(UserWarning, match="No image has label"):
        assert len(class_names(splits, "label")) == 256


@pytest.mark.parametrize(
    "counts, message",
    [
        ([5, True], "integers.*class 1 has True"),
        ([5, "3"], "integers.*class 1 has '3'"),
        ([5, NAN], "class 1 has nan"),
        ([5, INF], "class 1 has inf"),
        ([5, 10**30], "more than any dataset"),
        ([5, 1e300], "more than any dataset"),
        ([5, -1], "must not be negative, but class 1"),
        ([5, 2.5], "not shares"),
        ([[5, 3]], "non-empty list"),
        ([5, None], "class 1 has None"),
        (np.array([5, 3], dtype=bool), "integers"),
        ({5, 3}, "class_counts must be a list"),
    ],
)
def test_counts_are_numbers_of_images(counts, message):
    with pytest.raises(ValueError, match=message):
        ClassCounts(counts)
    with pytest.raises(ValueError, match="class"):
        LongTailConfig(class_counts=counts)


@pytest.mark.parametrize(
    "names, message",
    [
        ("null", "class names must be a list of text, got 'null'"),
        (["a", "b", "a", "c"], "Classes 0 and 2 have the same name, 'a'"),
        (["a", "b", None, "c"], r"class names\[2\] must be text"),
        ([1, 2, 3, 4], r"class names\[0\] must be text"),
        ({"a": 1}, "list of text"),
        ({"a", "b", "c", "d"}, "list of text"),
        (["a"], "1 class names were given for 4"),
    ],
)
def test_class_names_are_a_list_of_different_names(names, message):
    with pytest.raises(ValueError, match=message):
        ClassCounts([4, 3, 2, 1], names)


@pytest.mark.parametrize("thresholds", [(20, 100), "ab", (NAN, 1), (True, False), (5,), None, (5, -1), 7])
def test_thresholds_are_two_numbers(thresholds):
    with pytest.raises(ValueError, match="threshold"):
        ClassCounts([4, 3], thresholds=thresholds)


@pytest.mark.parametrize("value", [NAN, INF, -INF, "0.5", True, None, [1.0], 10**400])
def test_rates_and_scales_are_finite_numbers(value):
    for name, option in (("focal", "gamma"), ("ldam", "scale"), ("class_balanced", "beta"), ("mislas", "lr_factor")):
        with pytest.raises(ValueError, match=f"{option}.* must be a finite number"):
            get_method(name, class_counts=[5, 3, 2], **{option: value})
    for build in (FocalLoss, lambda v: LDAMLoss([5, 3], scale=v), lambda v: LogitAdjustedLoss([5, 3], tau=v)):
        with pytest.raises(ValueError, match="must be a finite number"):
            build(value)


@pytest.mark.parametrize("value", [1, 0, "false", None, 1.0])
def test_switches_are_true_or_false(value):
    for name, option in (("tau_norm", "keep_bias"), ("crt", "reinitialize"), ("focal", "detach_modulator")):
        with pytest.raises(ValueError, match=f"{option} must be true or false"):
            get_method(name, class_counts=[5, 3, 2], **{option: value})


@pytest.mark.parametrize(
    "name", [None, 5, ["focal"], {}, {"name": "focal", "option": {}}, {"name": ["focal"]}, "Focal"]
)
def test_a_method_is_a_name_or_a_description(name):
    with pytest.raises(ValueError, match="method"):
        get_method(name, class_counts=[5, 3])


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"num_labels": 0}, "num_labels must be a positive integer"),
        ({"num_labels": -3}, "num_labels must be a positive integer"),
        ({"num_labels": True}, "num_labels must be a positive integer"),
        ({"num_labels": "3"}, "num_labels must be a positive integer"),
        ({"id2label": ["ant", "bee"]}, "id2label must be a dict of class index to name.*dict\\(enumerate"),
        ({"id2label": {}}, "names 0 classes"),
        ({"id2label": {0: "ant", 2: "bee"}}, "keys 0 to 1"),
        ({"id2label": {0: "ant", "0": "bee"}}, "keys 0 to 1"),
        ({"id2label": {0: "ant", 1: None}}, r"id2label\[1\] must be text"),
        ({"masked_autoencoder": {"decoder_heads": 0}}, "decoder_heads must be a whole number"),
        ({"class_counts": [9, 5, 1], "modules": {"modulator": {"heads": 0}}}, "heads must be a positive integer"),
        ({"backbone": "vit_tiny_patch4_32", "backbone_kwargs": {"num_heads": 0}}, "timm cannot create backbone"),
        ({"dtype": "float99"}, "Unknown dtype: 'float99'"),
        ({"drop_rate": NAN}, "drop_rate must be a finite number"),
        ({"drop_path_rate": "0.1"}, "drop_path_rate must be a finite number"),
        ({"image_mean": [NAN] * 3}, "image_mean must be a finite number"),
        ({"image_std": INF}, "image_std must be a finite number"),
        ({"crop_ratio": NAN}, "crop_ratio must be a finite number"),
        ({"head_scale": NAN, "head": "cosine"}, "head_scale.*finite number"),
        ({"head_init_std": INF}, "head_init_std must be a finite number"),
        ({"group_thresholds": (NAN, NAN)}, "group_thresholds must be a finite number"),
        ({"group_thresholds": 5}, "group_thresholds must be a list"),
        ({"backbone_pretrained": "no"}, "backbone_pretrained must be true or false"),
        ({"num_labels": 2, "logit_adjustment": {"tau": NAN}}, "tau.*finite number"),
        ({"num_labels": 2, "logit_adjustment": {"remove": [1, NAN]}}, "positive for every class"),
        ({"num_labels": 2, "logit_adjustment": {"remove": [1, "2"]}}, "positive for every class"),
        ({"logit_adjustment": [1]}, "key: value"),
    ],
)
def test_fields_of_a_config(fields, message):
    with pytest.raises(ValueError, match=message):
        LongTailConfig(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        *({"learning_rate": value} for value in (-0.1, NAN, INF, "0.1", True, None)),
        *({"weight_decay": value} for value in (-1e-4, NAN, "x")),
        *({"base_learning_rate": value} for value in (0, -1.0, NAN, "x")),
        *({"momentum": value} for value in (1.0, -0.1, NAN)),
        *({"adam_beta1": value} for value in (1.0, -0.1)),
        {"adam_beta2": 1.5},
        *({"per_device_train_batch_size": value} for value in (0, -8, 2.5, True, "8")),
        {"per_device_eval_batch_size": 0},
        {"gradient_accumulation_steps": 0},
        {"num_train_epochs": -1},
        {"num_train_epochs": NAN},
        {"max_steps": -2},
        {"warmup_epochs": -1},
        {"warmup_epochs": INF},
        {"warmup_steps": -5},
        {"label_smoothing": 1.1},
        {"label_smoothing": 1.0},
        {"lr_milestones": [-1.0]},
        {"lr_milestones": [NAN]},
        {"lr_milestones": "160"},
        {"lr_milestones": 160},
        {"lr_milestone_factor": -0.1},
        {"min_learning_rate": NAN},
        {"mixup_alpha": NAN},
        {"mix_probability": 1.5},
        {"layer_decay": NAN},
        {"sampler": ["instance"]},
        {"image_loading": "ram"},
        {"augmentation": "crop"},
        {"augmentation": [None]},
        {"cpu_threads": 0},
        {"channels_last": "no"},
        {"nesterov": 1},
        {"seed": -1},
    ],
    ids=str,
)
def test_training_arguments_are_refused_at_construction(tmp_path, fields):
    with pytest.raises(ValueError, match=next(iter(fields)).replace("_", ".")):
        LongTailTrainingArguments(output_dir=str(tmp_path), **fields)


def test_milestones_behind_the_end_are_said(tmp_path):
    with pytest.warns(UserWarning, match=r"lr_milestones \[160\] lie behind the end of 100 epochs"):
        LongTailTrainingArguments(output_dir=str(tmp_path), num_train_epochs=100, lr_milestones=[80, 160])


@pytest.mark.parametrize(
    "argv",
    [["--imbalance_factor", "nan"], ["--imbalance_factor", "inf"], ["--imbalance_factor", "1e999"]]
    + [["--backbone_kwargs", '{"depth": NaN}'], ["--backbone_kwargs", "[" * 5000], ["--subset_seed", "9" * 5000]],
)
def test_numbers_of_options_are_finite(argv):
    with pytest.raises(ValueError, match=f"{argv[0][2:]} must be") as error:
        parse_options(argv, [DataOptions, ModelOptions])
    assert len(str(error.value)) < 500


def test_bytes_that_are_no_text_are_named_with_their_line(tmp_path):
    (tmp_path / "options.yaml").write_bytes(b"dataset: digits\n# caf\xe9\n")
    (tmp_path / "p.yaml").write_bytes(b"name: caf\xe9\n")
    (tmp_path / "a.json").write_bytes(b'[\n"\xff"]')
    with pytest.raises(ValueError, match="options.yaml, line 2: byte 0xe9 is no UTF-8 text"):
        parse_options(["--config", str(tmp_path / "options.yaml")], [DataOptions])
    with pytest.raises(ValueError, match="p.yaml, line 1: byte 0xe9"):
        load_protocol(tmp_path / "p.yaml")
    with pytest.raises(ValueError, match="a.json, line 2: byte 0xff"):
        read_json(tmp_path / "a.json")
    for name in (b"caf\xe9.jpg", b"caf\xe9 x.jpg"):
        with pytest.raises(ValueError, match="l.txt, line 2: byte 0xe9"):
            parse_list(bytearray(b"train/1.jpg 0\ntrain/" + name + b" 1\n"), tmp_path / "l.txt")


@pytest.mark.parametrize("line", ["x/1.jpg 99999999999999999999", "x/1.jpg 1.5", "x/1.jpg nan", "x/1.jpg", "5", " 5"])
def test_lines_of_a_list(tmp_path, line):
    with pytest.raises(ValueError, match="l.txt, line 2: expected"):
        parse_list(bytearray(f"a/1.jpg 0\n{line}\n".encode()), tmp_path / "l.txt")


def test_a_number_in_the_place_of_text_is_not_rewritten(tmp_path):
    path = tmp_path / "options.yaml"
    path.write_text("run_name: 3.10")
    with pytest.raises(ValueError, match="run_name must be a string, got 3.1 .*quotes"):
        parse_options(["--config", str(path)], [LongTailTrainingArguments])
    path.write_text("run_name: '3.10'\nseed: 010")
    assert parse_options(["--config", str(path)], [LongTailTrainingArguments]).values == {
        "run_name": "3.10",
        "seed": 10,
    }


def test_files_that_are_too_large_are_not_read(tmp_path):
    path = tmp_path / "options.yaml"
    with path.open("wb") as stream:
        stream.truncate(100_000_000)
    with pytest.raises(ValueError, match="options.yaml has 100,000,000 bytes, and at most 1,000,000"):
        parse_options(["--config", str(path)], [DataOptions])


@pytest.mark.parametrize(
    "items, message",
    [
        (Items([0, 1], shape=(3, 16, 16)), r"row 0 have the shape \(3, 16, 16\), but the model takes \(3, 8, 8\)"),
        (Items([0, 1], shape=(1, 8, 8)), r"\(1, 8, 8\).*num_channels"),
        (Items([0, 1], shape=(8, 8)), "shape"),
        (Items([0, 1], dtype=torch.uint8), "row 0 are uint8.*floating-point"),
        (Items([0, 1], dtype=torch.bool), "row 0 are bool"),
        (Items([0, 1], value=NAN), "row 0 hold nan or infinity"),
        (Items([0, 1], value=None), r"row 0 are no array of numbers \(a NoneType\)"),
        (Items([0, 1], value="photo.png"), r"row 0 are no array of numbers \(a str\)"),
        (
            {"pixel_values": np.zeros((2, 3, 8, 8)), "labels": [0, 1]},
            "a dict of arrays holds images, uint8 under 'image'",
        ),
        ({"img": np.zeros((2, 8, 8, 3), np.uint8), "labels": [0, 1]}, "no image column 'image'.*'img', 'labels'"),
    ],
)
def test_ready_pixel_values_fit_the_model(items, message):
    image = {"image_size": 8, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    with pytest.raises(ValueError, match=message):
        BatchLoader(items, train=False, device="cpu", num_labels=2, **image)


@pytest.mark.parametrize("content", ["null", "5", "[]", " ", "", '"x"'])
def test_annotations_are_an_object(tmp_path, content):
    """Arrow ends the process over `null`."""
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(ValueError, match="a.json is no annotation file.*it begins with"):
        read_annotations(tmp_path / "a.json")


def test_a_list_of_empty_lines_is_empty(tmp_path):
    with pytest.raises(ValueError, match="l.txt is empty; expected lines"):
        parse_list(bytearray(b"\n\n"), tmp_path / "l.txt")
