"""Ctrl-C and SIGTERM: the step is finished and saved, and the same command ends with the same weights."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file
from transformers import TrainerCallback

from hf_ltr import interruption
from hf_ltr.methods import Stage
from hf_ltr.recipe.ending import run_to_the_end
from hf_ltr.trainer import run_stages
from hf_ltr.trainer.checkpoint_files import problems_of
from hf_ltr.trainer.checkpoints import checkpoints

from ..contracts.builders import COUNTS, make_config, make_dataset, make_method, make_trainer
from .test_launchers import free_port

# 37 rows in batches of 8: five steps per epoch.
ARGUMENTS = {
    "per_device_train_batch_size": 8,
    "learning_rate": 0.05,
    "mixed_precision_mode": "no",
    "num_train_epochs": 2,
    "logging_strategy": "epoch",
    "save_strategy": "epoch",
    "save_total_limit": None,
    "eval_strategy": "epoch",
    "disable_tqdm": True,
    "seed": 3,
}


class Signal(TrainerCallback):
    """Stands for somebody at the keyboard, at a chosen moment."""

    def __init__(self, step, number=signal.SIGINT, event="step_begin"):
        self.step, self.number, self.event = step, number, event

    def _at(self, event, state):
        if event == self.event and state.global_step == self.step:
            self.step = None
            os.kill(os.getpid(), self.number)

    def on_step_begin(self, args, state, control, **kwargs):
        self._at("step_begin", state)

    def on_prediction_step(self, args, state, control, **kwargs):
        self._at("evaluation", state)


def run(folder, *callbacks, **changes):
    method = make_method("balanced_softmax", COUNTS)
    return run_stages(
        [Stage("train", method)],
        config=make_config(COUNTS),
        arguments={**ARGUMENTS, **changes},
        train_dataset=make_dataset(),
        validation_dataset=make_dataset(seed=1),
        output_dir=folder,
        callbacks=list(callbacks),
        log=lambda text: None,
    )


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    folder = tmp_path_factory.mktemp("straight")
    run(folder)
    return load_file(folder / "train" / "model.safetensors")


@pytest.mark.parametrize(
    "when, number, saved",
    [
        (Signal(6, signal.SIGTERM), signal.SIGTERM, 7),
        (Signal(4), signal.SIGINT, 5),  # in the last step of an epoch, which is evaluated first
        (Signal(5, event="evaluation"), signal.SIGINT, 5),
        (Signal(9), signal.SIGINT, 10),
    ],
    ids=["terminated", "last of an epoch", "evaluation", "last step"],
)
def test_the_step_is_finished_saved_and_continued(straight, tmp_path, capfd, when, number, saved):
    code = run_to_the_end(lambda: run(tmp_path, when))
    assert code == 128 + number
    error = capfd.readouterr().err
    assert f"interrupted: {tmp_path}/train/checkpoint-{saved} is written, and the same command continues" in error
    assert "Traceback" not in error
    assert problems_of(tmp_path / "train" / f"checkpoint-{saved}") == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler and not interruption.installed()
    assert run_to_the_end(lambda: run(tmp_path)) == 0
    again = load_file(tmp_path / "train" / "model.safetensors")
    for name, value in straight.items():
        np.testing.assert_array_equal(again[name], value)


def test_what_cannot_be_continued_is_not_saved(tmp_path, capfd):
    assert run_to_the_end(lambda: run(tmp_path, Signal(2), save_only_model=True, save_strategy="no")) == 130
    assert not list(tmp_path.rglob("checkpoint-*"))
    assert "interrupted: what is finished stays" in capfd.readouterr().err


def test_outside_of_steps_a_command_just_leaves(capfd):
    def loading():
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("goes on")

    assert run_to_the_end(loading) == 143
    assert run_to_the_end(loading, continues=lambda: False) == 143
    assert capfd.readouterr().err.splitlines() == [
        "interrupted: what is finished stays, and the same command continues",
        "interrupted: nothing was changed; give the same command again",
    ]


def test_whoever_runs_a_trainer_keeps_the_handlers(tmp_path):
    """A notebook's Ctrl-C stays what it was."""
    seen = []

    class Look(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            seen.append((signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)))

    trainer = make_trainer("cross_entropy", tmp_path, max_steps=1)
    trainer.add_callback(Look())
    before = (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))
    trainer.train()
    run(tmp_path / "stages", Look(), max_steps=1)
    assert set(seen) == {before}


def test_an_ignored_signal_stays_ignored():
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)  # nohup
    try:
        with interruption.handle_signals():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, previous)


SCRIPT = """
import os, signal, sys
from hf_ltr.recipe.ending import run_to_the_end
from tests.trainer.test_stopping import Signal, run

calls = [Signal(6, signal.SIGTERM)] if sys.argv[2] == "stop" and os.environ["RANK"] == "1" else []
code = run_to_the_end(lambda: run(sys.argv[1], *calls, per_device_train_batch_size=4, use_cpu=True))
print("RANK", os.environ["RANK"], "ended with", code, flush=True)
"""


@pytest.mark.slow
def test_processes_stop_at_the_same_step_if_one_of_them_is_asked(repository, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    paths = [str(repository), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}

    def launch(folder, what):
        command = [*("-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", free_port())]
        arguments = [str(tmp_path / "script.py"), str(tmp_path / folder), what]
        options = {"env": environment, "cwd": tmp_path, "capture_output": True, "text": True, "timeout": 200}
        found = subprocess.run([sys.executable, *command, *arguments], **options)
        assert found.returncode == 0, found.stderr[-3000:]
        return found.stdout + found.stderr

    said = launch("stopped", "stop")
    assert "RANK 0 ended with 143" in said and "RANK 1 ended with 143" in said
    (newest, *_) = checkpoints(tmp_path / "stopped" / "train")
    assert problems_of(newest) == [] and {"rng_state_0.pth", "rng_state_1.pth"} <= set(os.listdir(newest))
    launch("stopped", "go")
    launch("straight", "go")
    first, second = (load_file(tmp_path / name / "train" / "model.safetensors") for name in ("straight", "stopped"))
    for name, value in first.items():
        np.testing.assert_array_equal(second[name], value)
