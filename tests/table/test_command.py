"""`hf-ltr table` from its command line."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from hf_ltr.cli.main import main
from hf_ltr.table import load_protocol
from hf_ltr.trainer import LongTailTrainer

from .conftest import quiet


def test_the_command_runs_reports_and_runs_nothing_twice(protocol_file, tmp_path, capsys, monkeypatch):
    arguments = ["table", "--protocol", str(protocol_file), "--methods", "cross_entropy", "ldam:scale=10"]
    arguments += ["--seeds", "3", "--output-dir", str(tmp_path / "t"), "--resamples", "50"]
    overrides = ["--set", "num-train-epochs=1", "classifier.num_train_epochs=1"]
    monkeypatch.setattr(sys, "argv", ["hf-ltr", *arguments, *overrides])
    assert main([*arguments, *overrides]) == 0
    printed = capsys.readouterr().out
    assert "Protocol tiny, changed: num_train_epochs=1.0, classifier.num_train_epochs=1.0" in printed
    assert "| ldam:scale=10" in printed and "minus cross_entropy" in printed
    assert {path.name for path in (tmp_path / "t" / "results").iterdir()} == {
        "cross_entropy_seed3.json",
        "ldam-scale=10_seed3.json",
    }
    content = json.loads((tmp_path / "t" / "results" / "ldam-scale=10_seed3.json").read_text())
    assert content["overrides"] == {"num_train_epochs": 1.0, "classifier.num_train_epochs": 1.0}
    assert content["command"].startswith("hf-ltr table --protocol path/to/tiny.yaml")
    assert str(tmp_path) not in json.dumps(content) and str(tmp_path) not in (tmp_path / "t" / "README.md").read_text()

    def never(*args, **kwargs):
        raise AssertionError("trained again")

    monkeypatch.setattr(LongTailTrainer, "train", never)
    # The same options in the other spelling, and more rows that are only reported.
    again = ["table", "--protocol", str(protocol_file), "--methods", "cross-entropy", "ldam:scale=10", "crt"]
    again += ["--seeds", "3", "--output_dir", str(tmp_path / "t"), "--report_only", *overrides]
    assert main(again) == 0
    printed = capsys.readouterr().out
    assert "Not run: crt" in printed
    # Without the overrides it is another table.
    assert main([*arguments]) == 2
    assert "num_train_epochs: 1.0 there, 2.0 here" in capsys.readouterr().err


def test_the_dataset_picks_a_protocol(tmp_path, capsys):
    arguments = ["table", "--dataset", "cifar100", "--imbalance-factor", "50", "--methods", "cross_entropy"]
    assert main([*arguments, "--report-only", "--output-dir", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "Protocol cifar100_lt_40ep, changed: imbalance_factor=50.0\n" in printed
    assert "not run" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "digits"], "no default protocol for the dataset 'digits'"),
        ([], "name one with --protocol"),
        (["--protocol", "cifar100_lt_40e"], "'cifar100_lt_40ep'"),
        (["--dataset", "cifar100", "--set", "max_steps"], "KEY=VALUE"),
        (["--dataset", "cifar100", "--set", "max_step=3"], "'max_steps'"),
        (["--dataset", "cifar100", "--baseline", "ldam", "--report_only"], "It must be one of the rows"),
    ],
)
def test_mistakes_are_one_line(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("HF_LTR_TRACEBACK", raising=False)
    assert main(["table", "--methods", "cross_entropy", "--output_dir", str(tmp_path), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error


def test_a_misspelt_protocol_is_refused_before_torch_is_imported(repository):
    arguments = ["table", "--methods", "cross_entropy", "--protocol", "cifar100_lt_40e"]
    script = f"import sys; from hf_ltr.cli.main import main; print(main({arguments}), 'torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", script], cwd=repository, capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["2", "False"] and "'cifar100_lt_40ep'" in answer.stderr


def test_what_did_not_diverge_is_reported(write_protocol, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("HF_LTR_TRACEBACK", raising=False)
    path = write_protocol(methods={"balanced_softmax": {"arguments": {"learning_rate": 1e30}}})
    rows = ["--methods", "balanced_softmax", "cross_entropy"]
    assert main(["table", "--protocol", path, *rows, "--output_dir", str(tmp_path / "t"), "--resamples", "20"]) == 2
    printed = capsys.readouterr()
    assert "1 of 2 runs diverged. balanced_softmax, seed 0" in printed.err
    assert "Not run: balanced_softmax" in printed.out and (tmp_path / "t" / "results.csv").is_file()


@pytest.mark.slow
def test_two_processes_make_the_same_table(protocol_file, tmp_path, repository):
    def run(folder, *launcher):
        subprocess.run(
            [
                *(sys.executable, *launcher, "-m", "hf_ltr.cli.main", "table", "--protocol", str(protocol_file)),
                *("--methods", "cross_entropy", "crt", "cross_entropy+logit_adjustment", "--output_dir", str(folder)),
            ],
            check=True,
            cwd=repository,
            env={**os.environ, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"},
        )

    run(tmp_path / "one")
    run(tmp_path / "two", "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29611")
    for row in ("cross_entropy", "crt", "cross_entropy+logit_adjustment"):
        one, two = (
            json.loads((tmp_path / name / "results" / f"{row}_seed0.json").read_text()) for name in ("one", "two")
        )
        assert one["settings"] == two["settings"] and one["data"] == two["data"]
        assert (one["processes"], two["processes"]) == (1, 2)
        assert len(two["per_class_accuracy"]) == 10 and two["predictions"]["images"] == 400
    # A table of two processes is finished for one.
    run(tmp_path / "two")
    assert not list((tmp_path / "two").rglob("*.tmp"))


@pytest.mark.parametrize(
    "arguments,message",
    [
        (["--methods", "cross_entropy", "--baseline", "focal"], "baseline.*focal"),
        (["--methods", "cross_entropy", "--resamples", "0"], "at least one resample"),
        (["--methods", "cross_entropy", "--seeds", "0", "-1"], "Seeds must lie in"),
        (["--methods", "crt", "--set", "clasifier.learning_rate=1"], "stage.*clasifier.*classifier"),
        (["--methods", "pc_softmax+logit_adjustment"], "removes the class prior from its logits itself"),
    ],
)
def test_mistakes_are_found_before_any_training(arguments, message, protocol_file, tmp_path, capsys, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("trained")

    monkeypatch.setattr(LongTailTrainer, "train", never)
    assert main(["table", "--protocol", str(protocol_file), "--output_dir", str(tmp_path / "t"), *arguments]) == 2
    assert re.search(message, capsys.readouterr().err.replace("\n", " "))


def test_a_second_correction_of_the_prior_is_named(protocol_file, tmp_path):
    table = quiet(load_protocol(protocol_file), ["crt+logit_adjustment"], tmp_path)
    with pytest.warns(UserWarning, match="crt.logit_adjustment removes the class prior.*crt draws its batches"):
        table.check()


def test_another_tail_is_another_folder_and_title(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    data = ["--dataset", "digits", "--set", "backbone=resnet20_cifar"]
    for factor in ("50", "20"):
        command = ["table", "--protocol", "cifar100_lt_40ep", *data, "--imbalance-factor", factor]
        assert main([*command, "--methods", "cross_entropy", "--report-only"]) == 0
    folders = sorted(path.name for path in (tmp_path / "outputs" / "table").iterdir())
    assert len(folders) == 2 and "imbalance_factor=20.0" in folders[0]
    assert (
        "dataset digits, imbalance_factor 20.0)"
        in (tmp_path / "outputs" / "table" / folders[0] / "README.md").read_text()
    )
