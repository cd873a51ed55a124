"""Searches on validation images, beside each other."""

from __future__ import annotations

import json

import pytest
import yaml

from docs.search import Search, search_tables
from tests.table.conftest import PROTOCOL

ROWS = {"search": ["ldam", "ldam:scale=10", "ldam:train.num_train_epochs={1,3}"]}


@pytest.fixture
def repository(tmp_path):
    """Two protocols, the second of which counts in steps, and their results."""
    steps = ["ldam", "ldam:scale=10", "ldam:train.max_steps={1,3}"]
    for name, rows in (("one", ROWS["search"]), ("two", steps)):
        content = {**PROTOCOL, "name": name, "rows": {"search": rows}}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return tmp_path


def write(repository, name, row, seed, accuracy, split="validation"):
    folder = repository / "model_cards" / f"{name}_search" / "results"
    folder.mkdir(parents=True, exist_ok=True)
    content = {"row": row, "seed": seed, "settings": {"split": split}, "metrics": {"balanced_accuracy": accuracy}}
    (folder / f"{row.replace(':', '-')}_seed{seed}.json").write_text(json.dumps(content), encoding="utf-8")


def text(repository, monkeypatch, **options):
    monkeypatch.chdir(repository)
    # A protocol of a test is a file; the folder of its results is named as the search names it.
    monkeypatch.setattr("docs.search.load_protocol", lambda name: _load(repository / f"{name}.yaml"))
    search = Search({"A": "one", "B": "two"}, {"search": "Losses"}, {"search": "ldam"}, **options)
    return search_tables(repository, search)


def _load(path):
    from hf_ltr.table import load_protocol

    return load_protocol(path)


def test_differences_are_over_the_seeds_that_both_rows_have(repository, monkeypatch):
    for seed, accuracy in ((0, 0.50), (1, 0.60)):
        write(repository, "one", "ldam", seed, accuracy)
        write(repository, "two", "ldam", seed, accuracy)
    write(repository, "one", "ldam:scale=10", 1, 0.62)
    write(repository, "two", "ldam:scale=10", 0, 0.49)
    write(repository, "two", "ldam:scale=10", 1, 0.61)
    write(repository, "two", "ldam:train.max_steps=3", 0, 0.4)
    lines = text(repository, monkeypatch).splitlines()
    assert lines[0] == "### Losses"
    cells = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]] for line in lines[4:]}
    assert cells["`ldam`"] == ["55.0 ±7.1", "55.0 ±7.1", ""]
    assert cells["`ldam:scale=10`"] == ["62.0 (+2.0)", "55.0 ±8.5 (+0.0, 2 seeds)", "+1.0"]
    own = "`ldam:train.num_train_epochs=3` / `ldam:train.max_steps=3`"
    assert cells[own] == ["not run", "40.0 (-10.0)", ""]


def test_what_all_rows_say_is_not_shown(repository, monkeypatch):
    lines = text(repository, monkeypatch, hidden="train.num_train_epochs=1").splitlines()
    assert lines[-2].startswith("| `ldam:train.num_train_epochs=1` / "), "alone it is shown"
    write(repository, "one", "ldam:scale=10", 0, 0.5)
    assert text(repository, monkeypatch, hidden="nothing").splitlines()[-3].startswith("| `ldam:scale=10`")


def test_a_result_on_test_images_is_refused(repository, monkeypatch):
    write(repository, "one", "ldam", 0, 0.5, split="test")
    with pytest.raises(ValueError, match="ldam_seed0.json was not measured on validation images"):
        text(repository, monkeypatch)


def test_sets_of_unlike_choices_are_refused(repository, monkeypatch):
    content = {**PROTOCOL, "name": "two", "rows": {"search": ["ldam"]}}
    (repository / "two.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(ValueError, match="unlike choices"):
        text(repository, monkeypatch)
