"""The recipes from their command line to the last file, with a handful of steps."""

from __future__ import annotations

import importlib.util
import json
import re
import sys

import pytest
from huggingface_hub import ModelCard

TINY = ["--mixed_precision_mode", "no", "--disable_tqdm", "true", "--cpu_threads", "1", "--use_cpu", "true"]


@pytest.fixture
def recipe(repository):
    def load(name: str):
        specification = importlib.util.spec_from_file_location(f"recipe_{name}", repository / "recipes" / f"{name}.py")
        script = importlib.util.module_from_spec(specification)
        sys.modules[specification.name] = script
        specification.loader.exec_module(script)
        return script

    return load


def test_classifier_recipe_end_to_end(recipe, repository, tmp_path, capsys):
    from transformers import AutoModelForImageClassification

    script = recipe("classifier")
    output = tmp_path / "run"
    arguments = [
        *(
            "--config",
            str(repository / "recipes/configs/classifier/digits_lt.yaml"),
            "--max_steps",
            "3",
            "--warmup_epochs",
            "0",
        ),
        *("--tau", "1.0", "--output_dir", str(output), *TINY),
    ]
    script.main(arguments)
    printed = capsys.readouterr().out
    assert re.search(r"\| cross_entropy +\|", printed)
    assert re.search(r"\| \+ logit adjustment, post-hoc +\|", printed)
    metrics = json.loads((output / "metrics.json").read_text())
    assert set(metrics["results"]) == {"cross_entropy", "+ logit adjustment, post-hoc"}
    assert len(metrics["per_class_accuracy"]["cross_entropy"]) == 10
    assert metrics["class_counts"] == [124, 80, 51, 33, 21, 14, 9, 5, 3, 2]
    assert len(metrics["row_hash"]) == 64
    card = ModelCard.load(output / "README.md")
    assert card.data.model_name == "cross_entropy on digits"
    assert "max_steps" in card.text
    assert (output / "figures" / "groups.png").stat().st_size > 1000
    assert AutoModelForImageClassification.from_pretrained(output).config.class_counts == metrics["class_counts"]
    assert not list((output / "train").glob("checkpoint-*")), (
        "the final model is saved, its checkpoints are not needed"
    )

    before = (output / "model.safetensors").read_bytes()
    script.main(arguments)
    assert "finished before" in capsys.readouterr().out
    assert (output / "model.safetensors").read_bytes() == before
    # Every option that changes the result makes it another run; what is there is not touched.
    for changed in (["--backbone", "resnet32_cifar"], ["--warmup_steps", "1"], ["--imbalance_factor", "20"]):
        with pytest.raises(ValueError, match="another run"):
            script.main([*arguments, *changed])
    # ... and what does not change it does not.
    script.main([*arguments, "--seed", "0", "--logging_steps", "1", "--per_device_eval_batch_size", "7"])
    assert (output / "model.safetensors").read_bytes() == before


def test_mem_recipe_end_to_end(recipe, tmp_path, capsys):
    script = recipe("mem_vit")
    output = tmp_path / "run"
    stages = ("pretraining", "finetuning", "classifier", "lws", "las_stage2", "modulator")
    steps = [f"--{stage}.max_steps=4" for stage in stages]
    warm = [f"--{stage}.warmup_steps=1" for stage in stages]
    compare = ["--compare", "logit_adjustment", "crt", "tau_norm", "lws", "las_stage2"]
    script.main([*steps, *warm, *compare, "--output_dir", str(output), *TINY])
    printed = capsys.readouterr().out
    rows = ["fine-tuned, cross-entropy", "+ logit adjustment, post-hoc", "+ cRT", "+ tau-normalised", "+ LWS"]
    for row in [*rows, "+ las_stage2", "+ MEM"]:
        assert re.search(rf"\| {re.escape(row)} +\|", printed), row
    metrics = json.loads((output / "metrics.json").read_text())
    assert set(metrics["seconds"]) == {*stages, "tau_norm"}
    config = json.loads((output / "config.json").read_text())
    assert config["method"]["name"] == "mem"
    assert config["modules"]["modulator"]["group_of_class"] == [0, 1, 1, 1, 1, 2, 2, 2, 2, 2]


