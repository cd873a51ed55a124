"""Costs: whose steps are timed, against whom, and in whose memory."""

from __future__ import annotations

import json
import threading
from types import SimpleNamespace

import pytest

from hf_ltr.methods import METHODS
from hf_ltr.table import load_protocol, timing

from .conftest import quiet

ROWS = ["cross_entropy", "balanced_softmax", "cross_entropy+logit_adjustment", "crt:representation=balanced_softmax"]
# Clock ticks of one call of a method's loss.
TICKS = {"cross_entropy": 2.0, "balanced_softmax": 3.0, "crt": 0.5, "ldam": 1.0}


@pytest.fixture
def clock(monkeypatch):
    """A clock that only losses advance, so that times are exact, and a list of the threads that did."""
    now = SimpleNamespace(ticks=0.0, calls=[])
    for name in TICKS:
        original = METHODS[name].sample_loss

        def counted(self, outputs, targets, original=original):
            now.ticks += TICKS.get(self.name, 0.0)
            now.calls.append((self.name, threading.get_ident()))
            return original(self, outputs, targets)

        monkeypatch.setattr(METHODS[name], "sample_loss", counted)
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: now.ticks))
    return now


@pytest.fixture
def table(protocol_file, tmp_path):
    return quiet(load_protocol(protocol_file), ROWS, tmp_path)


def test_ratios_are_of_own_steps_to_the_baselines(table, clock):
    content = table.measure_cost(rounds=3, steps=2, memory=False)
    assert content == json.loads((table.output_dir / "cost.json").read_text())
    rows = content["rows"]
    assert content["baseline"] == "cross_entropy" and set(rows) == {ROWS[0], ROWS[1], ROWS[3]}
    ratios = {row: [(stage["name"], stage["ratio"]) for stage in parts["stages"]] for row, parts in rows.items()}
    assert ratios == {
        "cross_entropy": [("train", 1.0)],
        "balanced_softmax": [("train", 1.5)],
        "crt:representation=balanced_softmax": [("representation", 1.5), ("classifier", 0.25)],
    }
    assert rows["balanced_softmax"]["stages"][0]["milliseconds"] == 3000.0
    # Equal stages of two rows are one loop: three of them, each in its own thread, in bursts of two steps.
    assert len({thread for _, thread in clock.calls}) == 3
    trained = [name for name, _ in clock.calls if name in ("balanced_softmax", "crt")]
    assert trained.count("balanced_softmax") == trained.count("crt") == (3 + 1) * 2
    changes = sum(a != b for a, b in zip(clock.calls, clock.calls[1:], strict=False))
    assert changes < len(clock.calls) - 1
    assert threading.active_count() == 1 or not any(t.name.startswith("_Loop") for t in threading.enumerate())


def test_another_baseline_and_a_later_row(table, clock, protocol_file):
    table.measure_cost(baseline="balanced_softmax", rounds=1, steps=1, memory=False)
    later = quiet(load_protocol(protocol_file), ["ldam"], table.output_dir)
    content = later.measure_cost(baseline="balanced_softmax", rounds=1, steps=1, memory=False)
    assert set(content["rows"]) == {ROWS[0], ROWS[1], ROWS[3], "ldam"}
    assert content["rows"]["balanced_softmax"]["stages"][0]["ratio"] == 1.0
    assert content["rows"]["cross_entropy"]["stages"][0]["ratio"] == pytest.approx(2 / 3)
    # Against another baseline the earlier ratios mean nothing.
    content = later.measure_cost(rounds=1, steps=1, memory=False)
    assert content["baseline"] == "ldam" and set(content["rows"]) == {"ldam"}


def test_an_error_in_a_timed_loop_is_raised(table, monkeypatch):
    def broken(self, outputs, targets):
        raise ArithmeticError("a mistake in the loss")

    monkeypatch.setattr(METHODS["balanced_softmax"], "sample_loss", broken)
    with pytest.raises(ArithmeticError, match="a mistake in the loss"):
        table.measure_cost(rounds=1, steps=1, memory=False)
    assert not (table.output_dir / "cost.json").exists()


def test_several_processes_are_refused(table, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="one process"):
        table.measure_cost()


@pytest.mark.slow
def test_memory_is_that_of_a_fresh_process(table):
    content = table.measure_cost(rounds=1, steps=1)
    for parts in content["rows"].values():
        assert 2**20 < parts["memory"]["bytes"] < 2**31 and parts["memory"]["ratio"] > 0
        assert "fresh process" in parts["memory"]["kind"]
    assert content["rows"]["cross_entropy"]["memory"]["ratio"] == 1.0
