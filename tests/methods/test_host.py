"""The contract's other side: methods ask their trainer for what the protocol lists, and the trainer has it."""

from __future__ import annotations

import ast
from types import SimpleNamespace

import pytest

from hf_ltr import load_long_tailed
from hf_ltr.methods import MethodHost
from hf_ltr.methods.host import validation_split

from ..contracts.builders import make_trainer

LISTED = {name for name in vars(MethodHost) if not name.startswith("_")}


def test_methods_ask_for_nothing_else(repository):
    asked = {
        node.attr
        for path in (repository / "hf_ltr" / "methods").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "trainer"
    }
    assert {"model", "eval_pass"} <= asked <= LISTED


def test_the_trainer_has_all_of_it(tmp_path):
    trainer = make_trainer("cross_entropy", tmp_path)
    assert [name for name in LISTED if not hasattr(trainer, name)] == []


@pytest.fixture(scope="module")
def data():
    return load_long_tailed("digits", imbalance_factor=50)


@pytest.mark.parametrize("wrap", [lambda part: part, lambda part: {"validation": part, "other": None}])
def test_the_validation_split_is_taken(data, wrap):
    trainer = SimpleNamespace(eval_dataset=wrap(data["validation"]))
    assert validation_split(trainer, "x measures", "stop") is data["validation"]


@pytest.mark.parametrize("wrap", [lambda part: part, lambda part: {"validation": part}])
def test_the_test_set_is_refused(data, wrap):
    with pytest.raises(ValueError, match="x measures on validation images.*recorded to be the test set.*or stop"):
        validation_split(SimpleNamespace(eval_dataset=wrap(data["test"])), "x measures", "stop")


@pytest.mark.parametrize("absent,problem", [(None, "there are none"), ({"test": 1}, "parts 'test'")])
def test_without_one_the_error_says_what_to_do(absent, problem):
    with pytest.raises(ValueError, match=f"{problem}.*or stop"):
        validation_split(SimpleNamespace(eval_dataset=absent), "x measures", "stop")