def test_mem_recipe_without_pretraining(recipe, tmp_path, capsys):
    script = recipe("mem_vit")
    limits = ["--finetuning.max_steps=2", "--modulator.max_steps=2", "--warmup_steps=0", "--compare", "none", *TINY]
    # A network without tokens of its own, from scratch.
    output = tmp_path / "resnet"
    network = ["--backbone", "resnet20_cifar", "--image_size", "16", "--global_pool", "avg"]
    section = ["--pretraining.max_steps", "3"]
    options = ["--method_options", '{"pretraining": false, "width": 8}']
    decoder = ["--masked_autoencoder", '{"decoder_depth": 1}']
    with pytest.raises(ValueError, match="--masked_autoencoder is for pretraining"):
        script.main([*limits, *options, *network, *decoder, "--output_dir", str(output)])
    config = tmp_path / "config.yaml"
    config.write_text(
        "dataset: digits\nimbalance_factor: 50\nnum_channels: 1\noptim: adamw_torch_fused\n"
        "learning_rate: 1.0e-3\nper_device_train_batch_size: 64\n"
    )
    with pytest.raises(ValueError, match="--pretraining.max_steps is for pretraining"):
        script.main(["--config", str(config), *limits, *options, *network, *section, "--output_dir", str(output)])
    script.main(["--config", str(config), *limits, *options, *network, "--output_dir", str(output)])
    assert set(json.loads((output / "metrics.json").read_text())["seconds"]) == {"finetuning", "modulator"}
    # The fine-tuned network of that run as the start of another.
    start = ["--start", str(output / "finetuning"), "--method_options", '{"width": 8}']
    again = tmp_path / "again"
    script.main(["--config", str(config), *limits, *start, *network, "--output_dir", str(again)])
    assert f"finetuning: cross_entropy, from {output / 'finetuning'}" in capsys.readouterr().out
    both = ["--start", "somewhere", "--method_options", '{"pretraining": true}']
    with pytest.raises(ValueError, match="initial_checkpoint names weights to fine-tune"):
        script.main(["--config", str(config), *limits, *both, *network, "--output_dir", str(again)])
    with pytest.raises(FileNotFoundError, match="no checkpoint folder '/nowhere/vit'"):
        script.main(["--config", str(config), *limits, "--start", "/nowhere/vit", *network])
    with pytest.raises(ValueError, match="Unknown method to compare with: 'crtt'.*'crt'"):
        script.main([*limits, "--compare", "crtt", "--output_dir", str(tmp_path / "third")])


def test_mem_recipe_from_a_masked_autoencoder_of_transformers(recipe, repository, tmp_path):
    """The documented command: a config with a section for the pretraining that a start replaces."""
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    sizes = {"hidden_size": 192, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 768}
    decoder = {"decoder_hidden_size": 16, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2}
    start = tmp_path / "vit_mae"
    ViTMAEForPreTraining(ViTMAEConfig(**sizes, **decoder, image_size=32, patch_size=8)).save_pretrained(start)
    output = tmp_path / "run"
    recipe("mem_vit").main(
        [
            *("--config", str(repository / "recipes/configs/mem_vit/own_images.yaml"), "--dataset", "digits"),
            *("--start", str(start), "--backbone", "vit_tiny_patch8_96", "--image_size", "32", "--compare", "none"),
            *("--backbone_kwargs", '{"depth": 2}', "--warmup_epochs", "0", "--finetuning.warmup_epochs", "0"),
            *("--finetuning.max_steps", "2", "--modulator.max_steps", "2", "--output_dir", str(output), *TINY),
        ]
    )
    stored = json.loads((output / "config.json").read_text())
    assert stored["image_mean"] == [0.485, 0.456, 0.406]
    assert stored["initial_weights"] == {"name": "vit_mae", "license": None}
    assert "license: unknown" in (output / "README.md").read_text()
    assert not (output / "pretraining").exists()


def test_a_rate_of_the_command_line_replaces_the_base_rate_of_a_config(tmp_path):
    from hf_ltr import LongTailTrainingArguments
    from hf_ltr.recipe import parse_options

    config = tmp_path / "config.yaml"
    config.write_text("base_learning_rate: 5.0e-4\npretraining: {base_learning_rate: 1.0e-4}\n")
    arguments = ["--config", str(config), "--learning_rate", "1e-4", "--pretraining.learning_rate", "3e-4"]
    kinds = {"pretraining": LongTailTrainingArguments}
    options = parse_options(arguments, [LongTailTrainingArguments], sections=kinds)
    assert options.values == {"learning_rate": 1e-4} and options.sections["pretraining"] == {"learning_rate": 3e-4}
    options = parse_options(arguments[:2], [LongTailTrainingArguments], sections=kinds)
    assert options.values == {"base_learning_rate": 5e-4}


