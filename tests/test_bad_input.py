"""
Every kind of bad input ends with one clear error, before training time is spent, and nothing that was written is lost.

One test for each item of that promise, through the public names. Details are tested beside the code they belong to.
"""

import hashlib
import importlib.util
import json
import sys
from pathlib import Path

import PIL.Image
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Image
from safetensors.torch import load_file

from hf_ltr import (
    LongTailConfig,
    LongTailForImageClassification,
    LongTailTrainer,
    LongTailTrainingArguments,
    class_counts,
    get_method,
    load_long_tailed,
)
from hf_ltr.methods import Stage
from hf_ltr.trainer import run_stages

from .contracts.builders import (
    CLASSES,
    COUNTS,
    make_arguments,
    make_config,
    make_dataset,
    make_method,
    make_model,
    make_trainer,
)


def contents(folder: Path) -> dict[str, str]:
    """Every file below `folder` with a hash of what it holds."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def nothing_is_written(tmp_path):
    """For mistakes that are found before there is anything to write."""
    yield
    assert contents(tmp_path) == {}


@pytest.fixture
def own_cache(tmp_path_factory, monkeypatch):
    """Datasets that are loaded from folders are not kept in the user's cache."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A short finished run with its checkpoints; tests compare its files before and after."""
    folder = tmp_path_factory.mktemp("finished")
    trainer = make_trainer("cross_entropy", folder, save_strategy="epoch", save_total_limit=None)
    trainer.train()
    trainer.save_model(str(folder))
    return folder


@pytest.fixture
def unchanged(finished):
    before = contents(finished)
    assert "run.json" in before and "model.safetensors" in before
    assert any(name.startswith("checkpoint-") for name in before)
    yield finished
    assert contents(finished) == before


def trainer_for(dataset, folder, method="cross_entropy", model=None, **changes):
    """A trainer on `dataset` whose model is that of the usual four classes."""
    model = make_model(make_method("cross_entropy", COUNTS)) if model is None else model
    return LongTailTrainer(
        model=model, args=make_arguments(folder, **changes), method=method, train_dataset=dataset, eval_dataset=None
    )


def with_labels(labels, names=None):
    """Rows with labels that `datasets` itself would refuse to encode, as files of others may hold them."""
    data = make_dataset([len(labels)]).remove_columns("label").add_column("label", labels)
    if names is not None:
        data.info.features = Features({"image": Image(), "label": ClassLabel(names=names)})
    return data


# ------------------------------------------------------------------ unknown names


def test_unknown_method():
    with pytest.raises(
        ValueError, match=r"Unknown method: 'balanced_sofmax'\. Did you mean 'balanced_softmax'.*ldam_drw"
    ):
        get_method("balanced_sofmax", class_counts=[5, 3])


def test_a_description_of_methods_has_an_end():
    description = {"name": "crt"}
    description["representation"] = description
    with pytest.raises(ValueError, match="more than 10 levels deep"):
        get_method(description, class_counts=[5, 3])


def test_unknown_method_given_to_the_trainer(tmp_path, nothing_is_written):
    with pytest.raises(ValueError, match=r"Unknown method: 'ldam_dwr'\. Did you mean 'ldam_drw'"):
        trainer_for(make_dataset(), tmp_path, method="ldam_dwr")


@pytest.mark.parametrize(
    ("name", "option", "nearest"),
    [("ldam", "max_margn", "max_margin"), ("ldam_drw", "defer_untill", "defer_until"), ("mem", "topk", "top_k")],
)
def test_unknown_option_of_a_method(name, option, nearest):
    with pytest.raises(ValueError, match=rf"Unknown option of {name}: '{option}'\. Did you mean '{nearest}'"):
        get_method(name, class_counts=[5, 3], **{option: 1})


