"""A checkpoint without its method's state is not continued as if it had one."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from hf_ltr import get_method
from hf_ltr.trainer.checkpoint_files import METHOD_FACTS, METHOD_TENSORS
from hf_ltr.trainer.method_state import AttachedModules, load_method_state, save_method_state

COUNTS = [9, 4, 2]


@pytest.fixture
def saved(tmp_path):
    method = get_method("cdb", class_counts=COUNTS, difficulty_from="train")
    method.class_weights.copy_(torch.tensor([0.5, 1.0, 1.5]))
    save_method_state(method, tmp_path, {"epochs_begun": 3}, AttachedModules())
    return tmp_path


def fresh(**options):
    return get_method("cdb", class_counts=COUNTS, difficulty_from="train", **options)


def test_state_and_facts_come_back(saved):
    method = fresh()
    assert load_method_state(method, saved, AttachedModules())["epochs_begun"] == 3
    assert method.class_weights.tolist() == [0.5, 1.0, 1.5]


@pytest.mark.parametrize("name", [METHOD_FACTS, METHOD_TENSORS])
def test_a_missing_part_is_named(saved, name):
    (saved / name).unlink()
    with pytest.raises((OSError, ValueError), match=name):
        load_method_state(fresh(), saved, AttachedModules())


def test_an_unreadable_description_is_no_description(saved):
    (saved / METHOD_FACTS).write_text("{")
    method = fresh()
    with pytest.raises(ValueError):
        load_method_state(method, saved, AttachedModules())
    assert method.class_weights.tolist() == [1.0, 1.0, 1.0], "nothing was taken over"


def test_another_option_is_named(saved):
    with pytest.raises(ValueError, match="tau: 1.0 there, 2.0 here"):
        load_method_state(fresh(tau=2.0), saved, AttachedModules())


def test_other_tensors_are_named(saved):
    save_file({"something": torch.ones(3)}, saved / METHOD_TENSORS)
    with pytest.raises(ValueError, match="holds \\['something'\\] but the method keeps \\['class_weights'\\]"):
        load_method_state(fresh(), saved, AttachedModules())
