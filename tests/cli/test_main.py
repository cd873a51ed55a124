"""`hf-ltr`: what it imports, lists and hands on, and the lazy package."""

from __future__ import annotations

import subprocess
import sys

import pytest
import timm

from hf_ltr import METHODS
from hf_ltr.cli.main import main
from hf_ltr.data.samplers import SAMPLERS
from hf_ltr.models import OWN_BACKBONES

from ..contracts.builders import make_config


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


def test_a_misspelt_option_of_training_is_refused_before_methods_and_models_are_imported():
    code = (
        "import sys\nfrom hf_ltr.cli.main import main\nprint(main(['train', 'crt', '--metod', 'x']))\n"
        "print([name for name in ('hf_ltr.methods', 'hf_ltr.models', 'timm') if name in sys.modules])"
    )
    assert run_python(code).split("\n")[:2] == ["2", "[]"]


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


@pytest.mark.parametrize("command", ["evaluate", "adjust", "prepare"])
def test_options_of_the_data_reach_the_loader(command, tmp_path, monkeypatch):
    """Every command takes what says how a folder is read."""
    from hf_ltr import LongTailForImageClassification, data

    LongTailForImageClassification(make_config([3, 2])).save_pretrained(tmp_path / "model")
    given: dict = {}

    def load(name, **options):
        given.update(options)
        raise ValueError("seen")

    monkeypatch.setattr(data, "load_long_tailed", load)
    said = {"labels_from": "labels.csv", "splits": "train=a,test=b", "dataset_config": "c", "label_column": "d"}
    words = {"evaluate": ["--dataset", "digits"], "adjust": ["--dataset", "digits", "--method", "ncm"], "prepare": []}
    target = "digits" if command == "prepare" else str(tmp_path / "model")
    output = ["--output", str(tmp_path / "out")]
    main(
        [
            command,
            target,
            *words[command],
            *output,
            *(word for pair in said.items() for word in (f"--{pair[0]}", pair[1])),
        ]
    )
    assert {name: given.get(name) for name in said} == said