def test_unknown_dataset():
    with pytest.raises(ValueError, match=r"Unknown dataset: 'cifar-100'\. Did you mean 'cifar100'.*digits"):
        load_long_tailed("cifar-100")
    with pytest.raises(ValueError, match=r"Unknown imbalance_type: 'exponentail'\. Did you mean 'exponential'"):
        load_long_tailed("digits", imbalance_factor=50, imbalance_type="exponentail")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampler": "class_balancd"}, r"Unknown sampler: 'class_balancd'\. Did you mean 'class_balanced'"),
        ({"mixed_precision_mode": "fp8"}, r"Unknown mixed_precision_mode: 'fp8'.*bf16"),
        ({"lr_milestones": [180, 160]}, "lr_milestones must ascend"),
        ({"mixup_alpha": -1.0}, "mixup_alpha must not be negative"),
        ({"label_smoothing_factor": 0.1}, "use label_smoothing"),
    ],
)
def test_unknown_training_option(tmp_path, nothing_is_written, changes, message):
    with pytest.raises(ValueError, match=message):
        LongTailTrainingArguments(output_dir=str(tmp_path), **changes)


def test_unknown_backbone_and_head():
    with pytest.raises(ValueError, match=r"Unknown backbone: 'resnet32_cifr'\. Did you mean .*'resnet32_cifar'"):
        LongTailConfig(backbone="resnet32_cifr", num_labels=4)
    with pytest.raises(ValueError, match=r"Unknown head: 'cosin'\. Did you mean 'cosine'"):
        LongTailConfig(num_labels=4, head="cosin")


def recipe(repository: Path, name: str):
    specification = importlib.util.spec_from_file_location(f"bad_input_{name}", repository / "recipes" / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module  # dataclasses look their module up there
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--methd", "ldam"], "Unknown option on the command line: 'methd'. Did you mean 'method'"),
        (["--method", "ldm"], "Unknown method: 'ldm'. Did you mean 'ldam'"),
        (["--method", "ldam", "--method_options", '{"max_margn": 1}'], "Unknown option of ldam: 'max_margn'"),
        (["--dataset", "digit"], "Unknown dataset: 'digit'. Did you mean 'digits'"),
        (["--dataset", "./not_here"], "There is no folder './not_here'"),
        (["--config", "not_here.yaml"], "--config not_here.yaml: no such file"),
        (["--learning_rate", "fast"], "learning_rate must be a number, got 'fast'"),
        (["--backbone", "resnet32_cifr"], "Unknown backbone: 'resnet32_cifr'. Did you mean"),
        (["--method", "mem"], "mem has several stages"),
    ],
)
def test_recipes_end_with_one_line_and_leave_nothing_behind(
    repository, tmp_path, nothing_is_written, capsys, argv, message
):
    from hf_ltr.recipe import fail_clearly

    arguments = ["--output_dir", str(tmp_path / "run"), "--image_size", "8", "--num_channels", "1", *argv]
    with pytest.raises(SystemExit) as stop:
        fail_clearly(recipe(repository, "classifier").main, arguments)
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert stop.value.code == 2
    assert len(errors) == 1 and message in errors[0]


@pytest.mark.parametrize(
    ("name", "argv", "message"),
    [
        ("classifier", ["--learning_rate", "-1"], "learning_rate"),
        ("classifier", ["--num_train_epochs", "0"], "num_train_epochs is 0, but cross_entropy"),
        ("decoupled", ["--classifier.num_train_epochs", "0"], "num_train_epochs is 0, but crt"),
        ("classifier", ["--new_classifier", "True"], "name them with initial_checkpoint"),
        ("classifier", ["--per_device_train_batch_size", "0"], "per_device_train_batch_size"),
        ("classifier", ["--method", "ldam", "--method_options", '{"max_margin": -1}'], "max_margin"),
        ("classifier", ["--backbone", "resnet32_cifr"], "Unknown backbone: 'resnet32_cifr'"),
        ("classifier", ["--method", "ldam", "--head", "linear"], "ldam"),
        ("classifier", ["--group_scheme", "third"], "Unknown grouping: 'third'"),
        ("classifier", ["--start", "/not/here"], "There is no checkpoint folder '/not/here'"),
        ("decoupled", ["--representation_method", "ldm"], "Unknown method: 'ldm'"),
        ("decoupled", ["--classifier.sampler", "instanc"], "Unknown sampler: 'instanc'"),
        ("mem_vit", ["--method_options", '{"topk": 1}'], "Unknown option of mem: 'topk'"),
        ("mem_vit", ["--modulator.learning_rate", "-0.1"], "learning_rate"),
        ("mem_vit", ["--compare", "crx"], "Unknown method to compare with: 'crx'"),
    ],
)
def test_options_of_recipes_are_refused_before_data_are_opened(repository, tmp_path, capsys, name, argv, message):
    from hf_ltr.recipe import fail_clearly

    # Opening a folder without images is an error of its own.
    with pytest.raises(SystemExit) as stop:
        fail_clearly(recipe(repository, name).main, ["--dataset", str(tmp_path), *argv])
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert stop.value.code == 2 and len(errors) == 1 and message in errors[0]


