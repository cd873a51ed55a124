"""`hf-ltr train`: any registered method over its stages, pretraining before it, other methods beside it."""

from __future__ import annotations

import json
import re

import pytest

from hf_ltr import METHODS, ClassCounts, LongTailTrainingArguments
from hf_ltr.cli.main import main
from hf_ltr.recipe import DataOptions, TrainOptions
from hf_ltr.recipe.early import check_options
from hf_ltr.recipe.stages import TrainingPlan
from hf_ltr.recipe.training import given_pretraining, parse_training, train

COUNTS = ClassCounts([200, 50, 5])
TINY = ["--mixed_precision_mode", "no", "--disable_tqdm", "true", "--cpu_threads", "1", "--use_cpu", "true"]
DIGITS = ["--imbalance_factor", "50", "--num_channels", "1", "--max_steps", "2", "--warmup_epochs", "0", *TINY]
RESNET = ["--backbone", "resnet20_cifar", "--image_size", "8", *DIGITS]


def plan(*argv) -> TrainingPlan:
    options = parse_training(list(argv))
    recipe = options.build(TrainOptions)
    return TrainingPlan.make(recipe, given_pretraining(options), options.sections, COUNTS)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_its_stages_as_sections(name):
    own = METHODS[name](COUNTS).stages()
    words = [f"--{stage.name}.learning_rate=0.25" for stage in own]
    options = parse_training([name, "--dataset", "digits", *words])
    recipe = options.build(TrainOptions)
    check_options(options, recipe, {})
    made = TrainingPlan.make(recipe, {}, options.sections, COUNTS)
    assert [stage.name for stage in made.stages] == [stage.name for stage in own]
    assert made.last.name == own[-1].name and not made.compared
    assert {options.sections[stage.name]["learning_rate"] for stage in own} == {0.25}
    assert "output_dir" not in options.of(LongTailTrainingArguments)


def test_others_are_compared_where_the_last_stage_begins():
    single = plan("focal", "--compare", "crt", "lws", "crt", "logit_adjustment")
    assert [stage.name for stage in single.stages] == ["train", "classifier", "lws"]
    assert (single.network, single.last.name, single.compared) == ("train", "train", ["classifier", "lws"])
    assert {stage.start for stage in single.stages[1:]} == {"stage:train"}
    assert single.titles({"lws": "learned scales"}) == {
        "train": "focal",
        "classifier": "+ crt",
        "lws": "learned scales",
    }
    two = plan("lws", "--compare", "crt", "ncm")
    # The name `classifier` is taken by the method's own second stage.
    assert [stage.name for stage in two.stages] == ["representation", "crt", "ncm", "classifier"]
    assert (two.network, two.last.name) == ("representation", "classifier")
    assert two.titles({})["representation"] == "representation: cross_entropy"


def test_pretraining_and_initial_checkpoints_exclude_each_other():
    behind = plan("crt", "--masked_autoencoding", '{"mask_ratio": 0.5}')
    assert [stage.name for stage in behind.stages] == ["pretraining", "representation", "classifier"]
    assert behind.pretraining[0].method.mask_ratio == 0.5
    begun = plan("mem", "--start", "owner/vit", "--new_classifier")
    assert [stage.name for stage in begun.stages] == ["finetuning", "modulator"]
    assert (begun.stages[0].start, begun.stages[0].new_classifier) == ("owner/vit", True)
    with pytest.raises(ValueError, match="starts from 'owner/vit', so there is nothing for pretraining to begin"):
        plan("focal", "--initial_checkpoint", "owner/vit", "--masked_autoencoding", "{}")
    with pytest.raises(ValueError, match="so there is no pretraining: leave one of the two out"):
        plan("mem", "--start", "owner/vit", "--method_options", '{"pretraining": true}')


@pytest.mark.parametrize(
    "argv",
    [
        ["--max_steps", "3", "crt"],
        ["--backbone_pretrained", "crt", "--max_steps", "3"],
        ["--classifier.max_steps", "3", "crt"],
        ["--classifier.bf16", "crt"],
        ["--masked_autoencoding", "{}", "crt"],
        ["--config", "EMPTY", "crt", "--config", "EMPTY"],
        ["--print_config", "crt"],
    ],
)
def test_a_method_may_stand_behind_options(argv, tmp_path, capsys):
    empty = tmp_path / "empty.yaml"
    empty.touch()
    words = [str(empty) if word == "EMPTY" else word for word in argv]
    with pytest.raises(SystemExit):
        train([*words, "--print_config"])
    printed = capsys.readouterr().out
    assert "\nmethod: crt\n" in printed and "\noutput_dir: outputs/crt\n" in printed


