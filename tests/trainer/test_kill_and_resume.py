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
# More with HF_LTR_KILLS=20 in the environment.
NUM_KILLS = int(os.environ.get("HF_LTR_KILLS", "6"))
# In which stage each kill is to fall, all of them in turn; the moment within it is drawn.
KILLS = sorted((STAGES[number % len(STAGES)] for number in range(NUM_KILLS)), key=STAGES.index)
# Enough that a stage killed often is not over before its last kill.
STEPS = max(12, 3 * NUM_KILLS)
# A stage takes about this long; a kill may also fall on the checkpoint, the evaluation or the start of the next one.
LONGEST_WAIT = 1.2
OPTIONS = [
    *(option for stage in STAGES for option in (f"--{stage}.max_steps", str(STEPS))),
    *("--pretraining.warmup_steps", "2", "--finetuning.warmup_steps", "2", "--modulator.warmup_steps", "2"),
    # Six steps per epoch: checkpoints in the middle and at the end of epochs.
    *("--per_device_train_batch_size", "64", "--save_strategy", "steps", "--save_steps", "3"),
    *("--drop_path_rate", "0.1", "--disable_tqdm", "True"),
]


class Recipe:
    """The same command, started as often as wanted; its output is kept."""

    def __init__(self, repository: Path, folder: Path):
        self.repository, self.folder = repository, folder
        self.log = folder.parent / f"{folder.name}.log"
        self.log.touch()

    def start(self) -> None:
        self._seen = self.log.stat().st_size
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        paths = [str(self.repository), *filter(None, [os.environ.get("PYTHONPATH")])]
        script = self.repository / "recipes" / "mem_vit.py"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(script), *OPTIONS, "--output_dir", str(self.folder)],
                env={**environment, "PYTHONPATH": os.pathsep.join(paths)},
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder.parent,
                start_new_session=True,
            )

    def finish(self) -> None:
        self.start()
        assert self.process.wait(timeout=240) == 0, self.log.read_text()[-3000:]

    def kill_in(self, stage: str, wait: float) -> bool:
        """Kill `wait` seconds after this process announced the stage; False if it had finished by then."""
        self.start()
        deadline = time.monotonic() + 240
        while f"] {stage}:" not in self.log.read_bytes()[self._seen :].decode(errors="replace"):
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() < deadline, f"stage {stage} never began"
            time.sleep(0.01)
        try:
            return self.process.wait(timeout=wait) != 0
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            return self.process.wait() == -signal.SIGKILL


@pytest.mark.slow
def test_random_kills_leave_no_trace(repository, tmp_path):
    seed = random.SystemRandom().randrange(2**32)
    generator = random.Random(seed)
    straight, killed = (Recipe(repository, tmp_path / name) for name in ("straight", "killed"))
    straight.finish()
    kills, moments = 0, [f"seed {seed}"]
    for stage in KILLS:
        wait = generator.uniform(0, LONGEST_WAIT)
        kills += killed.kill_in(stage, wait)
        found = sorted(str(path.relative_to(killed.folder)) for path in killed.folder.glob("*/checkpoint-*"))
        done = [name for name in STAGES if (killed.folder / name / "stage.json").is_file()]
        moments.append(f"{wait:.2f} s into {stage}: finished {done}, {found}")
    print("\n".join(moments))
    assert kills >= 2 * NUM_KILLS // 3, moments
    killed.finish()
    for stage in (*STAGES, "."):
        expected, found = (load_file(run.folder / stage / "model.safetensors") for run in (straight, killed))
        assert expected.keys() == found.keys()
        for name, value in expected.items():
            np.testing.assert_array_equal(value, found[name], err_msg=f"{stage}: {name}; {moments}")
    for stage in STAGES:
        metrics = [json.loads((r.folder / stage / "stage.json").read_text())["metrics"] for r in (straight, killed)]
        assert metrics[0] == metrics[1]