def test_classifiers_beside_a_method_are_trained_alike():
    from hf_ltr import ClassCounts
    from hf_ltr.recipe import TrainOptions
    from hf_ltr.recipe.stages import TrainingPlan

    options = TrainOptions("mem", compare=["logit_adjustment", "crt", "lws", "tau_norm", "las_stage2"])
    section = {"num_train_epochs": 7.0, "learning_rate": 0.5}
    plan = TrainingPlan.make(options, {}, {"classifier": section}, ClassCounts([50, 20, 5]))
    names = ["pretraining", "finetuning", "classifier", "lws", "tau_norm", "las_stage2", "modulator"]
    assert [stage.name for stage in plan.stages] == names and plan.compared == names[2:-1]
    stages = {stage.name: stage for stage in plan.stages if stage.name in plan.compared}
    for name in ("classifier", "lws", "las_stage2"):
        assert stages[name].arguments | section == stages[name].arguments
    assert stages["tau_norm"].arguments["num_train_epochs"] == 0
    assert all(stage.config == {"drop_path_rate": 0.0} for stage in stages.values())
    assert {stage.start for stage in stages.values()} == {"stage:finetuning"}


def test_pretraining_of_another_encoder_is_refused_before_it_begins(recipe, tmp_path):
    other = ["--pretraining_model", '{"backbone_kwargs": {"depth": 3}}', "--output_dir", str(tmp_path / "run")]
    with pytest.raises(ValueError, match="stage:pretraining do not fit: its encoder has blocks 3"):
        recipe("mem_vit").main([*other, *TINY])
    assert not (tmp_path / "run" / "pretraining").exists()


def test_pretraining_at_another_size_before_one_stage(recipe, tmp_path, capsys):
    script = recipe("classifier")
    arguments = [
        *("--method", "balanced_bce", "--backbone", "vit_pico_patch4_16", "--num_channels", "1"),
        *("--image_size", "16", "--global_pool", "avg", "--optim", "adamw_torch_fused", "--learning_rate", "1e-3"),
        *("--masked_autoencoder", '{"decoder_dim": 12, "decoder_depth": 1, "decoder_heads": 3}'),
        *("--max_steps", "2", "--warmup_epochs", "0", "--imbalance_factor", "50", "--drop_path_rate", "0.1"),
        *("--output_dir", str(tmp_path / "run"), *TINY),
    ]
    with pytest.raises(ValueError, match="masked_autoencoding is not set"):
        script.main([*arguments, "--pretraining_model", '{"image_size": 8}'])
    pretraining = ["--masked_autoencoding", '{"mask_ratio": 0.5}', "--pretraining_model", '{"image_size": 8}']
    script.main([*arguments, *pretraining])
    stored = json.loads((tmp_path / "run" / "pretraining" / "config.json").read_text())
    assert stored["image_size"] == 8 and stored["masked_autoencoder"]["mask_ratio"] == 0.5
    assert json.loads((tmp_path / "run" / "config.json").read_text())["image_size"] == 16


def test_a_mistake_in_the_last_stage_is_found_before_the_first(recipe, tmp_path):
    script = recipe("mem_vit")
    arguments = ["--output_dir", str(tmp_path / "run"), *TINY]
    for mistake, message in (
        (["--modulator.mixup_alpha", "0.5"], "mem needs hard labels"),
        (["--modulator.max_stepz", "5"], "max_steps"),
        (["--modulator.layer_decay", "3"], "layer_decay must lie in"),
        (["--method_options", '{"samplr": "instance"}'], "sampler"),
        (["--finetuning.sampler", "class_balance"], "class_balanced"),
    ):
        with pytest.raises(ValueError, match=message):
            script.main([*arguments, *mistake])
    assert not (tmp_path / "run" / "pretraining").exists()


def test_decoupled_recipe_end_to_end(recipe, repository, tmp_path, capsys):
    script = recipe("decoupled")
    arguments = [
        *(
            "--config",
            str(repository / "recipes/configs/decoupled/digits_lt.yaml"),
            "--max_steps",
            "2",
            "--warmup_epochs",
            "0",
        ),
        *("--representation_method", "balanced_softmax", "--output_dir", str(tmp_path / "run"), *TINY),
    ]
    script.main(arguments)
    assert re.search(r"\| representation: balanced_softmax +\|", capsys.readouterr().out)


def test_a_single_stage_recipe_refuses_a_method_of_two(recipe, tmp_path):
    with pytest.raises(ValueError, match="crt has several stages; use recipes/decoupled.py"):
        recipe("classifier").main(["--method", "crt", "--output_dir", str(tmp_path / "run"), *TINY])


def test_mistakes_end_with_one_line(recipe, capsys, monkeypatch):
    from hf_ltr.recipe import fail_clearly

    monkeypatch.delenv("HF_LTR_TRACEBACK", raising=False)
    with pytest.raises(SystemExit) as stop:
        fail_clearly(recipe("classifier").main, ["--methd", "ldam"])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert "'methd'" in error and "'method'" in error
    assert "Traceback" not in error


