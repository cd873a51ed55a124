"""How commands end: interrupted, without a reader, and started as a module."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from transformers import Trainer

from hf_ltr import LongTailImageProcessor
from hf_ltr.adjustment.report import AdjustmentReport
from hf_ltr.cli.main import main
from hf_ltr.recipe.ending import run_to_the_end

from ..contracts.builders import COUNTS, make_method, make_model, make_trainer


def test_the_package_is_a_command():
    found = subprocess.run([sys.executable, "-m", "hf_ltr", "--help"], capture_output=True, text=True, check=True)
    assert found.stdout.startswith("usage: hf-ltr") and found.stderr == ""


def test_an_interruption_while_modules_are_imported_is_one_line():
    program = "import hf_ltr.cli\nraise KeyboardInterrupt"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (ended.stderr, ended.stdout) == (
        "interrupted: nothing had begun\n",
        "",
    ) and ended.returncode == -signal.SIGINT
    ended = subprocess.run(
        [sys.executable, "-c", "import hf_ltr.cli\nraise KeyError(3)"], capture_output=True, text=True
    )
    assert "Traceback" in ended.stderr


@pytest.mark.parametrize(
    "output, code", [("print('many lines\\n' * 100_000)", 141), ("[print('line' * 99) for _ in range(9999)]", 141)]
)
def test_a_reader_that_leaves_is_no_error(output, code):
    program = (
        f"import sys; from hf_ltr.recipe.ending import run_to_the_end; sys.exit(run_to_the_end(lambda: {output}))"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.read(10)
    process.stdout.close()
    error = process.stderr.read()
    process.stderr.close()
    assert (process.wait(timeout=60), error) == (code, b"")


def test_a_broken_pipe_elsewhere_is_an_error(capsys):
    def run():
        raise BrokenPipeError(32, "Broken pipe", "a socket")

    assert run_to_the_end(run) == 2
    assert "error: [Errno 32] Broken pipe: 'a socket'" in capsys.readouterr().err


def test_a_second_signal_ends_at_once():
    program = """
import os, signal, time
from hf_ltr import interruption
from hf_ltr.recipe.ending import run_to_the_end
interruption._ONE_SIGNAL = 0.0
def work():
    with interruption.finishing_steps():
        os.kill(os.getpid(), signal.SIGINT)
        print("still there", flush=True)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)
run_to_the_end(work)
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert found.returncode == -signal.SIGINT and found.stdout == "still there\n"
    assert "stopping after this step" in found.stderr and "Traceback" not in found.stderr


def test_what_fails_because_others_were_stopped_is_an_interruption(capfd):
    from hf_ltr import interruption

    def work():
        with interruption.finishing_steps():
            os.kill(os.getpid(), signal.SIGTERM)
            raise RuntimeError("DataLoader worker (pid 1) exited unexpectedly")

    assert run_to_the_end(work) == 143
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_adjustment_is_repaired_by_the_same_command(tmp_path, monkeypatch, capfd, number):
    model = make_model(make_method("cross_entropy", COUNTS))
    model.save_pretrained(tmp_path / "model")
    LongTailImageProcessor.from_config(model.config).save_pretrained(tmp_path / "model")
    output = tmp_path / "adjusted"
    command = ["adjust", str(tmp_path / "model"), "--method", "logit_adjustment", "--output", str(output)]
    write = AdjustmentReport.write

    def interrupted(self, folder=None):
        write(self, folder)
        os.kill(os.getpid(), number)

    with monkeypatch.context() as patch:
        patch.setattr(AdjustmentReport, "write", interrupted)
        assert main(command) == 128 + number
    assert "interrupted: nothing was changed; give the same command again" in capfd.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert main(command) == 0
    assert {"model.safetensors", "metrics.json", "README.md"} <= {path.name for path in output.iterdir()}


def test_leftovers_are_not_pushed(tmp_path, monkeypatch):
    trainer = make_trainer("cross_entropy", tmp_path)
    (tmp_path / ".tmpAb3").write_bytes(b"half")
    seen = []
    monkeypatch.setattr(Trainer, "push_to_hub", lambda self: seen.append(os.listdir(self.args.output_dir)))
    trainer.push_to_hub()
    assert seen == [[]]
