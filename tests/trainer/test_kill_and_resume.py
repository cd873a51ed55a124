"""A recipe killed again and again, at moments nobody chose, ends with the weights of a run that nobody disturbed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

STAGES = ("pretraining", "finetuning", "classifier", "modulator")
# In which stage each kill is to fall; the moment within it is drawn.
KILLS = ("pretraining", "pretraining", "finetuning", "classifier", "modulator", "modulator")
# A stage takes about this long; a kill may also fall on the checkpoint, the evaluation or the start of the next one.
LONGEST_WAIT = 1.2
OPTIONS = [
    *(option for stage in STAGES for option in (f"--{stage}.max_steps", "12")),
    *("--pretraining.warmup_steps", "2", "--finetuning.warmup_steps", "2", "--modulator.warmup_steps", "2"),
    # Six steps per epoch: checkpoints in the middle and at the end of epochs.
    *("--per_device_train_batch_size", "64", "--save_strategy", "steps", "--save_steps", "3"),
    *("--drop_path_rate", "0.1", "--disable_tqdm", "True"),
]


def start(repository: Path, folder: Path) -> subprocess.Popen:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(repository), *filter(None, [os.environ.get("PYTHONPATH")])])
    with (folder.parent / f"{folder.name}.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, str(repository / "recipes" / "mem_vit.py"), *OPTIONS, "--output_dir", str(folder)],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder.parent,
            start_new_session=True,
        )


def finish(repository: Path, folder: Path) -> None:
    code = start(repository, folder).wait(timeout=240)
    assert code == 0, (folder.parent / f"{folder.name}.log").read_text()[-3000:]


def kill_in(process: subprocess.Popen, folder: Path, stage: str, wait: float) -> bool:
    """Kill `wait` seconds after the stage began; False if the run had finished by then."""
    deadline = time.monotonic() + 240
    begun = folder / stage / "run.json"
    while not begun.is_file() and process.poll() is None:
        assert time.monotonic() < deadline, f"stage {stage} never began"
        time.sleep(0.01)
    end = time.monotonic() + wait
    while time.monotonic() < end and process.poll() is None:
        time.sleep(0.005)
    finished = process.poll() is not None
    if not finished:
        os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() in ((0,) if finished else (0, -signal.SIGKILL))
    return not finished


@pytest.mark.slow
def test_random_kills_leave_no_trace(repository, tmp_path):
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed of the moments: {seed}")
    generator = random.Random(seed)
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    finish(repository, straight)
    kills, moments = 0, []
    for stage in KILLS:
        process = start(repository, killed)
        # A stage that began before the last kill has its file already: wait until this process can have got there.
        if (killed / stage / "run.json").is_file():
            time.sleep(IMPORT_SECONDS)
        wait = generator.uniform(0, LONGEST_WAIT)
        kills += kill_in(process, killed, stage, wait)
        progress = {
            name: max((int(path.name.split("-")[1]) for path in (killed / name).glob("checkpoint-*")), default=0)
            for name in STAGES
        }
        done = [name for name in STAGES if (killed / name / "stage.json").is_file()]
        moments.append((stage, round(wait, 2), progress, done))
    print("\n".join(map(str, moments)))
    assert kills >= 4, moments
    finish(repository, killed)
    for stage in STAGES:
        expected = load_file(straight / stage / "model.safetensors")
        found = load_file(killed / stage / "model.safetensors")
        assert expected.keys() == found.keys()
        for name, value in expected.items():
            np.testing.assert_array_equal(value, found[name], err_msg=f"{stage}: {name}; kills: {moments}")
        metrics = [json.loads((folder / stage / "stage.json").read_text())["metrics"] for folder in (straight, killed)]
        assert metrics[0] == metrics[1]
    final = [load_file(folder / "model.safetensors") for folder in (straight, killed)]
    assert all(np.array_equal(value, final[1][name]) for name, value in final[0].items())


# From the start of the interpreter to the first step: imports of torch, transformers, datasets and timm.
IMPORT_SECONDS = 5.0