def test_double_correction_is_said(recipe, repository, tmp_path):
    arguments = [
        *(
            "--config",
            str(repository / "recipes/configs/classifier/digits_lt.yaml"),
            "--max_steps",
            "2",
            "--warmup_epochs",
            "0",
        ),
        *("--method", "balanced_softmax", "--tau", "1.0", "--output_dir", str(tmp_path / "run"), *TINY),
    ]
    with pytest.warns(UserWarning, match="corrected twice.*balanced_softmax adds the log prior in its loss"):
        recipe("classifier").main(arguments)


TOKEN = "hf_Zz0123456789abcdefghijklmnop"


class Hub:
    """Stands for `huggingface_hub.HfApi`; what was asked of it is in `calls`."""

    calls: dict = {}

    def __init__(self, token=None):
        self.calls["token"] = token

    def create_repo(self, repo_id, exist_ok, private=None):
        self.calls.setdefault("created", []).append((repo_id, exist_ok, private))

    def upload_folder(self, **arguments):
        self.calls["uploaded"] = arguments


@pytest.fixture
def hub(monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    monkeypatch.setattr(Hub, "calls", {})
    return Hub.calls


def test_a_finished_run_is_pushed_without_its_stages_and_without_secrets(
    recipe, repository, tmp_path, monkeypatch, hub, capsys
):
    output = tmp_path / "run"
    config = str(repository / "recipes/configs/classifier/digits_lt.yaml")
    arguments = [
        *("--config", config, "--max_steps", "2", "--warmup_epochs", "0", "--push_to_hub", "true"),
        *("--hub_model_id", "me/digits", "--hub-token", TOKEN, "--run_name", TOKEN),
        *("--hub_private_repo", "true", "--output_dir", str(output), *TINY),
    ]
    monkeypatch.setattr(sys, "argv", [str(repository / "recipes" / "classifier.py"), *arguments])
    recipe("classifier").main(arguments)
    assert hub["created"] == [("me/digits", True, True)], "before training"
    assert hub["token"] == TOKEN, "hidden, but used"
    from huggingface_hub.utils import filter_repo_objects

    files = [str(path.relative_to(output)) for path in output.rglob("*") if path.is_file()]
    sent = set(
        filter_repo_objects(
            files,
            allow_patterns=hub["uploaded"]["allow_patterns"],
            ignore_patterns=hub["uploaded"]["ignore_patterns"],
        )
    )
    assert {"model.safetensors", "config.json", "preprocessor_config.json", "README.md", "figures/groups.png"} <= sent
    assert not any(name.startswith("train/") for name in sent)
    card = (output / "README.md").read_text()
    assert 'from_pretrained("me/digits")' in card
    command = (
        "accelerate launch recipes/classifier.py --config recipes/configs/classifier/digits_lt.yaml --max_steps 2"
    )
    assert command in card and "--hub-token '<hidden>' --run_name '<hidden>'" in card
    assert "--output_dir run " in card
    assert "train/training_args.bin" in files
    assert [name for name in files if TOKEN.encode() in (output / name).read_bytes()] == []
    assert [name for name in sent if str(tmp_path).encode() in (output / name).read_bytes()] == []
    printed = capsys.readouterr()
    assert TOKEN not in printed.out + printed.err


@pytest.mark.parametrize(
    "name, message",
    [
        (["--hub_model_id", "a/b/c"], "'a/b/c': Repo id must be in the form"),
        (["--hub_model_id", "me/my photos"], "'me/my photos': Repo id must use alphanumeric"),
        (["--hub_model_id", "me/x", "--hub_token", TOKEN], "'me/x': HF_HUB_OFFLINE is set"),
        ([], "'run': HF_HUB_OFFLINE is set"),
    ],
)
def test_a_push_that_cannot_work_is_found_before_training(recipe, tmp_path, name, message):
    output = tmp_path / "run"
    with pytest.raises(ValueError, match=re.escape(message)) as raised:
        recipe("classifier").main([*name, "--push_to_hub", "--output_dir", str(output), *TINY])
    assert TOKEN not in str(raised.value) and "Nothing was trained" in str(raised.value)
    assert not output.exists()


def test_paths_named_in_docs_exist(repository):
    texts = [repository / "README.md", *(repository / "recipes").glob("*.md"), *(repository / "recipes").glob("*.py")]
    named = set()
    for path in texts:
        named |= set(re.findall(r"recipes/[\w/]+\.(?:yaml|py|md)", path.read_text(encoding="utf-8")))
    assert len(named) > 8
    assert [name for name in sorted(named) if not (repository / name).is_file()] == []
