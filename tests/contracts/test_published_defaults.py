"""Every default, beside the source it was read in. A change here is a change of what published numbers mean."""

from __future__ import annotations

import inspect
import json

import pytest

from hf_ltr import METHODS, ClassCounts, losses
from hf_ltr.adjustment import RetrainingOptions
from hf_ltr.data.samplers import ClassAwareSampler
from hf_ltr.data.transforms.augmentation import OPERATIONS
from hf_ltr.methods.tau_norm import TAU_GRID


@pytest.fixture(scope="module")
def sources(repository):
    path = repository / "tests" / "golden" / "published_defaults.json"
    return json.loads(path.read_text(encoding="utf-8"))


def defaults(function) -> dict:
    parameters = inspect.signature(function).parameters.values()
    return {one.name: one.default for one in parameters if one.default is not one.empty}


def plain(value):
    return list(value) if isinstance(value, tuple) else value


def assert_defaults(function, expected: dict) -> None:
    actual = defaults(function)
    for name, entry in expected.items():
        assert plain(actual[name]) == entry["value"], f"{name}: {entry['source']}"


def test_every_method_is_there(sources):
    assert set(sources["methods"]) == set(METHODS)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_option_of_a_method_has_its_source(name, sources):
    expected = sources["methods"][name]
    assert set(expected) == set(METHODS[name].option_names())
    assert_defaults(METHODS[name].__init__, expected)


def test_losses(sources):
    for name, expected in sources["losses"].items():
        loss = getattr(losses, name)
        assert_defaults(loss.__init__ if inspect.isclass(loss) else loss, expected)


def test_augmentations(sources):
    for name, expected in sources["augmentation"].items():
        assert_defaults(OPERATIONS[name].function, expected)


def test_the_rest(sources):
    assert_defaults(ClassCounts.__init__, sources["class_counts"])
    assert_defaults(RetrainingOptions.__init__, sources["retraining"])
    # facebookresearch/classifier-balancing: four images of a class in a row, tau from 0 to 2 in steps of 0.1.
    assert defaults(ClassAwareSampler.__init__)["samples_per_class"] == 4
    assert TAU_GRID == tuple(step / 10 for step in range(21))


def test_they_are_those_of_the_reference(sources, shared_data):
    """The numbers of the golden file that recipes.csv has, where the reference is there."""
    import csv

    path = shared_data.parent / "reference" / "recipes.csv"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))

    def settings(method, source, stage, dataset="cifar100_lt", factor=None):
        (row,) = [
            row
            for row in rows
            if (row["method"], row["dataset"], row["stage"]) == (method, dataset, stage)
            and source in row["source"]
            and (factor is None or row["imbalance_factor"] in ("", factor))
        ]
        return {**json.loads(row["hyperparameters"]), "weight_decay": row["weight_decay"]}

    def value(method, option):
        return sources["methods"][method][option]["value"]

    ldam = settings("ldam_drw", "kaidic", "single")
    assert (ldam["max_m"], ldam["s"], ldam["cb_beta"]) == tuple(
        value("ldam_drw", x) for x in ("max_margin", "scale", "beta")
    )
    assert ldam["drw_epoch"] / 200 == value("ldam_drw", "defer_until")
    lade = settings("lade", "LADE", "single")
    assert (lade["alpha"], lade["lambda"]) == (value("lade", "alpha"), value("lade", "lambda_"))
    las = settings("mislas", "MiSLAS", "stage2", factor="100")
    found = tuple(value("mislas", option) for option in ("head", "tail", "lr_factor", "shape"))
    assert (las["smooth_head"], las["smooth_tail"], las["lr_factor"], las["smoothing"]) == found
    assert settings("mislas", "MiSLAS", "stage1")["mixup_alpha"] == value("mislas", "mixup_alpha")
    first, second = (settings("weight_balancing", "Shade", stage) for stage in ("stage1", "stage2"))
    assert float(first["weight_decay"]) == value("weight_balancing", "representation_weight_decay")
    assert float(second["weight_decay"]) == value("weight_balancing", "weight_decay")
    assert (second["cb_beta"], second["maxnorm_thresh"]) == (
        value("weight_balancing", "beta"),
        value("weight_balancing", "threshold"),
    )
    mem = next(json.loads(row["hyperparameters"]) for row in rows if row["method"] == row["stage"] == "mem")
    assert mem["xi"][1] == value("mem", "margin_positive") and mem["mu"] == value("mem", "margin_negative")
    assert mem["subnet_depth"] == value("mem", "depth")
