"""
No shared file names a method or an auxiliary network: what it needs to know of one is a fact of its class. Otherwise a
new method would be one file and a hunt for the tables it has to be added to.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from hf_ltr import METHODS
from hf_ltr.models.modules import MODULES

NAMES = {*METHODS, *MODULES, *(kind.__name__ for kind in (*METHODS.values(), *MODULES.values()))}
# Files of a method, of a module (which may be several), and the two registries.
OWN = {
    *(f"hf_ltr/methods/{name}.py" for name in ("registry", *METHODS)),
    "hf_ltr/models/modules.py",
    "hf_ltr/models/__init__.py",
    *(f"{kind.__module__.replace('.', '/')}.py" for kind in MODULES.values()),
    "hf_ltr/models/modulator_options.py",
}
# Names that mean something else, where they do.
OTHER_MEANINGS = {
    ("logit_adjustment", ""): "a field of the config, and what a row of a table has done to its logits",
    ("class_balanced", "hf_ltr/"): "a sampler",
    ("cross_entropy", "hf_ltr/models/modeling.py"): "the function of torch",
    ("", "hf_ltr/losses/"): "losses have the names that the field gave them",
    ("", "hf_ltr/adjustment/"): "`hf-ltr adjust` has a registry of its own, of rules for finished checkpoints",
    ("deferred_reweighting", "hf_ltr/methods/__init__.py"): "a public name",
    ("DeferredReweighting", "hf_ltr/methods/__init__.py"): "a public name",
    ("cross_entropy", "hf_ltr/methods/decoupled.py"): "what learns a representation where no method is named",
    ("CrossEntropy", "hf_ltr/methods/decoupled.py"): "what learns a representation where no method is named",
}


def words(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """
    Identifiers, and texts that code can compare: no docstrings, comments and sentences, in which a method may be an
    example for readers.
    """
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) not in prose and not re.search(r"\s", node.value.strip()):
                yield from ((line, word) for word in re.findall(r"\w+", node.value))
        elif isinstance(node, ast.Import | ast.ImportFrom):
            texts = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
            yield from ((line, word) for text in texts for word in text.split("."))
        else:
            found = (getattr(node, field, None) for field in ("id", "attr", "arg", "name"))
            yield from ((line, name) for name in found if isinstance(name, str))


def named_in(text: str) -> list[tuple[int, str]]:
    return [(line, word) for line, word in words(ast.parse(text)) if word in NAMES]


def test_no_shared_file_names_a_method(repository):
    found, used = [], set()
    for path in sorted([*(repository / "hf_ltr").rglob("*.py"), *(repository / "docs").rglob("*.py")]):
        place = path.relative_to(repository).as_posix()
        for line, word in named_in(path.read_text(encoding="utf-8")) if place not in OWN else []:
            known = [(name, where) for name, where in OTHER_MEANINGS if name in ("", word) and place.startswith(where)]
            used.update(known)
            if not known:
                found.append(f"{place}:{line} {word}")
    assert not found, "\n".join(found)
    assert used == OTHER_MEANINGS.keys(), "an exception that nothing needs"


def test_files_of_their_own_exist(repository):
    assert [place for place in OWN if not Path(repository / place).is_file()] == []


@pytest.mark.parametrize(
    "text",
    [
        "TABLE = {'ldam_drw': 1}",
        "isinstance(method, MutualExclusiveModulation)",
        "from ..methods.mem import width",
        "def weight(mem): ...",
        "make(focal=2)",
        "outputs.modulator",
        "f'{row}+pc_softmax'",
    ],
)
def test_what_would_be_found(text):
    assert named_in(text)


@pytest.mark.parametrize(
    "text", ['"""As in ldam_drw."""', "# mem", "help = 'such as crt or mem'", "memory = focal_length"]
)
def test_what_readers_may_be_shown(text):
    assert not named_in(text)