# ------------------------------------------------------------------ data that cannot be used


def test_path_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no folder '.*nowhere'"):
        load_long_tailed(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"data_dir='.*nowhere' does not exist"):
        load_long_tailed("cifar100", data_dir=tmp_path / "nowhere")


def test_no_image_or_label_column_in_a_folder(tmp_path, own_cache):
    data = make_dataset().add_column("photographer", ["x"] * sum(COUNTS))
    data.remove_columns("image").to_parquet(tmp_path / "no_image" / "train.parquet")
    with pytest.raises(
        ValueError,
        match=r"No image column was recognised\. The columns are label \(ClassLabel\), photographer \(string\)\. Name "
        r"the one to use with image_column=",
    ):
        load_long_tailed(tmp_path / "no_image")
    data.remove_columns("label").to_parquet(tmp_path / "no_label" / "train.parquet")
    with pytest.raises(
        ValueError,
        match=r"No label column was recognised\. The columns are image \(Image\), photographer \(string\)\. Name "
        r"the one to use with label_column=",
    ):
        load_long_tailed(tmp_path / "no_label")


@pytest.fixture
def pictures(tmp_path):
    """Write small images under the given paths."""

    def write(*paths: str) -> Path:
        for gray, path in enumerate(paths):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            PIL.Image.new("L", (4, 4), gray).save(tmp_path / path)
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (("HAM_part_1/0.png", "HAM_part_2/1.png"), "so they have no classes"),
        (("train_images/0.png", "test_images/1.png"), "so they have no classes"),
        (("images/0.png", "images/1.png"), "so they have no classes"),
        (("owls/0.png", "owls/1.png"), "has a single class, 'owls'"),
        (("bird/owl/0.png", "fish/eel/0.png"), "more than one folder below"),
        (("train/owl/0.png", "train/eel/0.png", "extra/owl/0.png"), "it is not plain what extra is for"),
        (("train/owl/0.png", "train/eel/0.png", "test/0.png"), "test split of .* has no labels.*splits='train=train'"),
    ],
)
def test_folder_that_has_no_single_reading(pictures, paths, message):
    with pytest.raises(ValueError, match=message):
        load_long_tailed(pictures(*paths))


def test_table_beside_class_folders_that_says_something_else(pictures):
    folder = pictures("owl/0.png", "eel/1.png")
    (folder / "labels.csv").write_text("file,label\n0.png,eel\n1.png,eel\n")
    with pytest.raises(
        ValueError, match="owl/0.png could be of the class 'owl', by its folder, or 'eel', by labels.csv"
    ):
        load_long_tailed(folder)


def test_class_that_lost_its_images(pictures):
    folder = pictures("owl/0.png", "eel/1.png")
    (folder / "cod").mkdir()
    with pytest.raises(ValueError, match="The class 'cod' of .* has no image"):
        load_long_tailed(folder)
    (folder / "cod" / "0.HEIC").write_bytes(b"")
    with pytest.raises(ValueError, match=r"The class 'cod' .* none of an image \(.heic 1\)"):
        load_long_tailed(folder)


