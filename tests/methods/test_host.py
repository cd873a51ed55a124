"""The contract's other side: methods ask their trainer for what the protocol lists, and the trainer has it."""

from __future__ import annotations

import ast

from hf_ltr.methods import MethodHost

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
