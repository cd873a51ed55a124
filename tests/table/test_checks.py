"""Every method under every protocol that ships, without images; and mistakes that are found before data are read."""

from __future__ import annotations

import math

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features

from hf_ltr import METHODS
from hf_ltr.data.splits import long_tailed_counts
from hf_ltr.recipe import DataOptions
from hf_ltr.table import MethodSpecification, load_protocol, protocol_names
from hf_ltr.table.plans import Plan

from .conftest import quiet

# Classes, images of the largest, imbalance factor where the protocol cuts none, a validation split or none.
DATA = {"cifar100": (100, 500, None, False), "digits": (10, 124, None, True), "grocery96": (43, 278, 17, True)}
# What a protocol cannot train, and what it says to that.
REFUSED = {
    ("masked_autoencoding", "*"): "masked_autoencoding trains no classifier.*`pretraining: {}`",
    ("mem", "cifar100_lt_40ep"): "mem cannot be trained under protocol cifar100_lt_40ep.*--set backbone=",
    ("mem", "cifar100_lt_200ep"): "mem cannot be trained under protocol cifar100_lt_200ep.*--set backbone=",
    ("mem", "cifar100_lt_200ep_ride"): "mem cannot be trained under protocol cifar100_lt_200ep_ride.*--set backbone=",
}
# Their networks are vision transformers and every row has two stages: seconds for all methods.
PRETRAINED = [name for name in protocol_names() if name.endswith("_mae")]
OTHER_ROWS = ["cross_entropy+logit_adjustment", "crt:representation=ldam_drw", "tau_norm:tau=0.5"]


def refusal(method: str, protocol: str) -> str | None:
    return REFUSED.get((method, protocol), REFUSED.get((method, "*")))


@pytest.fixture
def labels_alone(monkeypatch):
    """Data of the shipped protocols with their class counts and without images."""

    def load(self):
        classes, largest, factor, validation = DATA[self.dataset]
        counts = long_tailed_counts(classes, largest - self.validation_per_class, self.imbalance_factor or factor)
        features = Features({"label": ClassLabel(num_classes=classes)})
        parts = {"train": counts, "test": [2] * classes}
        if validation or self.validation_per_class:
            parts["validation"] = [1] * classes
        made = {split: {"label": np.repeat(np.arange(classes), sizes)} for split, sizes in parts.items()}
        return DatasetDict({split: Dataset.from_dict(rows, features=features) for split, rows in made.items()})

    monkeypatch.setattr(DataOptions, "load", load)


@pytest.fixture
def no_data(monkeypatch):
    """Reading data is a failure."""

    def load(self):
        raise AssertionError("the data were read")

    monkeypatch.setattr(DataOptions, "load", load)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in PRETRAINED else ()) for name in protocol_names()]
)
def test_every_method_runs_or_says_before_training_why_not(name, labels_alone, tmp_path, trainings):
    rows = [method for method in METHODS if refusal(method, name) is None] + OTHER_ROWS
    quiet(load_protocol(name), rows, tmp_path / "table").check()
    for method in METHODS:
        message = refusal(method, name)
        if message is not None:
            with pytest.raises(ValueError, match=message):
                quiet(load_protocol(name), [method], tmp_path / "table").check()
    assert trainings == [] and not (tmp_path / "table").exists()


def test_mem_and_a_method_of_two_stages_run_with_pretraining(labels_alone, tmp_path, trainings):
    """The others under these protocols: the slow cases above."""
    assert len(PRETRAINED) == 3
    quiet(load_protocol("digits_lt_mae"), ["mem", "crt"], tmp_path / "table").check()
    with pytest.raises(ValueError, match=refusal("masked_autoencoding", "digits_lt_mae")):
        quiet(load_protocol("digits_lt_mae"), ["masked_autoencoding"], tmp_path / "table").check()
    assert trainings == []


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("tau_norm:tau=null", "tau_norm:tau=null measures or chooses .*validation_per_class=25.*tau=1.0"),
        ("cdb", "cdb measures or chooses .*methods: {cdb: .*difficulty_from=train"),
        ("crt:representation=cdb", "in its stage representation \\(cdb\\), and under protocol"),
        ("deferred_reweighting:base=cdb", "deferred_reweighting:base=cdb measures .*difficulty_from=train"),
    ],
)
def test_a_missing_validation_split_is_named_before_training(row, message, labels_alone, tmp_path, trainings):
    protocol = load_protocol("cifar100_lt_200ep")
    protocol.methods.pop("cdb")
    with pytest.raises(ValueError, match=message):
        quiet(protocol, ["cross_entropy", row], tmp_path / "table").run()
    assert trainings == []
    held_out = load_protocol("cifar100_lt_200ep", validation_per_class=25)
    quiet(held_out, [row], tmp_path / "table").check()


def test_evaluation_in_a_later_stage_needs_the_split_too(labels_alone, tmp_path):
    protocol = load_protocol("cifar100_lt_40ep", **{"classifier.eval_strategy": "epoch"})
    with pytest.raises(ValueError, match="crt, stage classifier: eval_strategy='epoch', but there is no validation"):
        quiet(protocol, ["crt"], tmp_path / "table").check()


