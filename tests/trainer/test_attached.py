"""Networks that a method attaches: in nobody's state, in no optimizer, always in evaluation mode."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from hf_ltr import LongTailTrainer, class_counts
from hf_ltr.methods import MethodWrapper
from hf_ltr.methods.cross_entropy import CrossEntropy

from ..contracts.builders import make_arguments, make_dataset, make_model, weights


class Taught(CrossEntropy):
    """Keeps its teacher as a plain attribute, and counts batches in a buffer of its own."""

    def __init__(self, class_counts, teacher=None):
        super().__init__(class_counts)
        self.given, self.modes = [teacher], set()
        self.register_buffer("batches", torch.zeros(()))

    def describe(self):
        return {"name": "taught", "options": {}}

    def setup(self, trainer):
        self.teacher = trainer.attach_frozen(self.given[0])
        # Parts of it, however they are kept.
        self.parts_of_teacher = nn.ModuleDict({"head": self.teacher.classifier})

    def training_loss(self, model, batch):
        self.modes.add(self.teacher.training)
        terms, outputs = super().training_loss(model, batch)
        self.batches += 1
        wanted = self.teacher(pixel_values=batch["pixel_values"]).raw_logits
        return terms | {"distance": (outputs.raw_logits - wanted).square().mean()}, outputs


def make_teacher() -> nn.Module:
    teacher = make_model(CrossEntropy(class_counts(make_dataset())), seed=7)
    return teacher.train()


def trainer_of(method, folder, **changes) -> LongTailTrainer:
    options = {"save_strategy": "steps", "save_steps": 4, "save_total_limit": None, "max_steps": 8}
    return LongTailTrainer(
        model=make_model(method),
        args=make_arguments(folder, **{**options, **changes}),
        method=method,
        train_dataset=make_dataset(),
    )


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    counts = class_counts(make_dataset())
    teacher = make_teacher()
    before = copy.deepcopy(teacher.state_dict())
    trainer = trainer_of(Taught(counts, teacher), tmp_path_factory.mktemp("taught"))
    trainer.train()
    return trainer, teacher, before


def test_it_is_saved_with_neither_the_method_nor_the_model(taught):
    trainer, _, _ = taught
    folder = f"{trainer.args.output_dir}/checkpoint-4"
    assert {name: value.item() for name, value in load_file(f"{folder}/method.safetensors").items()} == {"batches": 4}
    assert set(load_file(f"{folder}/model.safetensors")) == set(make_teacher().state_dict())


def test_it_is_frozen_in_evaluation_mode_and_not_optimised(taught):
    trainer, teacher, before = taught
    assert trainer.method.modes == {False}
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    optimised = {id(p) for group in trainer.optimizer.param_groups for p in group["params"]}
    assert optimised.isdisjoint(id(parameter) for parameter in teacher.parameters())


def test_a_resumed_run_attaches_it_again(taught, tmp_path):
    trainer, _, _ = taught
    counts = class_counts(make_dataset())
    trainer_of(Taught(counts, make_teacher()), tmp_path, max_steps=8, save_steps=4).train()
    (tmp_path / "checkpoint-8").rename(tmp_path / "gone")
    resumed = trainer_of(Taught(counts, make_teacher()), tmp_path)
    resumed.train(resume_from_checkpoint=True)
    assert resumed.method.batches == 8
    for name, value in weights(trainer).items():
        np.testing.assert_array_equal(value, weights(resumed)[name], err_msg=name)


def test_a_wrapped_method_attaches_too(tmp_path):
    method = MethodWrapper(Taught(class_counts(make_dataset()), make_teacher()))
    trainer_of(method, tmp_path, max_steps=4).train()
    assert set(load_file(tmp_path / "checkpoint-4" / "method.safetensors")) == {"base.batches"}


def test_what_is_trained_is_not_attached(tmp_path):
    method = CrossEntropy(class_counts(make_dataset()))
    trainer = trainer_of(method, tmp_path)
    with pytest.raises(ValueError, match="parameters of the model that is trained.*attach a copy"):
        trainer.attach_frozen(trainer.model.classifier)
    assert all(parameter.requires_grad for parameter in trainer.model.parameters())
