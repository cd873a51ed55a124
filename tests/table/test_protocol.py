"""Protocols: those that ship, what they may say, and how they are overridden."""

from __future__ import annotations

import pytest
import yaml

from hf_ltr.methods import METHODS
from hf_ltr.table import MethodSpecification, load_protocol, protocol_names
from hf_ltr.table.plans import Plan, share_of_process

from .conftest import PROTOCOL

# The recipes as the issue states them.
STATED = {
    "cifar100_lt_200ep": {
        "num_train_epochs": 200,
        "per_device_train_batch_size": 128,
        "learning_rate": 0.1,
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 2e-4,
        "warmup_epochs": 5,
        "lr_milestones": [160, 180],
        "lr_milestone_factor": 0.01,
        "augmentation": ["random_crop", "horizontal_flip"],
    },
    "cifar100_lt_200ep_ride": {
        "num_train_epochs": 200,
        "weight_decay": 5e-4,
        "nesterov": True,
        "lr_milestones": [160, 180],
        "augmentation": ["random_crop", "horizontal_flip", "rotation"],
        "augmentation_options": {"rotation": {"degrees": 15}},
    },
    "cifar100_lt_40ep": {
        "num_train_epochs": 40,
        "lr_scheduler_type": "cosine",
        "warmup_epochs": 2,
        "augmentation": ["random_crop", "horizontal_flip"],
    },
}


def test_the_protocols_that_ship():
    assert set(STATED) <= set(protocol_names())


@pytest.mark.parametrize("name", sorted(STATED))
def test_a_protocol_is_what_its_source_says(name):
    protocol = load_protocol(name)
    assert {key: protocol.arguments[key] for key in STATED[name]} == STATED[name]
    assert protocol.data["dataset"] == "cifar100"
    assert protocol.data["imbalance_factor"] == 100
    assert protocol.data["order_column"] == "rank", "seeds must not choose the rows"
    assert protocol.model == {"backbone": "resnet32_cifar"}
    assert protocol.tau == 1.0
    assert protocol.name == name and protocol.source


@pytest.mark.parametrize("name", sorted(STATED))
def test_every_method_can_be_planned_under_it(name):
    protocol = load_protocol(name)
    for method in METHODS:
        plan = Plan.make(protocol, MethodSpecification.parse(method), 0, [500, 40, 5])
        for stage in plan.stages:
            assert plan.compared(stage)["global_batch_size"] == 128
            assert plan.compared(stage)["seed"] == 0


def test_a_stage_departs_from_the_common_arguments(write_protocol):
    protocol = load_protocol(
        write_protocol(
            stages={"classifier": {"num_train_epochs": 3, "learning_rate": 0.5}},
            methods={"crt": {"arguments": {"momentum": 0.5}, "stages": {"classifier": {"learning_rate": 0.25}}}},
        )
    )
    plan = Plan.make(protocol, MethodSpecification.parse("crt"), 7, [500, 40, 5])
    first, second = (plan.compared(stage) for stage in plan.stages)
    assert (first["num_train_epochs"], first["learning_rate"], first["momentum"]) == (2, 0.02, 0.5)
    assert (second["num_train_epochs"], second["learning_rate"], second["momentum"]) == (3, 0.25, 0.5)
    assert first["seed"] == second["seed"] == 7
    plain = Plan.make(protocol, MethodSpecification.parse("cross_entropy"), 7, [500, 40, 5])
    assert "momentum" not in plain.compared(plain.stages[0])


def test_rows_share_a_first_stage_exactly_when_it_is_the_same(protocol_file, write_protocol):
    def name(row: str, seed: int = 0, protocol=None, row_hash: str | None = "a", counts=(500, 40, 5)) -> str:
        plan = Plan.make(protocol or load_protocol(protocol_file), MethodSpecification.parse(row), seed, list(counts))
        return plan.shared_stages(row_hash)[-1]

    assert name("crt") == name("cross_entropy") == name("crt:sampler=instance")
    assert name("crt:representation=balanced_softmax") == name("balanced_softmax")
    assert name("crt", seed=1) != name("crt")
    assert name("crt:representation=ldam") != name("crt")
    assert name("crt", row_hash="b") != name("crt")
    assert name("crt", row_hash=None, counts=(500, 40, 6)) != name("crt", row_hash=None)
    # Another stage 1 under this protocol: mixup for the representation of one method.
    other = load_protocol(write_protocol(methods={"crt": {"stages": {"representation": {"mixup_alpha": 1.0}}}}))
    assert name("crt", protocol=other) != name("cross_entropy", protocol=other) == name("cross_entropy")


