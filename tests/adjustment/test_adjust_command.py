"""`hf-ltr adjust` from the command line."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from hf_ltr import LongTailConfig, LongTailForImageClassification, LongTailImageProcessor, load_long_tailed
from hf_ltr.cli.main import main

from .builders import load

DIGITS = ["--dataset", "digits", "--imbalance_factor", "50", "--quiet"]


@pytest.fixture(scope="module")
def digits():
    return load_long_tailed("digits", imbalance_factor=50)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, digits):
    """A classifier on random features whose head was trained on rows as they are."""
    folder = tmp_path_factory.mktemp("digits") / "model"
    names = digits["train"].features["label"].names
    torch.manual_seed(0)
    config = LongTailConfig(
        backbone="resnet20_cifar", image_size=8, num_channels=1, num_labels=10, id2label=dict(enumerate(names))
    )
    LongTailForImageClassification(config).save_pretrained(folder.with_name("random"))
    LongTailImageProcessor.from_config(config).save_pretrained(folder.with_name("random"))
    arguments = [str(folder.with_name("random")), "--method", "crt", "--sampler", "instance", "--output", str(folder)]
    assert main(["adjust", *arguments, *DIGITS]) == 0
    config = json.loads((folder / "config.json").read_text())
    del config["long_tail_adjustment"]
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_end_to_end(checkpoint, tmp_path, capsys):
    output = tmp_path / "out"
    arguments = [str(checkpoint), "--method", "logit_adjustment", "--output", str(output), "--evaluate_test"]
    assert main(["adjust", *arguments, *DIGITS]) == 0
    printed = capsys.readouterr()
    lines = [line.split("|")[1].strip() for line in printed.out.splitlines() if line.startswith("| ")]
    metrics = json.loads((output / "metrics.json").read_text())
    name = f"after logit_adjustment, tau {metrics['adjustment']['tau']:g}"
    assert lines.count("before") == 2 and lines.count(name) == 2
    assert "On the validation split. tau was chosen here" in printed.out and "On the test split" in printed.out
    assert "warning" not in printed.err
    # The choice is the best of the sweep, and it helps where it was made.
    best = max(entry["criterion"] for entry in metrics["sweep"])
    assert metrics["validation"]["after"]["balanced_accuracy"] == best
    assert best > metrics["validation"]["before"]["balanced_accuracy"]
    # The command that evaluates checkpoints, in bfloat16 where it can, finds the same test figures (of 400 images).
    evaluated = tmp_path / "evaluated.json"
    assert main(["evaluate", str(output), "--dataset", "digits", "--output", str(evaluated)]) == 0
    again = json.loads(evaluated.read_text())
    for key in ("accuracy", "balanced_accuracy"):
        assert again[key] == pytest.approx(metrics["test"]["after"][key], abs=0.0126)
    readme = (output / "README.md").read_text()
    assert "pipeline_tag: image-classification" in readme and "digits" in readme and name in readme
    assert "tmp" not in readme


def test_counts_and_prior_from_files(checkpoint, tmp_path, capsys):
    (tmp_path / "counts.json").write_text(json.dumps({str(label): 10 - label for label in range(10)}))
    (tmp_path / "prior.json").write_text(json.dumps([1 + label for label in range(10)]))
    output = tmp_path / "out"
    files = ["--class_counts", str(tmp_path / "counts.json"), "--target_prior", str(tmp_path / "prior.json")]
    arguments = [str(checkpoint), "--method", "pc_softmax", "--output", str(output), *files]
    assert main(["adjust", *arguments]) == 0
    printed = capsys.readouterr()
    assert "nothing was measured" in printed.out
    # The model knows other counts of its training run.
    assert printed.err.count("warning:") == 1 and "other numbers of training images" in printed.err
    counts, prior = torch.arange(10, 0, -1) / 55, torch.arange(1, 11) / 55
    expected = load(checkpoint).classifier.bias - counts.log() + prior.log()
    torch.testing.assert_close(load(output).classifier.bias, expected, rtol=0, atol=1e-5)


def test_only_a_tau_that_is_given_is_used(checkpoint, tmp_path):
    output = tmp_path / "out"
    arguments = ["--method", "tau_norm", "--tau", "0.5", "--output", str(output), *DIGITS]
    assert main(["adjust", str(checkpoint), *arguments]) == 0
    metrics = json.loads((output / "metrics.json").read_text())
    assert metrics["adjustment"]["tau"] == 0.5 and metrics["sweep"] is None and metrics["test"] is None
    assert metrics["validation"]["after"]["accuracy"] > 0


@pytest.mark.parametrize(
    "arguments,message",
    [
        (["--method", "ncm", "--epochs", "3", *DIGITS], "--epochs belongs to crt and lws"),
        (["--method", "logit_adjustment", "--data_dir", "x"], "--data_dir needs --dataset"),
        (["--method", "logit_adjustment", "--evaluate_test"], "--evaluate_test needs --dataset"),
        (["--method", "logit_adjustment", *DIGITS, "--validation_per_class", "many"], "validation_per_class must be"),
        (["--method", "crt", "--sampler", "balanced", *DIGITS], "Unknown sampler: 'balanced'"),
        (["--method", "crt"], "crt needs training images"),
    ],
)
def test_mistakes_are_one_line(checkpoint, tmp_path, capsys, arguments, message):
    assert main(["adjust", str(checkpoint), "--output", str(tmp_path / "out"), *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error
    assert not (tmp_path / "out").exists()


def test_help_says_what_each_method_does_and_loads_nothing_heavy():
    code = (
        "import sys\nfrom hf_ltr.cli.main import main\ntry:\n    main(['adjust', '--help'])\nexcept SystemExit:\n"
        "    pass\nprint([name for name in ('torch', 'transformers', 'datasets', 'numpy') if name in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "divides each class vector by its norm" in printed and printed.strip().endswith("[]")