@pytest.mark.parametrize(
    "argv", [["crt", "--help"], ["crt", "-h"], ["--help", "crt"], ["--max_steps", "3", "crt", "-h"]]
)
def test_help_shows_the_stages_of_the_method_wherever_it_is_asked_for(argv, capsys):
    with pytest.raises(SystemExit):
        train(argv)
    printed = capsys.readouterr().out
    assert "--classifier.<option>" in printed


def test_the_old_name_of_an_initial_checkpoint_is_read_in_yaml(tmp_path):
    (tmp_path / "config.yaml").write_text("start: owner/vit\n")
    options = parse_training(["focal", "--config", str(tmp_path / "config.yaml")])
    assert options.values["initial_checkpoint"] == "owner/vit" and "start" not in options.values


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "method is missing"),
        (["fcal"], "Unknown method: 'fcal'. Did you mean 'focal'"),
        (["--methd", "focal"], "Unknown option on the command line: 'methd'. Did you mean 'method'"),
        (["focal", "crt"], "Unexpected argument 'crt'"),
        (["focal", "--modulator.max_steps", "3"], "Unknown section on the command line: 'modulator'"),
        (["focal", "--classifier.max_steps", "3"], "a stage that this run does not have; it has train"),
        (["lws", "--compare", "ncm", "--crt.max_steps", "3"], "it has representation, ncm, classifier"),
        (["focal", "--representation_method", "ldam"], "Unknown option of focal: 'representation'"),
        (["crt", "--representation_options", "{}", "--dataset", "digit"], "Unknown dataset: 'digit'"),
        (["focal", "--pretraining_model", '{"image_size": 8}'], "masked_autoencoding is not set"),
        (["masked_autoencoding", "--compare", "crt"], "masked_autoencoding trains no classifier"),
        (["focal", "--imbalance_type", "linear"], "Unknown imbalance_type: 'linear'"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(argv, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HF_LTR_TRACEBACK", raising=False)
    assert main(["train", *argv]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and len(error.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_method_inside_is_looked_at_before_the_data_are_opened(monkeypatch):
    monkeypatch.setattr(DataOptions, "load", lambda self: pytest.fail("the data were opened"))
    for base, message in {
        '{"name": "focl"}': "Unknown method: 'focl'",
        '{"name": "focal", "options": {"gama": 1}}': "Unknown option of focal: 'gama'",
        '{"name": "focal", "options": {"gamma": -1}}': "must not be negative",
        '{"name": "crt"}': "deferred_reweighting cannot wrap 'crt'",
        '{"name": "deferred_reweighting", "base": {"name": "focl"}}': "Unknown method: 'focl'",
    }.items():
        with pytest.raises(ValueError, match=message):
            train(["deferred_reweighting", "--method_options", f'{{"base": {base}}}'])


def test_a_run_is_repeated_by_the_config_in_its_folder(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "tau_norm", *RESNET, "--classifier.max_steps", "3", "--compare", "crt"]) == 0
    printed = capsys.readouterr().out
    assert "The classifier of tau_norm is computed, not trained: classifier.max_steps has no effect." in printed
    assert re.search(r"\ntau = [\d.]+, chosen on the validation split", printed)
    for row in ("representation: cross_entropy", "+ crt", "tau_norm"):
        assert re.search(rf"\| {re.escape(row)} +\|", printed), row
    folder = tmp_path / "outputs" / "tau_norm"
    weights, config = (folder / "model.safetensors").read_bytes(), (folder / "config.yaml").read_text()
    assert "hf-ltr train tau_norm" in (folder / "README.md").read_text()
    assert set(json.loads((folder / "metrics.json").read_text())["seconds"]) == {"representation", "crt", "classifier"}
    again = ["train", "--config", str(folder / "config.yaml")]
    assert main(again) == 0
    assert capsys.readouterr().out.count("finished before") == 3
    assert (folder / "model.safetensors").read_bytes() == weights
    assert (folder / "config.yaml").read_text() == config
    # Another run in the same folder is refused, and the options of the one that is there stay.
    assert main([*again, "--backbone", "resnet32_cifar"]) == 2
    assert "another run" in capsys.readouterr().err
    assert (folder / "config.yaml").read_text() == config


def test_a_method_without_labels_ends_with_weights_to_start_from(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network = ["--backbone", "vit_pico_patch4_16", "--image_size", "16", "--global_pool", "avg", *DIGITS]
    decoder = ["--masked_autoencoder", '{"decoder_dim": 12, "decoder_depth": 1, "decoder_heads": 3}']
    assert main(["train", "masked_autoencoding", *network, *decoder]) == 0
    place = "outputs/masked_autoencoding/pretraining"
    assert f"The weights are in {place}; --initial_checkpoint takes them" in capsys.readouterr().out
    assert main(["train", "focal", *network, "--initial_checkpoint", place]) == 0
    assert f"train: focal, from {place}" in capsys.readouterr().out
