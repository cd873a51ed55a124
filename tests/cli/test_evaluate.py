"""`hf-ltr evaluate`."""

from __future__ import annotations

import json

import pytest

from hf_ltr import class_counts, load_long_tailed
from hf_ltr.cli.main import main

from ..contracts.builders import make_config


def digits_model(folder, names):
    """An untrained network of digits whose head is the same class by class, whatever their order."""
    import torch

    from hf_ltr import LongTailForImageClassification

    torch.manual_seed(0)
    config = make_config([124, 80, 51, 33, 21, 14, 9, 5, 3, 2])
    model = LongTailForImageClassification(config)
    config.id2label = dict(enumerate(map(str, range(10))))
    config.label2id = {name: index for index, name in config.id2label.items()}
    if names is not None:
        model.reorder_classes(names)
    else:
        config.id2label = {index: f"LABEL_{index}" for index in range(10)}
    model.save_pretrained(folder)
    return str(folder)


def test_evaluate_matches_classes_by_name(tmp_path, capsys):
    order = ["3", "1", "0", "2", "9", "8", "7", "6", "5", "4"]
    straight = digits_model(tmp_path / "straight", list(map(str, range(10))))
    turned = digits_model(tmp_path / "turned", order)
    results = []
    for place in (straight, turned):
        command = ["evaluate", place, "--dataset", "digits", "--output", str(tmp_path / "metrics.json")]
        assert main(command) == 0
        results.append(json.loads((tmp_path / "metrics.json").read_text()))
    assert "digits numbers the model's classes differently (class 0 is '0' there and '3' in" in capsys.readouterr().err
    per_class = [result.pop("per_class_accuracy") for result in results]
    assert per_class[1] == [per_class[0][int(name)] for name in order]
    assert results[0]["few"] == results[1]["few"] and results[0]["accuracy"] == results[1]["accuracy"]
    unnamed = digits_model(tmp_path / "unnamed", None)
    assert main(["evaluate", unnamed, "--dataset", "digits"]) == 2
    assert "say --trust_class_order; better, write the names into id2label" in capsys.readouterr().err
    assert main(["evaluate", unnamed, "--dataset", "digits", "--trust_class_order"]) == 0
    assert "could not be checked" in capsys.readouterr().err
    # Counts in another order prove that the numbers stand for other classes, whatever is said.
    config = json.loads((tmp_path / "unnamed" / "config.json").read_text())
    counts = class_counts(load_long_tailed("digits", imbalance_factor=10)["train"]).counts
    config["class_counts"] = counts[1:] + counts[:1]
    (tmp_path / "unnamed" / "config.json").write_text(json.dumps(config))
    tail = ["--imbalance_factor", "10", "--trust_class_order"]
    assert main(["evaluate", unnamed, "--dataset", "digits", *tail]) == 2
    assert "Only their numbers match the classes" in capsys.readouterr().err


def test_evaluate_prints_and_writes(tmp_path, capsys):
    from hf_ltr import LongTailForImageClassification

    counts = [124, 80, 51, 33, 21, 14, 9, 5, 3, 2]
    config = make_config(counts)
    config.id2label = {index: str(index) for index in range(10)}
    config.label2id = {str(index): index for index in range(10)}
    LongTailForImageClassification(config).save_pretrained(tmp_path / "model")
    output = tmp_path / "metrics.json"
    assert main(["evaluate", str(tmp_path / "model"), "--dataset", "digits", "--output", str(output)]) == 0
    printed = capsys.readouterr()
    assert "balanced accuracy" in printed.out
    assert "Class 1 (1) has 80 images in the model's config and" in printed.err and "Groups are by" in printed.err
    metrics = json.loads(output.read_text())
    assert len(metrics["per_class_accuracy"]) == 10
    assert metrics["balanced_accuracy"] == pytest.approx(sum(metrics["per_class_accuracy"]) / 10)
    assert not (tmp_path / "unused").exists()


@pytest.mark.parametrize(
    "arguments,message",
    [
        (["evaluate", "runs/that/is/not/there", "--dataset", "digits"], "There is no folder 'runs/that/is/not/there'"),
        (["evaluate", "somewhere", "--dataset", "digits"], "There is no folder 'somewhere'"),
    ],
)
def test_mistakes_are_one_line(capsys, arguments, message):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
