"""Threads and processes as `accelerate launch` and `torchrun` really start them, on a machine without accelerators."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hf_ltr import LongTailForImageClassification, LongTailTrainer, load_long_tailed
from hf_ltr import distributed as processes
from hf_ltr.trainer.evaluation import evaluate_model

from ..contracts.builders import make_trainer

ACCELERATE = ("-m", "accelerate.commands.launch")
TORCHRUN = ("-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port")
# Builds a trainer and says what it found. The number of cores is overridden in some runs, so that two processes on two
# cores are not mistaken for one thread that nobody raised.
SCRIPT = """
import json, os, sys
import torch
from hf_ltr import distributed as processes
from tests.contracts.builders import make_trainer

if int(sys.argv[2]):
    processes.available_cores = lambda: int(sys.argv[2])
before = torch.get_num_threads()
trainer = make_trainer("cross_entropy", sys.argv[1], use_cpu=True, **json.loads(sys.argv[3]))
found = {"before": before, "threads": torch.get_num_threads(), "world_size": trainer.args.world_size,
         "rank": trainer.args.process_index, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS")}
sys.stdout.write("FOUND" + json.dumps(found) + "\\n")
sys.stdout.flush()
"""
_LAUNCHED = ("LOCAL_RANK", "RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RUN_ID", "OMP_NUM_THREADS")


@pytest.fixture
def environment(repository, tmp_path) -> dict[str, str]:
    """Of a user who never configured a launcher."""
    kept = {name: value for name, value in os.environ.items() if name not in _LAUNCHED}
    kept = {name: value for name, value in kept.items() if not name.startswith(("ACCELERATE_", "HF_LTR_"))}
    paths = [str(repository), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**kept, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1", "PYTHONPATH": os.pathsep.join(paths)}


def free_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


def start(command: list[str], environment: dict[str, str], folder: Path, timeout: float = 200) -> str:
    process = subprocess.Popen(
        [sys.executable, *command],
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        # Asked to terminate, a launcher ends the processes it started; killed, it would leave them behind.
        process.terminate()
        output, _ = process.communicate(timeout=60)
        pytest.fail(f"not finished after {timeout} s:\n{output[-3000:]}")
    assert process.returncode == 0, output[-3000:]
    return output


def launch(launcher: tuple[str, ...], environment, folder: Path, cores: int = 0, **changes) -> list[dict]:
    """What each process found, by rank."""
    script = folder / "script.py"
    script.write_text(SCRIPT)
    output = start([*launcher, str(script), str(folder / "run"), str(cores), json.dumps(changes)], environment, folder)
    # Two processes may write into one line.
    found = [json.loads(part[: part.index("}") + 1]) for part in output.split("FOUND")[1:]]
    return sorted(found, key=lambda entry: entry["rank"])


@pytest.mark.slow
def test_accelerate_launch_uses_all_cores(environment, tmp_path):
    (found,) = launch(ACCELERATE, environment, tmp_path)
    # The launcher pins to one thread; without that this test would prove nothing.
    assert (found["OMP_NUM_THREADS"], found["before"]) == ("1", 1)
    assert found["threads"] == processes.available_cores()
    assert found["world_size"] == 1


@pytest.mark.slow
def test_torchrun_gives_each_process_its_share(environment, tmp_path):
    found = launch((*TORCHRUN, free_port()), environment, tmp_path, cores=6)
    assert [entry["rank"] for entry in found] == [0, 1]
    for entry in found:
        assert (entry["OMP_NUM_THREADS"], entry["before"]) == ("1", 1)
        assert entry["threads"] == 3
        assert entry["world_size"] == 2


@pytest.mark.slow
def test_a_number_that_was_asked_for_wins(environment, tmp_path):
    (found,) = launch(ACCELERATE, environment, tmp_path, cores=6, cpu_threads=4)
    assert found["threads"] == 4


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def clean_environment(monkeypatch):
    for name in [*_LAUNCHED, *(name for name in os.environ if name.startswith("ACCELERATE_"))]:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    "variables, cores, threads",
    [
        ({"OMP_NUM_THREADS": "1", "ACCELERATE_MIXED_PRECISION": "no"}, 6, 6),
        ({"OMP_NUM_THREADS": "1", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}, 6, 1),
        ({"OMP_NUM_THREADS": "1", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}, 6, 3),
        ({"OMP_NUM_THREADS": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "16"}, 6, 1),
        # Nobody launched this process: one thread is what the user asked for.
        ({"OMP_NUM_THREADS": "1"}, 6, 1),
        # One thread, but not because of the variable.
        ({"LOCAL_RANK": "0"}, 6, 1),
    ],
)
def test_threads_are_raised_only_where_a_launcher_pinned_them(
    clean_environment, one_thread, variables, cores, threads
):
    for name, value in variables.items():
        clean_environment.setenv(name, value)
    clean_environment.setattr(processes, "available_cores", lambda: cores)
    assert processes.set_cpu_threads() == threads
    assert torch.get_num_threads() == threads


def test_threads_on_request(clean_environment, one_thread):
    assert processes.set_cpu_threads(2) == torch.get_num_threads() == 2


def test_processes_that_do_not_know_of_each_other_are_refused(clean_environment, tmp_path):
    """Two processes were launched, but the distributed state of each is of one: both would train on everything."""
    trainer = make_trainer("cross_entropy", tmp_path)
    assert trainer.args.world_size == 1
    clean_environment.setenv("WORLD_SIZE", "2")
    with pytest.raises(RuntimeError, match="2 processes were launched.*believes it is alone.*torchrun"):
        LongTailTrainer(trainer.model, trainer.args, method=trainer.method, train_dataset=trainer.train_dataset)
    processes.check_world_size(2)


@pytest.mark.slow
def test_a_recipe_in_two_processes_reports_once(environment, repository, tmp_path):
    logs, output = tmp_path / "logs", tmp_path / "output"
    start(
        [
            *TORCHRUN,
            free_port(),
            *("--redirects", "3", "--log_dir", str(logs)),
            str(repository / "recipes" / "classifier.py"),
            *("--config", str(repository / "recipes" / "configs" / "classifier" / "digits_lt.yaml")),
            *("--num_train_epochs", "2", "--warmup_epochs", "0", "--learning_rate", "0.01"),
            *("--mixed_precision_mode", "no", "--use_cpu", "--output_dir", str(output)),
        ],
        environment,
        tmp_path,
    )
    printed = {path.parent.name: path.read_text() for path in logs.rglob("stdout.log")}
    assert set(printed) == {"0", "1"}
    table = [line for line in printed["0"].splitlines() if line.startswith("| cross_entropy")]
    assert len(table) == 1
    assert "| " not in printed["1"]
    assert "[1/1]" in printed["0"]
    assert "[1/1]" not in printed["1"]
    # Both were really there: 342 rows in global batches of 2 x 64 are three steps an epoch.
    facts = json.loads((output / "train" / "run.json").read_text())
    assert facts["arguments"]["global_batch_size"] == 128
    written = {path.name for path in output.iterdir()}
    assert {"model.safetensors", "config.json", "preprocessor_config.json", "metrics.json", "README.md"} <= written
    # What two processes evaluated together is what one finds for the model they wrote.
    stage = json.loads((output / "train" / "stage.json").read_text())
    model = LongTailForImageClassification.from_pretrained(output)
    test = load_long_tailed("digits", imbalance_factor=50)["test"]
    alone = evaluate_model(model, test, {"mixed_precision_mode": "no"})
    assert stage["metrics"]["accuracy"] == pytest.approx(alone["accuracy"], abs=1e-9)
    assert stage["metrics"]["loss"] == pytest.approx(alone["loss"], rel=1e-5)
    for column, name in (("all", "accuracy"), ("few", "few")):
        assert f"{100 * alone[name]:.1f}" in table[0], column