def test_overrides_have_the_types_of_their_fields(protocol_file):
    protocol = load_protocol(
        protocol_file,
        imbalance_factor="20",
        num_train_epochs="3",
        learning_rate="1e-3",
        nesterov="true",
        backbone="resnet32_cifar",
        data_dir="/somewhere",
        **{"classifier.num_train_epochs": "5", "representation.momentum": 0.5},
    )
    assert protocol.data == {"dataset": "digits", "imbalance_factor": 20.0, "data_dir": "/somewhere"}
    assert protocol.arguments["learning_rate"] == 1e-3 and protocol.arguments["nesterov"] is True
    assert protocol.arguments["num_train_epochs"] == 3
    assert protocol.stages == {"classifier": {"num_train_epochs": 5.0}, "representation": {"momentum": 0.5}}
    assert "data_dir" not in protocol.overrides, "where a copy lies does not change a run"
    assert set(protocol.overrides) == {
        *("imbalance_factor", "num_train_epochs", "learning_rate", "nesterov", "backbone"),
        *("classifier.num_train_epochs", "representation.momentum"),
    }
    assert load_protocol(protocol_file).overrides == {}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"learning_rat": 0.1}, "Unknown override: 'learning_rat'.*'learning_rate'"),
        ({"learning_rate": "fast"}, "learning_rate must be a number"),
        ({"seed": 3}, "--seeds"),
        ({"output_dir": "x"}, "not part of a protocol"),
        ({"classifier.learning_rat": 0.1}, "override of stage classifier.*'learning_rate'"),
    ],
)
def test_a_wrong_override_is_named(protocol_file, overrides, message):
    with pytest.raises(ValueError, match=message):
        load_protocol(protocol_file, **overrides)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stagez": {}}, "Unknown key of .*: 'stagez'.*'stages'"),
        ({"data": {"datset": "digits"}}, "option of data.*'datset'.*'dataset'"),
        ({"model": {"bakbone": "x"}}, "option of model.*'backbone'"),
        ({"arguments": {"weight_decays": 1}}, "option of arguments.*'weight_decay'"),
        ({"arguments": {"seed": 1}}, "sets it for each run"),
        ({"arguments": {"weight_decay": "much"}}, "weight_decay must be a number"),
        ({"stages": {"classifier": {"epochs": 1}}}, "stage classifier"),
        ({"stages": {"classifier": 3}}, "`key: value` pairs"),
        ({"methods": {"crtt": {}}}, "Unknown method in .*: 'crtt'.*'crt'"),
        ({"methods": {"crt": {"option": {}}}}, "'option'.*'options'"),
        ({"methods": {"crt": {"stages": {"classifier": {"lr": 1}}}}}, "crt, stage classifier"),
        ({"post_hoc": {"logit_adjustment": {"taus": 1}}}, "'taus'.*'tau'"),
        ({"post_hoc": {"tau": {}}}, "post-hoc adjustment.*'tau'"),
        ({"published": {"dataset": "x"}}, "key of published.*'dataset'"),
    ],
)
def test_an_unknown_key_of_a_protocol_is_an_error(write_protocol, changes, message):
    with pytest.raises(ValueError, match=message):
        load_protocol(write_protocol(**changes))


def test_settings_for_a_stage_a_method_lacks_are_refused(write_protocol):
    protocol = load_protocol(write_protocol(methods={"crt": {"stages": {"clasifier": {"momentum": 0.5}}}}))
    with pytest.raises(ValueError, match="stage of crt in protocol tiny: 'clasifier'.*'classifier'"):
        Plan.make(protocol, MethodSpecification.parse("crt"), 0, [500, 40, 5])


def test_a_protocol_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match="Unknown protocol: 'cifar100_lt_40'.*'cifar100_lt_40ep'"):
        load_protocol("cifar100_lt_40")
    with pytest.raises(FileNotFoundError, match="cifar100_lt_40ep"):
        load_protocol(tmp_path / "cifar100_lt_40epp.yaml")
    for content, message in (
        ("- 1", "`key: value` lines"),
        ("a: [", "is not YAML"),
        ("title: x", "among them `name`"),
    ):
        path = tmp_path / "broken.yaml"
        path.write_text(content, encoding="utf-8")
        with pytest.raises(ValueError, match=message):
            load_protocol(path)


@pytest.mark.parametrize("name", ["", "..", "../elsewhere", "a/b", "a\\b", "two words"])
def test_a_name_is_that_of_a_folder(tmp_path, name):
    path = tmp_path / "named.yaml"
    path.write_text(yaml.safe_dump({**PROTOCOL, "name": name}), encoding="utf-8")
    with pytest.raises(ValueError, match="name must be letters, digits"):
        load_protocol(path)


def test_yaml_words_stay_words(tmp_path):
    path = tmp_path / "words.yaml"
    path.write_text(yaml.safe_dump(PROTOCOL).replace("'no'", "no").replace("0.02", "2e-2"), encoding="utf-8")
    protocol = load_protocol(path)
    assert protocol.arguments["mixed_precision_mode"] == "no"
    assert protocol.arguments["learning_rate"] == 0.02


def test_processes_share_the_batch_of_a_step():
    assert share_of_process({"per_device_train_batch_size": 128}, 4) == {"per_device_train_batch_size": 32}
    assert share_of_process({"learning_rate": 1}, 4) == {"learning_rate": 1}
    with pytest.raises(ValueError, match="128 rows cannot be shared by 3 processes"):
        share_of_process({"per_device_train_batch_size": 128}, 3)
