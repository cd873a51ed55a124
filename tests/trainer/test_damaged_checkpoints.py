"""A checkpoint counts when all its files are there and whole; others are named and the one before is taken."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest

from hf_ltr.files import is_temporary, write_json
from hf_ltr.trainer import last_complete_checkpoint
from hf_ltr.trainer.checkpoint_files import MANIFEST, problems_of, write_manifest
from hf_ltr.trainer.checkpoints import find_checkpoint

from ..contracts.builders import make_trainer, weights

OPTIONS = {"save_strategy": "steps", "save_steps": 2, "save_total_limit": None, "max_steps": 6}
PARTS = [
    *("optimizer.pt", "scheduler.pt", "rng_state.pth", "model.safetensors", "method.safetensors"),
    *("method.json", "trainer_state.json", "config.json", "training_args.bin"),
]


def trainer_in(folder, method="balanced_softmax", **changes):
    return make_trainer(method, folder, **{**OPTIONS, **changes})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run with checkpoints 2, 4 and 6, and its last weights."""
    folder = tmp_path_factory.mktemp("finished")
    trainer = trainer_in(folder)
    trainer.train()
    return folder, weights(trainer)


@pytest.fixture
def run(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "run")
    return tmp_path / "run"


def remove(path):
    path.unlink()


def empty(path):
    path.write_bytes(b"")


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def replace_by_folder(path):
    path.unlink()
    path.mkdir()


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["optimizer.pt", "model.safetensors", "method.json"])
def test_what_is_in_the_way_of_a_checkpoint_that_is_written_again_is_replaced(run, finished, name, tmp_path):
    aside = tmp_path / "aside"
    aside.write_text("somebody's")
    replace_by_folder(run / "checkpoint-6" / name)
    remove(run / "checkpoint-6" / "scheduler.pt")
    (run / "checkpoint-6" / "scheduler.pt").symlink_to(aside)
    trainer = trainer_in(run)
    with pytest.warns(UserWarning, match=f"{name} is no file"):
        trainer.train(resume_from_checkpoint=True)
    assert problems_of(run / "checkpoint-6") == [] and aside.read_text() == "somebody's"
    for key, value in weights(trainer).items():
        np.testing.assert_array_equal(value, finished[1][key])


@pytest.mark.parametrize("damage", [remove, empty, truncate, replace_by_folder, flip])
@pytest.mark.parametrize("name", PARTS)
def test_every_damage_of_every_file_is_noticed(run, name, damage):
    newest = run / "checkpoint-6"
    assert problems_of(newest) == []
    damage(newest / name)
    assert [problem.split()[0] for problem in problems_of(newest)] == [name]
    assert last_complete_checkpoint(run) == str(run / "checkpoint-4")
    assert list(find_checkpoint(run)[1]) == [str(newest)]


@pytest.mark.parametrize("damage", [remove, empty, truncate, replace_by_folder])
@pytest.mark.parametrize("name", PARTS)
def test_files_of_earlier_versions_are_read(run, name, damage):
    newest = run / "checkpoint-6"
    (newest / MANIFEST).unlink()
    assert problems_of(newest) == []
    damage(newest / name)
    # Training does not need the copy of its arguments, but what is there should be whole.
    expected = [] if (name, damage) == ("training_args.bin", remove) else [name]
    assert [problem.split()[0] for problem in problems_of(newest)] == expected


def test_states_of_all_processes_and_shards_of_the_model_are_required(run):
    newest = run / "checkpoint-6"
    (newest / "rng_state.pth").rename(newest / "rng_state_0.pth")
    shutil.copy(newest / "rng_state_0.pth", newest / "rng_state_2.pth")
    for manifest in (False, True):
        (newest / MANIFEST).unlink(missing_ok=True)
        shutil.copy(newest / "rng_state_0.pth", newest / "rng_state_1.pth")
        if manifest:
            write_manifest(newest)
        assert problems_of(newest) == []
        (newest / "rng_state_1.pth").unlink()
        assert problems_of(newest) == ["rng_state_1.pth is missing"]
    (newest / MANIFEST).unlink()
    (newest / "rng_state_2.pth").unlink()
    (newest / "model.safetensors").rename(newest / "model-00001-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    write_json(newest / "model.safetensors.index.json", {"weight_map": shards})
    assert problems_of(newest) == ["model-00002-of-00002.safetensors is missing"]


def test_a_manifest_that_cannot_be_read_is_no_reason_to_lose_a_checkpoint(run):
    truncate(run / "checkpoint-6" / MANIFEST)
    assert last_complete_checkpoint(run) == str(run / "checkpoint-6")


@pytest.mark.parametrize("damage, name", [(remove, "optimizer.pt"), (flip, "model.safetensors")])
def test_training_continues_from_the_one_before_and_ends_with_the_same_weights(finished, run, damage, name):
    damage(run / "checkpoint-6" / name)
    shutil.rmtree(run / "checkpoint-4")
    trainer = trainer_in(run)
    with pytest.warns(UserWarning, match=rf"passed over checkpoint-6 \({name} .*continues from checkpoint-2"):
        trainer.train(resume_from_checkpoint=True)
    for key, value in weights(trainer).items():
        np.testing.assert_array_equal(value, finished[1][key])
    assert problems_of(run / "checkpoint-6") == []  # written anew


def test_nothing_left_to_continue_from_is_said_and_a_new_start_is_asked_for(run):
    for checkpoint in run.glob("checkpoint-*"):
        empty(checkpoint / "scheduler.pt")
    with pytest.raises(ValueError, match=r"no checkpoint that training could continue from: checkpoint-6 \(scheduler"):
        trainer_in(run).train(resume_from_checkpoint=True)
    for name in ("checkpoint-4", "checkpoint-6"):
        with pytest.raises(ValueError, match=rf"cannot continue from .*{name}: scheduler\.pt has 0 of"):
            trainer_in(run).train(resume_from_checkpoint=str(run / name))
    trainer = trainer_in(run, max_steps=6)
    trainer.train()
    assert trainer.state.global_step == 6 and last_complete_checkpoint(run) == str(run / "checkpoint-6")


def test_leftovers_of_interrupted_writes_are_cleared(run):
    unfinished = run / "checkpoint-9"
    unfinished.mkdir()
    (unfinished / "model.safetensors").write_bytes(b"half")
    own = [".tmpAb3", f".run.json.{os.getpid()}.tmp", ".figure.png.tmp", "checkpoint-6/.tmpXyz"]
    for name in own:
        (run / name).write_bytes(b"half")
    (run / "tmp-checkpoint-8").mkdir()
    (run / "notes.txt").write_text("mine")
    trainer = trainer_in(run)
    with pytest.warns(UserWarning, match=r"checkpoint-9 \("):
        trainer.train(resume_from_checkpoint=True)
    left = [path.name for path in run.rglob("*") if is_temporary(path.name)]
    assert left == [] and not unfinished.exists() and (run / "notes.txt").exists()


def test_the_manifest_names_every_file(run):
    files = json.loads((run / "checkpoint-6" / MANIFEST).read_text())["files"]
    assert set(files) == {path.name for path in (run / "checkpoint-6").iterdir()} - {MANIFEST}