def test_test_split_without_labels(tmp_path, own_cache):
    data = make_dataset()
    for split, part in (("train", data), ("test", with_labels([-1] * 5, CLASSES))):
        (tmp_path / "rows").mkdir(exist_ok=True)
        part.to_parquet(tmp_path / "rows" / f"{split}.parquet")
    with pytest.raises(ValueError, match=r"test split of .*rows has no labels: all 5 rows .* splits='train=train'"):
        load_long_tailed(tmp_path / "rows")
    assert set(load_long_tailed(tmp_path / "rows", splits="train=train")) == {"train", "test"}


def test_no_image_or_label_column_given_to_the_trainer(tmp_path):
    with pytest.raises(ValueError, match=r"(?i)no label column 'label'.*image'?, '?kind"):
        trainer_for(make_dataset().rename_column("label", "kind"), tmp_path / "a").train()
    with pytest.raises(ValueError, match=r"(?i)no image column 'image'.*picture'?, '?label"):
        trainer_for(make_dataset().rename_column("image", "picture"), tmp_path / "b").train()
    assert not list(tmp_path.rglob("checkpoint-*"))


def test_labels_outside_the_classes(tmp_path, nothing_is_written):
    with pytest.raises(ValueError, match=r"Row 2 has label 7, but labels must be 0\.\.3 \(1 such rows\)"):
        trainer_for(with_labels([0, 1, 7, 2], CLASSES), tmp_path)
    with pytest.raises(ValueError, match=r"Row 1 has label -1"):
        trainer_for(with_labels([0, -1, 2, 3]), tmp_path)
    # Without names, a label beyond the model's classes.
    with pytest.raises(ValueError, match=r"(8 classes but the model has|row 2 (is|has label) 7)"):
        trainer_for(with_labels([0, 1, 7, 2]), tmp_path)
    with pytest.raises(ValueError, match=r"Row 1 has label 9"):
        class_counts(with_labels([0, 9], CLASSES))


def test_labels_outside_the_classes_in_the_evaluation_set(tmp_path):
    trainer = make_trainer("cross_entropy", tmp_path)
    with pytest.raises(ValueError, match=r"label of row 2 is 7, outside the classes 0\.\.3"):
        trainer.evaluate(with_labels([0, 1, 7, 2]))


@pytest.mark.parametrize("name", ["balanced_softmax", "ldam", "ldam_drw"])
def test_class_without_training_image_where_the_method_needs_one(tmp_path, nothing_is_written, name):
    rows = make_dataset([6, 0, 5, 4])
    with pytest.raises(
        ValueError,
        match=r"needs at least one training image of every class, but 1 of 4 classes have none: 1 \(cross\)",
    ):
        get_method(name, class_counts=class_counts(rows))
    with pytest.raises(ValueError, match=r"1 of 4 classes have none: 1 \(cross\)\. Add images"):
        trainer_for(rows, tmp_path, method=name)


def test_class_without_training_image_where_none_is_needed(tmp_path):
    trainer_for(make_dataset([6, 0, 5, 4]), tmp_path, method="cross_entropy", max_steps=1).train()


def broken_rows(bad=5):
    data = make_dataset().cast_column("image", Image(decode=False))
    images = [row["image"]["bytes"] for row in data]
    images[bad] = b"no image"
    rows = {"image": [{"bytes": image, "path": None} for image in images], "label": data["label"][:]}
    return Dataset.from_dict(rows, features=make_dataset().features)


def test_unreadable_image_is_named_with_its_row(tmp_path):
    with pytest.raises(ValueError, match=r"(?s)row 5"):
        trainer_for(broken_rows(), tmp_path).train()
    assert not list(tmp_path.glob("checkpoint-*"))


def test_run_can_start_in_the_same_folder_when_the_images_are_mended(tmp_path):
    """An error before the first step must not claim the folder for data that was never trained on."""
    with pytest.raises(ValueError, match="row 5"):
        trainer_for(broken_rows(), tmp_path).train()
    mended = broken_rows().select([row for row in range(sum(COUNTS)) if row != 5])
    trainer_for(mended, tmp_path, max_steps=1).train()


