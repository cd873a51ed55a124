"""A full disk: named, with the path; nothing is lost, and the same command continues."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess

import numpy as np
import pytest
from safetensors import SafetensorError
from safetensors.numpy import load_file
from transformers import TrainerCallback

from hf_ltr.recipe.ending import run_to_the_end
from hf_ltr.storage import StorageError, storage_error
from hf_ltr.trainer import last_complete_checkpoint

from .test_stopping import run

MIB = 2**20


@pytest.fixture
def disk(tmp_path):
    """A disk of two MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("a small file system cannot be mounted here (that needs root)")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


class FillUp(TrainerCallback):
    """Somebody else's file leaves `room` bytes at the end of a step."""

    def __init__(self, disk, step, room):
        self.file, self.step, self.room = disk / "ballast", step, room

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            free = shutil.disk_usage(self.file.parent).free
            self.file.write_bytes(bytes(max(0, free - self.room)))


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    folder = tmp_path_factory.mktemp("straight")
    run(folder)
    return load_file(folder / "train" / "model.safetensors")


# Nothing of a checkpoint fits; the model does and the optimizer's state does not.
@pytest.mark.parametrize("room", [0, 40 * 1024])
def test_a_disk_that_gets_full_is_named_and_the_same_command_continues(disk, straight, capfd, room):
    output = disk / "run"
    code = run_to_the_end(lambda: run(output, FillUp(disk, 10, room)))
    error = capfd.readouterr().err
    assert code == 2 and "Traceback" not in error
    assert f"error: The disk is full: {output}/train/checkpoint-10" in error and "same command continues" in error
    assert last_complete_checkpoint(output / "train") == str(output / "train" / "checkpoint-5")
    assert not (output / "train" / "checkpoint-10").exists()
    (disk / "ballast").unlink()
    assert run_to_the_end(lambda: run(output)) == 0
    again = load_file(output / "train" / "model.safetensors")
    for name, value in straight.items():
        np.testing.assert_array_equal(again[name], value)


def test_a_disk_that_is_full_from_the_start(disk, capfd):
    (disk / "ballast").write_bytes(bytes(2 * MIB - 4096))
    assert run_to_the_end(lambda: run(disk / "run")) == 2
    assert f"error: The disk is full: {disk}/run" in capfd.readouterr().err


def test_preparation_and_adjustment_on_a_disk_that_gets_full(disk, tmp_path, capfd):
    from hf_ltr.cli.main import main

    from ..contracts.builders import COUNTS, make_method, make_model

    command = ["prepare", "digits", "--output", str(disk / "prepared"), "--shard_rows", "100", "--workers", "1"]
    (disk / "ballast").write_bytes(bytes(2 * MIB - 100 * 1024))
    assert main(command) == 2
    assert f"error: The disk is full: {disk}/prepared" in capfd.readouterr().err
    assert not list((disk / "prepared").glob(".*"))
    (disk / "ballast").unlink()
    assert main(command) == 0
    shutil.rmtree(disk / "prepared")
    model = make_model(make_method("cross_entropy", COUNTS))
    model.save_pretrained(tmp_path / "model")
    from hf_ltr import LongTailImageProcessor

    LongTailImageProcessor.from_config(model.config).save_pretrained(tmp_path / "model")
    command = ["adjust", str(tmp_path / "model"), "--method", "logit_adjustment", "--output", str(disk / "adjusted")]
    for room in (0, 8 * 1024):
        (disk / "ballast").write_bytes(bytes(2 * MIB - 4096 - room))
        assert main(command) == 2
        assert f"error: The disk is full: {disk}/adjusted" in capfd.readouterr().err
        assert [path.name for path in disk.iterdir()] == ["ballast"]
        (disk / "ballast").unlink()
    assert main(command) == 0


@pytest.mark.parametrize(
    "error, number",
    [
        (OSError(errno.ENOSPC, "No space left on device", "a/b.json"), errno.ENOSPC),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "a/b.json"), errno.EDQUOT),
        (OSError(errno.EROFS, "Read-only file system", "a/b.json"), errno.EROFS),
        (SafetensorError("I/O error: No space left on device (os error 28)"), errno.ENOSPC),
        (
            SafetensorError(
                "Error while serializing: IoError(Os { code: 122, kind: FilesystemQuotaExceeded, message: "
                '"Disk quota exceeded" })'
            ),
            errno.EDQUOT,
        ),
        (RuntimeError("[Errno 28] Error writing file"), errno.ENOSPC),
    ],
)
def test_every_library_says_it_otherwise(error, number):
    found = storage_error(error, "a/folder")
    assert isinstance(found, StorageError) and found.errno == number
    assert ("a/b.json" if isinstance(error, OSError) else "a/folder") in str(found)
    wrapped = RuntimeError("in a worker")
    wrapped.__cause__ = error
    assert storage_error(wrapped).errno == number


def test_other_errors_are_left_alone(tmp_path):
    for error in (ValueError("28 classes"), FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "x")):
        assert storage_error(error, tmp_path) is None
    assert storage_error(RuntimeError("unexpected pos 64 vs 0"), tmp_path) is None  # there is room
    assert list(tmp_path.iterdir()) == []
