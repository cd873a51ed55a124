"""Nothing is chosen on the test set."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from hf_ltr import load_long_tailed
from hf_ltr.methods.validation import validation_split


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