def test_image_size_the_backbone_cannot_take(tmp_path, nothing_is_written):
    with pytest.raises(ValueError, match=r"cannot take images of 10 pixels: .*patches of 4 pixels.*8 and 12"):
        LongTailConfig(backbone="vit_pico_patch4_16", num_labels=4, image_size=10)
    with pytest.raises(ValueError, match=r"image_size must be .*, not 0|image_size"):
        LongTailConfig(backbone="resnet32_cifar", num_labels=4, image_size=0)
    config = make_config(COUNTS)
    config.image_size = 9
    with pytest.raises(ValueError, match=r"cannot take images of 9 pixels"):
        LongTailForImageClassification(config)


# ------------------------------------------------------------------ folders and checkpoints of others


def test_output_folder_that_holds_another_run(unchanged):
    for changes, difference in (
        ({"learning_rate": 0.01}, r"arguments\.learning_rate: 0\.05 there, 0\.01 here"),
        ({"seed": 4}, r"arguments\.seed: 3 there, 4 here"),
    ):
        with pytest.raises(ValueError, match=rf"{unchanged.name} holds another run \(.*{difference}.*output_dir"):
            make_trainer("cross_entropy", unchanged, save_strategy="epoch", **changes).train(True)
    with pytest.raises(ValueError, match=r"holds another run \(.*data\.class_counts"):
        make_trainer("cross_entropy", unchanged, dataset=make_dataset([16, 10, 7, 5])).train(True)
    with pytest.raises(
        ValueError, match=r"trained by another method .*cross_entropy.* there.*balanced_softmax.* here"
    ):
        make_trainer("balanced_softmax", unchanged).train(True)
    with pytest.raises(
        ValueError, match=r"holds checkpoints of a run.*resume_from_checkpoint=True.*another output_dir"
    ):
        make_trainer("cross_entropy", unchanged, save_strategy="epoch").train()


def test_output_folder_of_another_run_without_checkpoints(tmp_path):
    make_trainer("cross_entropy", tmp_path, max_steps=1).train()
    before = contents(tmp_path)
    assert set(before) == {"run.json"}
    for name, changes in (("cross_entropy", {"seed": 4}), ("balanced_softmax", {})):
        with pytest.raises(ValueError, match=r"holds another run \(.*(arguments\.seed: 3 there, 4 here|method\.name)"):
            make_trainer(name, tmp_path, max_steps=1, **changes).train()
    assert contents(tmp_path) == before


def test_output_folder_with_a_model_of_unknown_origin(tmp_path):
    make_model(make_method("cross_entropy", COUNTS)).save_pretrained(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="already holds a model or checkpoints.*another output_dir"):
        make_trainer("cross_entropy", tmp_path).train()
    assert contents(tmp_path) == before


def test_finished_stage_of_another_run(tmp_path):
    options = {
        "config": make_config(COUNTS),
        "arguments": vars_of(make_arguments(tmp_path, max_steps=1)),
        "train_dataset": make_dataset(),
        "output_dir": tmp_path,
    }
    run_stages([Stage("train", make_method("cross_entropy", COUNTS))], **options)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=r"train holds a finished stage of another run \(.*balanced_softmax.*delete"):
        run_stages([Stage("train", make_method("balanced_softmax", COUNTS))], **options)
    assert contents(tmp_path) == before


