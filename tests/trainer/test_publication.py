"""What a trainer of a few lines writes beside the models it saves: the record and the card of a recipe."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard

from hf_ltr import LongTailForImageClassification, LongTailTrainer, LongTailTrainingArguments, class_counts
from hf_ltr.data import hash_rows
from hf_ltr.models import LongTailConfig, MaskedAutoencoder
from hf_ltr.trainer.precision import computation
from hf_ltr.trainer.publication import changed_arguments

from ..contracts.builders import make_config, make_dataset, make_method

TOKEN = "hf_Pp0123456789abcdefghijklmnop"


def make_trainer(folder, method="ldam", dataset=None, **changes):
    dataset = make_dataset() if dataset is None else dataset
    counts = class_counts(dataset)
    method = make_method(method, counts)
    config = make_config(counts)
    method.configure(config)
    options = {
        "output_dir": str(folder),
        "max_steps": 2,
        "learning_rate": 0.01,
        "warmup_epochs": 0,
        "per_device_train_batch_size": 8,
        "mixed_precision_mode": "no",
        "disable_tqdm": True,
        "save_strategy": "steps",
        "save_steps": 1,
        "save_total_limit": 2,
    }
    args = LongTailTrainingArguments(**options | changes)
    return LongTailTrainer(LongTailForImageClassification(config), args, method=method, train_dataset=dataset)


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    trainer = make_trainer(tmp_path_factory.mktemp("publication") / "run", hub_token=TOKEN)
    trainer.train()
    return trainer


def test_config_says_the_method_from_the_first_checkpoint_on(trained):
    folder = Path(trained.args.output_dir)
    expected = json.loads(json.dumps(trained.method.describe()))
    assert expected["name"] == "ldam" and "max_margin" in expected["options"]
    for checkpoint in ("checkpoint-1", "checkpoint-2"):
        assert read(folder / checkpoint / "config.json")["method"] == expected
    assert not (folder / "README.md").exists()


def test_a_saved_model_has_record_and_card_without_results_that_nobody_measured(trained, tmp_path):
    folder = tmp_path / "saved"
    trained.save_model(str(folder))
    config, metrics = read(folder / "config.json"), read(folder / "metrics.json")
    dataset = trained.train_dataset
    assert config["method"]["name"] == "ldam"
    assert metrics["class_counts"] == config["class_counts"] == list(class_counts(dataset).counts)
    assert metrics["row_hash"] == hash_rows(dataset).row_hash and metrics["results"] == {}
    assert set(metrics["seconds"]) == {"train"} and metrics["selection"] == "the weights after the last step"
    card = ModelCard.load(folder / "README.md")
    assert card.data.eval_results is None and "## Results" not in card.text and "```bash" not in card.text
    for fact in (
        *("# ldam", "`max_margin`: `0.5`", "vit_pico" if "vit_pico" in config["backbone"] else config["backbone"]),
        *(
            metrics["row_hash"],
            "Steps: 2",
            "Seed: 42",
            "Commit: `",
            "`learning_rate`: `0.01`",
            "Label-Distribution-Aware",
        ),
        *('from_pretrained("saved")', "Training images: "),
    ):
        assert fact in card.text, fact
    assert not (folder / "figures").exists()
    for path in folder.rglob("*"):
        if path.is_file():
            assert TOKEN.encode() not in path.read_bytes() and str(tmp_path).encode() not in path.read_bytes(), path


def test_results_are_those_of_the_weights_as_they_are(tmp_path):
    trainer = make_trainer(tmp_path / "run")
    trainer.train()
    measured = trainer.evaluate(make_dataset(seed=1))
    trainer.save_model()
    metrics = read(tmp_path / "run" / "metrics.json")
    assert metrics["results"]["ldam"]["accuracy"] == measured["eval_accuracy"]
    assert metrics["per_class_accuracy"]["ldam"] == measured["eval_per_class_accuracy"]
    assert not {"runtime", "epoch"} & set(metrics["results"]["ldam"])
    card = ModelCard.load(tmp_path / "run" / "README.md")
    assert "on the split `evaluation`" in card.text and "![Accuracy by group](figures/groups.png)" in card.text
    # The test split is what a card reports, whatever was evaluated last.
    test = make_dataset(seed=2)
    test._split = "test"
    of_test = trainer.evaluate(test, metric_key_prefix="final")
    trainer.evaluate(make_dataset(seed=1))
    trainer.create_model_card()
    assert read(tmp_path / "run" / "metrics.json")["results"]["ldam"]["accuracy"] == of_test["final_accuracy"]
    # Other weights, or another adjustment of the logits, have no results.
    trainer.model.set_logit_adjustment({"tau": 1.0, "remove": list(trainer.model.config.class_counts)})
    trainer.create_model_card()
    assert read(tmp_path / "run" / "metrics.json")["results"] == {}
    trainer.model.set_logit_adjustment(None)
    with torch.no_grad():
        next(trainer.model.parameters()).mul_(1.5)
    trainer.save_model()
    assert read(tmp_path / "run" / "metrics.json")["results"] == {}
    assert "## Results" not in (tmp_path / "run" / "README.md").read_text()


def test_a_card_that_somebody_wrote_is_kept_unless_a_card_is_asked_for(trained, tmp_path, caplog):
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "README.md").write_text("# My project\n")
    trained.save_model(str(folder))
    assert (folder / "README.md").read_text() == "# My project\n" and "is kept" in caplog.text
    trained.save_model(str(tmp_path / "other"))
    first = (tmp_path / "other" / "README.md").read_text()
    trained.save_model(str(tmp_path / "other"))
    assert (tmp_path / "other" / "README.md").read_text() == first


def test_arguments_of_create_model_card(tmp_path):
    trainer = make_trainer(tmp_path / "run")
    trainer.train()
    (tmp_path / "run" / "README.md").write_text("stock card\n")
    trainer.create_model_card(
        language="en",
        license="apache-2.0",
        tags="birds",
        tasks=["image-classification"],
        model_name="Birds: [x]",
        finetuned_from="someone/weights",
        dataset_tags=["me/birds", "me/more-birds"],
        dataset="Birds",
        dataset_args="spring",
    )
    card = ModelCard.load(tmp_path / "run" / "README.md")
    assert card.data.language == "en" and card.data.license == "apache-2.0" and "birds" in card.data.tags
    assert card.data.base_model == "someone/weights" and card.data.datasets == ["me/birds", "me/more-birds"]
    assert "# Birds: \\[x\\]" in card.text and "Data set: Birds (spring) (`me/birds`)" in card.text


def test_the_card_of_a_recipe_is_the_card_of_a_trainer(tmp_path, capsys):
    from hf_ltr import load_long_tailed
    from hf_ltr.reporting import RunReport
    from hf_ltr.trainer import StageResult

    data = load_long_tailed("digits", imbalance_factor=50)
    counts = class_counts(data["train"])
    config = LongTailConfig(backbone="resnet20_cifar", image_size=8, num_channels=1, class_counts=counts)
    options = {"max_steps": 1, "warmup_epochs": 0, "seed": 7, "disable_tqdm": True, "mixed_precision_mode": "no"}
    args = LongTailTrainingArguments(output_dir=str(tmp_path / "run"), **options)
    trainer = LongTailTrainer(LongTailForImageClassification(config), args, train_dataset=data["train"])
    trainer.train()
    metrics = trainer.evaluate_once(data["test"])
    trainer.save_model(str(tmp_path / "run"))
    report = RunReport(tmp_path / "recipe" / "run", data=data, dataset="digits", arguments=options)
    stage = StageResult(
        "train", str(tmp_path / "run"), metrics, trainer.training_seconds, computation=computation(args)
    )
    report.add("cross_entropy", stage)
    report.finish(stage, method=trainer.method, stages=[stage])
    own, recipe = ((tmp_path / where / "README.md").read_text() for where in ("run", "recipe/run"))

    def lines(text):
        unequal = ("- Training time", "- Epochs", "- Steps", "- `", "Selected weights")
        return [line for line in text.splitlines() if not line.startswith(unequal)]

    assert lines(own) == lines(recipe)
    ours, theirs = (read(tmp_path / where / "metrics.json") for where in ("run", "recipe/run"))
    assert ours.keys() == theirs.keys()
    for key in ("results", "per_class_accuracy", "class_counts", "groups", "row_hash"):
        assert ours[key] == theirs[key], key
    assert ours["computation"]["train"] == theirs["computation"]["train"] == computation(args)
    assert ours["computation"]["train"]["precision"] == "float32" and " in float32" in own
    assert read(tmp_path / "run/config.json")["method"] == read(tmp_path / "recipe/run/config.json")["method"]
    assert "Selected weights: the weights after the last epoch" in recipe
    # Of the stage that the model is of, and of no other, the best weights were kept.
    best = {"load_best_model_at_end": True, "metric_for_best_model": "few"}
    for name, kept in (("train", "the checkpoint with the best few on"), ("earlier", "the weights after the last")):
        report = RunReport(tmp_path / name, data=data, dataset="digits", arguments=options, sections={name: best})
        report.add("cross_entropy", stage)
        report.finish(stage, method=trainer.method, stages=[stage])
        assert f"Selected weights: {kept}" in (tmp_path / name / "README.md").read_text()


def test_a_model_that_was_only_loaded_says_what_it_was_trained_with(trained, tmp_path):
    trained.save_model(str(tmp_path / "saved"))
    model = LongTailForImageClassification.from_pretrained(tmp_path / "saved")
    args = LongTailTrainingArguments(output_dir=str(tmp_path / "again"), mixed_precision_mode="no")
    trainer = LongTailTrainer(model, args)
    trainer.evaluate(make_dataset(seed=1))
    trainer.save_model()
    assert read(tmp_path / "again" / "config.json")["method"]["name"] == "ldam"
    card = (tmp_path / "again" / "README.md").read_text()
    assert "with the method `ldam`" in card and "Steps" not in card and "learning_rate" not in card


def test_a_masked_autoencoder_is_no_classifier(tmp_path):
    dataset = make_dataset()
    method = make_method("masked_autoencoding", class_counts(dataset))
    config = make_config(class_counts(dataset))
    config.masked_autoencoder = {"decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2}
    method.configure(config)
    args = LongTailTrainingArguments(output_dir=str(tmp_path / "mae"), max_steps=1, warmup_epochs=0, disable_tqdm=True)
    trainer = LongTailTrainer(MaskedAutoencoder(config), args, method=method, train_dataset=dataset)
    trainer.train()
    trainer.save_model()
    card = ModelCard.load(tmp_path / "mae" / "README.md")
    assert card.data.pipeline_tag == "image-feature-extraction" and "image-classification" not in card.data.tags
    assert "A masked autoencoder" in card.text and 'from_pretrained("mae", class_counts=class_counts)' in card.text


def test_changed_arguments_are_those_somebody_set():
    args = LongTailTrainingArguments(output_dir="/x/y", learning_rate=0.5, hub_token=TOKEN, hub_model_id="a/b")
    assert changed_arguments(args) == {"learning_rate": 0.5}


def test_a_push_has_the_card_and_uses_the_token(trained, monkeypatch):
    import transformers.trainer

    calls = {}

    class Hub:
        def create_repo(self, name, token=None, private=None, exist_ok=False):
            calls["created"] = (name, token)
            return type("Url", (), {"repo_id": f"me/{name}"})

        def upload_folder(self, **arguments):
            folder = Path(arguments["folder_path"])
            calls["files"] = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
            calls["token"] = arguments["token"]

    monkeypatch.setattr(transformers.trainer, "hf_api", Hub)
    trained.push_to_hub()
    assert calls["created"] == ("run", TOKEN) and calls["token"] == TOKEN
    card = calls["files"]["README.md"].decode()
    assert (
        "with the method `ldam`" in card and 'from_pretrained("me/run")' in card and "fine-tuned version" not in card
    )
    assert {"config.json", "metrics.json", "training_args.bin"} <= set(calls["files"])
    for name, content in calls["files"].items():
        assert TOKEN.encode() not in content and str(Path(trained.args.output_dir).parent).encode() not in content, (
            name
        )


def test_a_push_that_cannot_work_is_found_when_the_trainer_is_made(tmp_path):
    for name, message in (("a/b/c", "namespace/repo_name"), ("me/run", "HF_HUB_OFFLINE is set")):
        with pytest.raises(ValueError, match=f"Nothing can be pushed to '{name}'.*{message}.*Nothing was trained"):
            make_trainer(tmp_path / "run", push_to_hub=True, hub_model_id=name, hub_token=TOKEN)
    assert not list(tmp_path.iterdir())


def test_a_saved_state_and_the_card_of_a_subset(tmp_path):
    from hf_ltr import load_long_tailed

    rows = load_long_tailed("digits", imbalance_factor=50)["train"].select(range(40, 342))
    counts = class_counts(rows)
    config = LongTailConfig(backbone="resnet20_cifar", image_size=8, num_channels=1, class_counts=counts)
    options = {"max_steps": 1, "warmup_epochs": 0, "disable_tqdm": True, "mixed_precision_mode": "no"}
    args = LongTailTrainingArguments(output_dir=str(tmp_path / "run"), **options)
    trainer = LongTailTrainer(LongTailForImageClassification(config), args, train_dataset=rows)
    trainer.train()
    trainer.state.best_model_checkpoint = str(tmp_path / "run" / "checkpoint-1")
    trainer.save_state()
    assert read(tmp_path / "run" / "trainer_state.json")["best_model_checkpoint"] == "checkpoint-1"
    trainer.save_model()
    card = (tmp_path / "run" / "README.md").read_text()
    assert "Training images: 302" in card and "imbalance factor 50" not in card
    assert hash_rows(rows).row_hash in card


def test_a_tracker_that_is_not_installed_is_one_error(tmp_path, monkeypatch):
    from transformers.integrations import integration_utils

    monkeypatch.setattr(integration_utils, "is_wandb_available", lambda: False)
    with pytest.raises(ImportError, match="report_to names what is not here: .*requires wandb to be installed"):
        make_trainer(tmp_path / "run", report_to="wandb")
