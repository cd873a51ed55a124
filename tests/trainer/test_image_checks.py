"""Damaged images of every split end a run before its first step, and nothing is written."""

import os

import numpy as np
import PIL.Image
import pytest
from datasets import ClassLabel, Dataset, Features, Image

from hf_ltr import (
    LongTailConfig,
    LongTailForImageClassification,
    LongTailTrainer,
    LongTailTrainingArguments,
    class_counts,
    get_method,
)
from hf_ltr.trainer import run_stages
from tests.data.pictures import encoded

SIDE = 100  # more than what is kept resident


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("HF_LTR_CACHE", str(tmp_path_factory.mktemp("cache")))


def images(folder, number=8, suffix="jpg", side=SIDE):
    folder.mkdir()
    paths = []
    for row in range(number):
        picture = PIL.Image.fromarray(np.random.default_rng(row).integers(0, 256, (side, side, 3), dtype=np.uint8))
        paths.append(folder / f"{row}.{suffix}")
        paths[-1].write_bytes(encoded(picture, "JPEG" if suffix == "jpg" else "PNG"))
    features = Features({"image": Image(), "label": ClassLabel(names=["a", "b"])})
    rows = {"image": [str(path) for path in paths], "label": [row % 2 for row in range(number)]}
    return Dataset.from_dict(rows, features=features), paths


@pytest.fixture
def splits(tmp_path):
    found = {name: images(tmp_path / name) for name in ("train", "validation", "test")}
    return {name: data for name, (data, _) in found.items()}, {name: paths for name, (_, paths) in found.items()}


ARGUMENTS = {
    "max_steps": 1,
    "per_device_train_batch_size": 4,
    "use_cpu": True,
    "report_to": [],
    "disable_tqdm": True,
    "mixed_precision_mode": "no",
    "warmup_epochs": 0,
    "dataloader_num_workers": 0,
}


def config(data):
    return LongTailConfig(
        backbone="vit_pico_patch4_16",
        backbone_kwargs={"depth": 1, "embed_dim": 16, "num_heads": 2},
        image_size=16,
        class_counts=class_counts(data["train"]),
    )


def run(data, folder, log, **arguments):
    method = get_method("cross_entropy", class_counts=class_counts(data["train"]))
    return run_stages(
        method.stages(),
        config=config(data),
        arguments=ARGUMENTS | arguments,
        train_dataset=data["train"],
        validation_dataset=data["validation"],
        test_dataset=data["test"],
        output_dir=folder,
        log=log,
    )


@pytest.mark.parametrize("split", ["train", "validation", "test"])
@pytest.mark.parametrize("content", [b"", b"<html>404"])
def test_stages_check_all_splits_first(splits, tmp_path, split, content):
    data, paths = splits
    paths[split][5].write_bytes(content)
    with pytest.raises(ValueError, match=rf"{split}, class 'b', row 5 \(.*{split}/5\.jpg\): UnidentifiedImageError"):
        run(data, tmp_path / "out", print)
    assert not (tmp_path / "out").exists()


def test_what_training_relies_on_is_said_once(splits, tmp_path):
    data, _ = splits
    told = []
    run(data, tmp_path / "out", told.append)
    said = [text for text in told if text.startswith("Images checked")]
    assert said == [
        "Images checked: headers only, 24 images (train 8, validation 8, test 8); `hf-ltr check <dataset> --full` "
        "reads them whole"
    ]
    told.clear()
    run(data, tmp_path / "out", told.append)
    assert not [text for text in told if text.startswith("Images")]


def test_a_full_check_before_is_believed(splits, tmp_path):
    from hf_ltr.data.loading.image_check import check_images

    data, _ = splits
    check_images(data, full=True, progress=False).remember()
    told = []
    run(data, tmp_path / "out", told.append)
    assert told[0] == (
        "Images checked: 24 images (train 8, validation 8, test 8) were read whole by `hf-ltr check --full`"
    )


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_cut_in_two_is_named_when_it_is_reached(splits, tmp_path, workers):
    data, paths = splits
    half = paths["train"][2].read_bytes()
    paths["train"][2].write_bytes(half[: len(half) // 2])
    with pytest.raises(ValueError, match=r"cannot read an image:\n  row 2 \(.*/2\.jpg\): OSError.*\nRepair") as caught:
        run(data, tmp_path / "out", print, dataloader_num_workers=workers, max_steps=4)
    assert "Traceback" not in str(caught.value)


def trainer(data, folder, **options):
    model = LongTailForImageClassification(config(data))
    args = LongTailTrainingArguments(output_dir=str(folder), **(ARGUMENTS | options))
    return LongTailTrainer(model, args, train_dataset=data["train"], eval_dataset=data["validation"])


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_trainer_of_its_own_checks_too(splits, tmp_path, split):
    data, paths = splits
    built = trainer(data, tmp_path / "out")
    paths[split][7].write_bytes(b"")
    what = "training set" if split == "train" else "evaluation set"
    with pytest.raises(ValueError, match=rf"{what}, class 'b', row 7|row 7 \(.*7\.jpg\)"):
        built.train()
    assert not os.path.exists(tmp_path / "out" / "run.json")


def test_evaluation_names_all_before_it_begins(splits, tmp_path):
    data, paths = splits
    for row in (1, 6):
        paths["test"][row].write_bytes(b"")
    with pytest.raises(ValueError, match=r"2 images:\n.*row 1 .*\n.*row 6 "):
        trainer(data, tmp_path / "out").evaluate(data["test"])


def test_a_long_strip_is_named_by_its_row(splits, tmp_path, monkeypatch):
    data, paths = splits
    paths["test"][4].write_bytes(encoded(PIL.Image.new("RGB", (8000, 1)), "PNG"))
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 1_000_000)
    for loading in ("workers", "resident"):
        with pytest.raises(
            ValueError, match=r"row 4 \(.*4\.jpg\): ValueError: an image of 8000 x 1 pixels is too long"
        ):
            trainer(data, tmp_path / loading, image_loading=loading).evaluate(data["test"])
