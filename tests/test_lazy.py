"""Public names that are imported when they are used."""

from __future__ import annotations

import importlib

import pytest


@pytest.mark.parametrize("package", ["", ".data", ".evaluation", ".trainer", ".table", ".reporting", ".adjustment"])
def test_every_public_name_is_there_and_another_is_refused_with_them(package):
    module = importlib.import_module(f"hf_ltr{package}")
    assert set(module.__all__) <= set(dir(module))
    for name in module.__all__:
        assert getattr(module, name) is getattr(module, name)
    with pytest.raises(AttributeError, match=f"module 'hf_ltr{package}' has no attribute 'nothing'; public names: "):
        _ = module.nothing
