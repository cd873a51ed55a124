"""`on_epoch`: once per epoch, with random numbers of its own that a resumed run draws again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import TrainerCallback

from hf_ltr import LongTailTrainer, class_counts
from hf_ltr.methods.cross_entropy import CrossEntropy

from ..contracts.builders import make_arguments, make_dataset, make_model, make_trainer, weights


class Drawing(CrossEntropy):
    """Draws from torch's global generator, as a method that forgets to use its own would."""

    def __init__(self, class_counts):
        super().__init__(class_counts)
        self.drawn: dict[int, float] = {}

    def on_epoch(self, trainer, epoch: int) -> None:
        assert epoch not in self.drawn
        self.drawn[epoch] = torch.rand(()).item()


class StopAfter(TrainerCallback):
    def __init__(self, step: int):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            control.should_training_stop = control.should_save = True


def drawing_trainer(folder, *callbacks) -> LongTailTrainer:
    dataset = make_dataset()
    method = Drawing(class_counts(dataset))
    return LongTailTrainer(
        model=make_model(method),
        args=make_arguments(folder, num_train_epochs=4, save_strategy="steps", save_steps=100),
        method=method,
        train_dataset=dataset,
        callbacks=list(callbacks),
    )


@pytest.mark.parametrize("stop", [10, 12], ids=["between epochs", "within an epoch"])
def test_a_resumed_run_draws_the_same_numbers(tmp_path, stop):
    straight = drawing_trainer(tmp_path / "straight")
    straight.train()
    assert len(set(straight.method.drawn.values())) == 4
    first = drawing_trainer(tmp_path / "resumed", StopAfter(stop))
    first.train()
    torch.manual_seed(12345)  # a new process
    second = drawing_trainer(tmp_path / "resumed")
    second.train(resume_from_checkpoint=True)
    assert not set(first.method.drawn) & set(second.method.drawn)
    assert {**first.method.drawn, **second.method.drawn} == straight.method.drawn
    for name, value in weights(straight).items():
        np.testing.assert_array_equal(value, weights(second)[name], err_msg=name)


def test_the_hook_does_not_move_the_random_numbers_of_training(tmp_path):
    drawing = drawing_trainer(tmp_path / "drawing")
    drawing.train()
    plain = make_trainer("cross_entropy", tmp_path / "plain", num_train_epochs=4)
    plain.train()
    for name, value in weights(plain).items():
        np.testing.assert_array_equal(value, weights(drawing)[name], err_msg=name)