def vars_of(arguments) -> dict:
    names = ("max_steps", "per_device_train_batch_size", "learning_rate", "augmentation", "save_strategy", "seed")
    return {name: getattr(arguments, name) for name in names} | {"disable_tqdm": True, "mixed_precision_mode": "no"}


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["circle", "cross", "line"], r"checkpoint of other classes \(4 classes there, 3 here\)"),
        (["circle", "line", "ring", "dot"], r"other classes \(class 1 is 'cross' there and 'line' here\).*: 'ring'"),
    ],
)
def test_stage_that_starts_from_a_checkpoint_of_other_classes(tmp_path, unchanged, classes, message):
    counts = COUNTS[: len(classes)]
    rows = make_dataset(counts)
    rows = rows.cast_column("label", ClassLabel(names=classes))
    method = make_method("cross_entropy", class_counts(rows))
    config = make_config(method.class_counts)
    with pytest.raises(ValueError, match=message):
        run_stages(
            [Stage("train", method, start=str(unchanged))],
            config=config,
            arguments=vars_of(make_arguments(tmp_path)),
            train_dataset=rows,
            output_dir=tmp_path / "run",
        )
    assert not list(tmp_path.rglob("*.safetensors"))


def test_trainer_with_a_checkpoint_of_other_classes(tmp_path, nothing_is_written, unchanged):
    model = LongTailForImageClassification.from_pretrained(unchanged)
    rows = make_dataset([5, 4, 3]).cast_column("label", ClassLabel(names=["ant", "bee", "cat"]))
    with pytest.raises(ValueError, match=r"3 classes.*4|4.*3 classes"):
        LongTailTrainer(model=model, args=make_arguments(tmp_path), method="cross_entropy", train_dataset=rows)


def test_classes_that_the_model_does_not_have(tmp_path, nothing_is_written, unchanged):
    """The same classes in another order are matched by name, see trainer/test_class_order.py."""
    model = LongTailForImageClassification.from_pretrained(unchanged)
    rows = make_dataset().cast_column("label", ClassLabel(names=["circle", "line", "ring", "dot"]))
    message = r"set has other classes than the model .*model does not have.* 'ring', and it lacks .*such as 'cross'"
    with pytest.raises(ValueError, match=f"training {message}"):
        LongTailTrainer(model=model, args=make_arguments(tmp_path), method="cross_entropy", train_dataset=rows)
    with pytest.raises(ValueError, match=f"evaluation {message}"):
        LongTailTrainer(model=model, args=make_arguments(tmp_path), train_dataset=make_dataset(), eval_dataset=rows)
    trainer = LongTailTrainer(model=model, args=make_arguments(tmp_path), train_dataset=make_dataset())
    with pytest.raises(ValueError, match=f"evaluation {message}"):
        trainer.evaluate(rows)


def test_counts_of_another_training_set(tmp_path, nothing_is_written):
    with pytest.raises(
        ValueError, match=r"class 0 \(circle\) has 16 images but the method was told 10.*class_counts\(train_dataset\)"
    ):
        trainer_for(make_dataset(), tmp_path, method=make_method("balanced_softmax", [10, 10, 7, 4]))


def test_mixing_with_an_odd_batch(tmp_path, nothing_is_written):
    with pytest.raises(ValueError, match="per_device_train_batch_size is 7.*use 8"):
        trainer_for(make_dataset(), tmp_path, mixup_alpha=0.2, per_device_train_batch_size=7)
    trainer_for(make_dataset(), tmp_path, mixup_alpha=0.2, mix_probability=0.0, per_device_train_batch_size=7)


@pytest.mark.parametrize("option", ["mixup_alpha", "cutmix_alpha", "label_smoothing"])
def test_mixing_with_a_method_that_needs_hard_labels(tmp_path, nothing_is_written, option):
    with pytest.raises(ValueError, match=r"ldam needs hard labels, but .*Set them to 0"):
        make_trainer("ldam", tmp_path, **{option: 0.2})


def test_model_without_the_parts_of_its_method(tmp_path, nothing_is_written):
    with pytest.raises(ValueError, match=r"ldam needs config\.head='cosine' but the model was built with None"):
        trainer_for(make_dataset(), tmp_path, method="ldam")


def test_resume_with_another_method(tmp_path, unchanged):
    checkpoint = sorted(unchanged.glob("checkpoint-*"))[0]
    trainer = make_trainer("balanced_softmax", tmp_path)
    with pytest.raises(
        ValueError, match=r"was trained by another method \(name: .cross_entropy. there, .balanced_softmax. here\)"
    ):
        trainer.train(resume_from_checkpoint=str(checkpoint))


