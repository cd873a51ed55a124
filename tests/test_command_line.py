"""`hf-ltr` and the lazy package."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import timm

from hf_ltr import METHODS
from hf_ltr.cli.main import main
from hf_ltr.data.samplers import SAMPLERS
from hf_ltr.models import OWN_BACKBONES

from .contracts.builders import make_config


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_importing_the_package_and_asking_for_help_loads_nothing_heavy():
    heavy = ("torch", "transformers", "datasets", "timm", "numpy", "matplotlib")
    code = f"import sys, hf_ltr; print([name for name in {heavy!r} if name in sys.modules])"
    assert run_python(code).strip() == "[]"
    code = (
        "import sys\nfrom hf_ltr.cli.main import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    assert run_python(code).strip().endswith("[]")


def test_every_public_name_is_there():
    code = "import hf_ltr\nfor name in hf_ltr.__all__: getattr(hf_ltr, name)\nprint(len(dir(hf_ltr)))"
    assert int(run_python(code)) >= 12
    # The function, not the module of the same name, whatever was imported before.
    assert run_python(
        "import hf_ltr.data.class_counts\nfrom hf_ltr import class_counts\nprint(callable(class_counts))"
    ) == ("True\n")


@pytest.mark.parametrize("what,names", [("methods", METHODS), ("samplers", SAMPLERS), ("backbones", OWN_BACKBONES)])
def test_list(capsys, what, names):
    assert main(["list", what]) == 0
    printed = {line.split()[0] for line in capsys.readouterr().out.splitlines()}
    assert set(names) <= printed
    if what == "backbones":
        assert set(names) <= set(timm.list_models())


def test_evaluate_prints_and_writes(tmp_path, capsys):
    from hf_ltr import LongTailForImageClassification

    counts = [124, 80, 51, 33, 21, 14, 9, 5, 3, 2]
    config = make_config(counts)
    config.id2label = {index: str(index) for index in range(10)}
    config.label2id = {str(index): index for index in range(10)}
    LongTailForImageClassification(config).save_pretrained(tmp_path / "model")
    output = tmp_path / "metrics.json"
    assert main(["evaluate", str(tmp_path / "model"), "--dataset", "digits", "--output", str(output)]) == 0
    assert "balanced accuracy" in capsys.readouterr().out
    metrics = json.loads(output.read_text())
    assert len(metrics["per_class_accuracy"]) == 10
    assert metrics["balanced_accuracy"] == pytest.approx(sum(metrics["per_class_accuracy"]) / 10)
    assert not (tmp_path / "unused").exists()


@pytest.mark.parametrize(
    "arguments,message",
    [
        (["evaluate", "runs/that/is/not/there", "--dataset", "digits"], "There is no folder 'runs/that/is/not/there'"),
        (["evaluate", "somewhere", "--dataset", "digits"], "There is no folder 'somewhere'"),
    ],
)
def test_mistakes_are_one_line(capsys, arguments, message):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
