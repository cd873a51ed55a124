"""The recipe of the methods of two stages: computed classifiers, sections, mistakes."""

from __future__ import annotations

import importlib.util
import json
import re
import sys

import pytest

from hf_ltr import LongTailConfig

TINY = ["--mixed_precision_mode", "no", "--disable_tqdm", "true", "--cpu_threads", "1", "--use_cpu", "true"]
SHORT = ["--max_steps", "2", "--warmup_epochs", "0", *TINY]


@pytest.fixture(scope="module")
def script(repository):
    specification = importlib.util.spec_from_file_location("recipe_decoupled", repository / "recipes" / "decoupled.py")
    script = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = script
    specification.loader.exec_module(script)
    return script


@pytest.fixture
def digits(repository):
    return ["--config", str(repository / "recipes/configs/decoupled/digits_lt.yaml")]


def test_a_computed_classifier_is_not_trained_by_the_epochs_of_a_section(script, digits, tmp_path, capsys):
    """digits_lt.yaml gives the second stage 10 epochs, which tau_norm has no use for."""
    output = tmp_path / "run"
    script.main([*digits, "--method", "tau_norm", "--output_dir", str(output), *SHORT])
    printed = capsys.readouterr().out
    assert "classifier of tau_norm is computed, not trained: classifier.num_train_epochs has no effect" in printed
    assert re.search(r"\| representation: cross_entropy +\|", printed) and re.search(r"\| tau_norm +\|", printed)
    config = LongTailConfig.from_pretrained(output)
    assert f"tau = {config.head_options['tau']}, chosen on the validation split" in printed
    facts = json.loads((output / "classifier" / "stage.json").read_text())["facts"]["arguments"]
    assert (facts["num_train_epochs"], facts["max_steps"]) == (0, -1)


def test_a_section_of_the_config_wins_over_the_methods_own_arguments(script, digits, tmp_path):
    output = tmp_path / "run"
    options = ["--representation.mixup_alpha", "0.4", "--weight_decay", "0.01", "--classifier.weight_decay", "0.02"]
    script.main([*digits, "--method", "mislas", *options, "--output_dir", str(output), *SHORT])
    first, second = (
        json.loads((output / stage / "stage.json").read_text())["facts"]["arguments"]
        for stage in ("representation", "classifier")
    )
    assert (first["mixup_alpha"], second["mixup_alpha"]) == (0.4, 0.0)
    assert (first["weight_decay"], second["weight_decay"]) == (0.01, 0.02)
    assert second["parameter_options"] == {r"^classifier\.(weight|bias)$": {"lr_scale": 0.2}}
    assert LongTailConfig.from_pretrained(output).head == "scaled"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "cross_entropy"], "cross_entropy is no method of two stages; use recipes/classifier.py"),
        (["--method", "mem"], "recipes/mem_vit.py for mem"),
        (["--method", "tau_nrm"], "tau_norm"),
        (["--representation_method", "lws"], "representation of crt must be a method of one stage"),
        (["--method", "lws", "--representation_method", "ldam"], "lws multiplies the logits of a linear classifier"),
    ],
)
def test_mistakes_are_found_before_anything_is_trained(arguments, message, script, digits, tmp_path):
    with pytest.raises(ValueError, match=message):
        script.main([*digits, *arguments, "--output_dir", str(tmp_path / "run"), *SHORT])
    assert not (tmp_path / "run").exists()