def test_resume_from_what_is_no_checkpoint(tmp_path):
    make_model(make_method("cross_entropy", COUNTS)).save_pretrained(tmp_path / "elsewhere")
    before = contents(tmp_path)
    for place in ("elsewhere", "nowhere"):
        with pytest.raises((ValueError, FileNotFoundError), match=place):
            make_trainer("cross_entropy", tmp_path / "run").train(resume_from_checkpoint=str(tmp_path / place))
    assert {name: value for name, value in contents(tmp_path).items() if not name.startswith("run/")} == before
    assert not list(tmp_path.rglob("checkpoint-*"))


def spoil(trainer, step, notice=lambda: None):
    """Make the loss NaN from `step` on."""
    original = trainer.method.sample_loss

    def spoilt(outputs, targets):
        if trainer.state.global_step >= step:
            notice()
            return original(outputs, targets) * float("nan")
        return original(outputs, targets)

    trainer.method.sample_loss = spoilt


def test_loss_that_is_no_number_stops_the_run_and_keeps_what_was_saved(tmp_path):
    options = {"save_strategy": "epoch", "save_total_limit": None, "num_train_epochs": 3, "warmup_epochs": 0.0}
    trainer = make_trainer("cross_entropy", tmp_path, **options)
    saved = {}
    spoil(trainer, 7, notice=lambda: saved.setdefault("files", contents(tmp_path)))
    with pytest.raises(FloatingPointError, match=r"training loss is nan at step 8\. Checkpoints .*learning_rate"):
        trainer.train()
    # One epoch of 37 rows in batches of 8 is 5 steps.
    assert {Path(name).parts[0] for name in saved["files"]} >= {"checkpoint-5", "run.json"}
    assert contents(tmp_path) == saved["files"]
    state = json.loads((tmp_path / "checkpoint-5" / "trainer_state.json").read_text())
    assert state["global_step"] == 5
    # With the cause mended, the run goes on from there.
    again = make_trainer("cross_entropy", tmp_path, **options)
    again.train(resume_from_checkpoint=True)
    assert again.state.global_step == 15
    assert all(torch.isfinite(parameter).all() for parameter in again.model.parameters())


def test_spoilt_weights_never_take_the_place_of_the_last_good_checkpoint(tmp_path):
    """Saved more often than logged, and only the newest is kept: the check comes before the saving."""
    trainer = make_trainer(
        "cross_entropy",
        tmp_path,
        num_train_epochs=3,
        save_strategy="steps",
        save_steps=2,
        save_total_limit=1,
        logging_strategy="epoch",
    )
    spoil(trainer, 7)
    with pytest.raises(FloatingPointError, match="training loss is nan at step 8"):
        trainer.train()
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-6"]
    weights = load_file(tmp_path / "checkpoint-6" / "model.safetensors")
    assert all(torch.isfinite(weight).all() for weight in weights.values())


def test_loss_that_is_no_number_is_noticed_without_any_log(tmp_path):
    trainer = make_trainer("cross_entropy", tmp_path, logging_strategy="no")
    spoil(trainer, 3)
    with pytest.raises(FloatingPointError, match="training loss is nan"):
        trainer.train()


def test_a_method_that_needs_whole_parameters_is_refused_under_sharding():
    from types import SimpleNamespace

    from hf_ltr import get_method
    from hf_ltr.trainer.checks import check_arguments

    method = get_method("cross_entropy", class_counts=[2, 1])
    arguments = SimpleNamespace(
        n_gpu=0,
        sampler="instance",
        fsdp=True,
        deepspeed=None,
        mixup_alpha=0,
        cutmix_alpha=0,
        label_smoothing=0,
        gradient_accumulation_steps=1,
    )
    check_arguments(method, arguments)
    method.sharded_parameters = False
    with pytest.raises(ValueError, match="cross_entropy reads parameters outside the forward pass"):
        check_arguments(method, arguments)