@pytest.mark.parametrize(
    ("rows", "overrides", "message"),
    [
        (["ldam:margin=3"], {}, "Unknown option of ldam: 'margin'.*'max_margin'"),
        (["crt:representation=(focal:gama=1)"], {}, "Unknown option of focal: 'gama'.*'gamma'"),
        (["deferred_reweighting:base=(ldam:scal=3)"], {}, "Unknown option of ldam: 'scal'"),
        (["crt:sampler=class_awar"], {}, "class_awar"),
        (["ldam:max_margin=-1"], {}, "max_margin"),
        (["masked_autoencoding"], {}, "trains no classifier"),
        (["balanced_softmax+logit_adjustment"], {}, "corrects twice"),
        (["mem"], {}, "mem cannot be trained"),
        (["cross_entropy"], {"backbone": "resnet32_cifr"}, "resnet32_cifr"),
        (["cross_entropy"], {"sampler": "instanc"}, "cross_entropy, stage train: Unknown sampler"),
        (["cross_entropy"], {"augmentation": ["random_cropp"]}, "stage train: Unknown augmentation.*'random_crop'"),
        (["cross_entropy"], {"augmentation_options": {"random_crop": {"pad": 2}}}, "option of random_crop: 'pad'"),
        (["cross_entropy"], {"learning_rate": -1}, "stage train: learning_rate must not be negative"),
        (["cross_entropy"], {"per_device_train_batch_size": 0, "max_steps": 5}, "must be a positive integer, not 0"),
        (["crt"], {"num_train_epochs": 0}, "crt, stage representation: num_train_epochs is 0"),
        (["ldam"], {"mixup_alpha": 0.5}, "ldam, stage train: ldam needs hard labels"),
        (["cross_entropy"], {"clasifier.learning_rate": 0.1}, "Unknown stage.*'clasifier'.*'classifier'"),
        (["cross_entropy"], {"clasifier.max_steps": 5}, "Unknown stage.*'clasifier'.*'classifier'"),
    ],
)
def test_mistakes_of_a_row_are_found_before_the_data_are_read(rows, overrides, message, no_data, tmp_path):
    with pytest.raises(ValueError, match=message):
        quiet(load_protocol("cifar100_lt_40ep", **overrides), rows, tmp_path / "table").run()


def test_an_option_with_a_value_per_class_waits_for_the_data(labels_alone, tmp_path):
    prior = ",".join(["1"] * 100)
    quiet(load_protocol("cifar100_lt_40ep"), [f"pc_softmax:target_prior=[{prior}]"], tmp_path / "table").check()
    with pytest.raises(ValueError, match="target_prior has 2 values but there are 100 classes"):
        quiet(load_protocol("cifar100_lt_40ep"), ["pc_softmax:target_prior=[1,1]"], tmp_path / "table").check()


@pytest.mark.parametrize("name", protocol_names())
def test_a_trial_of_a_few_steps_keeps_the_shape_of_the_schedule(name, labels_alone, tmp_path):
    protocol = load_protocol(name, max_steps=5)
    rows = ["cross_entropy", "crt", "tau_norm"]
    quiet(protocol, rows, tmp_path / "table").check()
    whole = load_protocol(name)
    for row in rows:
        counts = [500, 100, 20, 5]
        plans = [Plan.make(one, MethodSpecification.parse(row), 0, counts) for one in (protocol, whole)]
        for stage, before in zip(*(plan.stages for plan in plans), strict=True):
            short, long = (
                {**plan.arguments, **one.arguments} for plan, one in zip(plans, (stage, before), strict=True)
            )
            if long.get("num_train_epochs") == 0:
                assert short.get("max_steps") == -1
                continue
            steps = short["max_steps"]
            assert steps == 5
            per_epoch = math.ceil(sum(counts) / short.get("per_device_train_batch_size", 128))
            planned = long.get("max_steps") or per_epoch * long["num_train_epochs"]
            for key in ("warmup_epochs", "warmup_steps"):
                if long.get(key):
                    assert short[key] == pytest.approx(long[key] * 5 / planned, abs=1)
            if long.get("lr_milestones"):
                assert short["lr_milestones"] == pytest.approx(
                    [epoch * 5 / planned for epoch in long["lr_milestones"]]
                )


def test_what_is_given_with_a_limit_stays(labels_alone, tmp_path):
    protocol = load_protocol("cifar100_lt_200ep", max_steps=100, warmup_epochs=1)
    plan = Plan.make(protocol, MethodSpecification.parse("cross_entropy"), 0, [500, 40, 5])
    assert {**plan.arguments, **plan.stages[0].arguments}["warmup_epochs"] == 1
    with pytest.raises(
        ValueError, match="cross_entropy, stage train: The warm-up of 85 steps is as long as the run of 5"
    ):
        quiet(
            load_protocol("cifar100_lt_200ep", max_steps=5, warmup_epochs=1), ["cross_entropy"], tmp_path / "table"
        ).check()
    alone = load_protocol("cifar100_lt_40ep", **{"classifier.max_steps": 3})
    stages = Plan.make(alone, MethodSpecification.parse("crt"), 0, [500, 40, 5]).stages
    assert [stage.arguments.get("max_steps") for stage in stages] == [None, 3]


@pytest.mark.parametrize("value", [0, -2])
def test_a_limit_of_no_steps_is_refused(value):
    with pytest.raises(ValueError, match="max_steps must be at least 1"):
        load_protocol("cifar100_lt_40ep", max_steps=value)
