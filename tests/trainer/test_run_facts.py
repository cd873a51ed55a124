"""What makes a run another run, and what does not."""

from __future__ import annotations

import dataclasses
import json

import pytest

from hf_ltr import LongTailTrainingArguments, class_counts, get_method
from hf_ltr.trainer.run_facts import EXEMPT, SELECTING, compared_arguments, json_facts, run_facts
from hf_ltr.trainer.run_folder import RUN_FILE, check_folder, claim_folder, fact_differences, recorded_sampler

from ..contracts.builders import COUNTS, make_arguments, make_config, make_dataset, make_method

DATASET = make_dataset()


def facts(tmp_path, dataset=DATASET, method="cross_entropy", **changes):
    method = make_method(method, class_counts(dataset)) if isinstance(method, str) else method
    return run_facts(make_config(COUNTS, method), method, make_arguments(tmp_path, **changes), dataset)


def without(facts, *path):
    facts = json_facts(facts)
    *parents, last = path
    place = facts
    for key in parents:
        place = place[key]
    del place[last]
    return facts


def test_every_argument_is_compared_or_exempt_with_a_reason():
    names = {field.name for field in dataclasses.fields(LongTailTrainingArguments) if field.init}
    compared = set(compared_arguments())
    assert compared | EXEMPT.keys() | SELECTING.keys() >= names
    assert not compared & (EXEMPT.keys() | SELECTING.keys())
    assert all(len(reason.split()) > 4 for reason in (*EXEMPT.values(), *SELECTING.values()))
    # By name: what an argument is called says nothing about what it does.
    assert {"dataloader_drop_last", "dataloader_in_order", "auto_find_batch_size", "seed", "tf32"} <= compared
    assert {"dataloader_num_workers", "output_dir", "hub_token", "cpu_threads"} <= EXEMPT.keys()


@pytest.mark.parametrize("changes", [{"dataloader_drop_last": True}, {"gradient_accumulation_steps": 2}, {"seed": 4}])
def test_what_changes_the_run_is_refused(tmp_path, changes):
    claim_folder(tmp_path, facts(tmp_path))
    name = "global_batch_size" if "gradient_accumulation_steps" in changes else next(iter(changes))
    with pytest.raises(ValueError, match=rf"holds another run \(arguments\.{name}: "):
        check_folder(tmp_path, facts(tmp_path, **changes))


def test_what_does_not_change_the_run_may_change(tmp_path):
    claim_folder(tmp_path, facts(tmp_path))
    half = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
    for changes in (half, {"dataloader_num_workers": 2}, {"eval_strategy": "epoch"}, {"save_steps": 7}):
        check_folder(tmp_path, facts(tmp_path, **changes))


def test_an_argument_that_an_earlier_version_compared_is_no_difference(tmp_path):
    recorded = facts(tmp_path)
    recorded["arguments"]["mixed_precision_mode"] = "no"
    del recorded["at_default"]
    assert fact_differences(recorded, facts(tmp_path)) == []


def test_when_the_model_is_measured_counts_where_the_best_is_taken(tmp_path):
    best = {"load_best_model_at_end": True, "eval_strategy": "epoch", "save_strategy": "epoch"}
    by_steps = best | {"eval_strategy": "steps", "save_strategy": "steps", "eval_steps": 2, "save_steps": 2}
    found = fact_differences(facts(tmp_path, **best), facts(tmp_path, **by_steps))
    assert any(text.startswith("arguments.eval_strategy: ") for text in found)


def test_an_argument_only_one_side_knows_is_no_difference_at_its_default(tmp_path):
    claim_folder(tmp_path, facts(tmp_path))
    recorded = json.loads((tmp_path / RUN_FILE).read_text())

    def write(changed):
        (tmp_path / RUN_FILE).write_text(json.dumps(changed))

    for name in ("tf32", "dataloader_drop_last", "adam_beta1", "momentum", "bf16", "augmentation_options"):
        changed = without(recorded, "arguments", name)
        write(changed)
        if name == "augmentation_options":  # is set in this run
            with pytest.raises(ValueError, match=r"arguments\.augmentation_options: unknown there, "):
                check_folder(tmp_path, facts(tmp_path))
        else:
            check_folder(tmp_path, facts(tmp_path))
    with pytest.raises(ValueError, match=r"arguments\.momentum: unknown there, 0\.5 here"):
        write(without(recorded, "arguments", "momentum"))
        check_folder(tmp_path, facts(tmp_path, momentum=0.5))
    # The other way round: a run of a later version, at its default or not.
    for value, refused in ((0.7, True), (False, False), (None, False)):
        changed = json_facts(recorded)
        changed["arguments"]["future"] = value
        write(changed)
        if refused:
            with pytest.raises(ValueError, match=r"arguments\.future: 0\.7 there, unknown here"):
                check_folder(tmp_path, facts(tmp_path))
        else:
            check_folder(tmp_path, facts(tmp_path))
    changed["arguments"]["future"] = 0.7
    changed["at_default"].append("arguments.future")
    write(changed)
    check_folder(tmp_path, facts(tmp_path))


@pytest.mark.parametrize("path", [("model", "drop_path_rate"), ("model", "output_hidden_states")])
def test_a_field_of_the_model_only_one_side_knows(tmp_path, path):
    here = facts(tmp_path)
    assert ".".join(path) in here["at_default"]
    assert fact_differences(without(here, *path), here) == fact_differences(here, without(here, *path)) == []


def test_an_option_of_a_method_only_one_side_knows(tmp_path):
    method = get_method("deferred_reweighting", class_counts=COUNTS, base="ldam")
    here = facts(tmp_path, method=method)
    nested = ("method", "base", "options", "max_margin")
    assert fact_differences(without(here, *nested), here) == fact_differences(here, without(here, *nested)) == []
    other = facts(
        tmp_path,
        method=get_method(
            "deferred_reweighting", class_counts=COUNTS, base=get_method("ldam", class_counts=COUNTS, max_margin=0.3)
        ),
    )
    assert fact_differences(without(here, *nested), other) == [
        "method.base.options.max_margin: unknown there, 0.3 here"
    ]
    assert fact_differences(here, other) == ["method.base.options.max_margin: 0.5 there, 0.3 here"]


def test_other_rows_of_the_same_classes_are_another_run(tmp_path):
    claim_folder(tmp_path, facts(tmp_path))
    labels = list(DATASET["label"])
    order = list(range(len(labels)))
    first, second = [row for row, label in enumerate(labels) if label == 0][:2]
    order[first], order[second] = second, first
    replaced = make_dataset(seed=5)
    for dataset in (DATASET.select(order), DATASET.shuffle(seed=1), DATASET.select(order[::-1]), replaced):
        assert class_counts(dataset).counts == COUNTS
        with pytest.raises(ValueError, match=r"holds another run \(data\.row_hash: "):
            check_folder(tmp_path, facts(tmp_path, dataset=dataset))
    check_folder(tmp_path, facts(tmp_path, dataset=make_dataset()))


def test_runs_of_the_version_before_are_still_known(tmp_path):
    here = facts(tmp_path)
    earlier = json_facts({key: value for key, value in here.items() if key != "at_default"})
    earlier["data"]["row_hash"] = "of places, not of contents"
    del earlier["data"]["row_identity"], earlier["arguments"]["dataloader_drop_last"]
    assert fact_differences(earlier, facts(tmp_path, dataloader_drop_last=True)) == []
    earlier["data"]["rows"] = 5
    assert fact_differences(earlier, here) == ["data.rows: 5 there, 37 here"]


def test_modules_stood_beside_other_fields_in_the_version_before(tmp_path):
    here = json_facts(facts(tmp_path, method="mem"))
    there = {**here, "model": {**here["model"]}}
    there["model"] |= there["model"].pop("modules")
    assert "modulator" in there["model"] and fact_differences(there, here) == []
    there["model"]["modulator"] = {**there["model"]["modulator"], "width": 1}
    (found,) = fact_differences(there, here)
    assert found.startswith("model.modules.modulator.width: 1 there, ")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe"])
def test_a_damaged_run_file_is_named(tmp_path, content):
    (tmp_path / RUN_FILE).write_bytes(content)
    with pytest.raises(ValueError, match=r"run\.json cannot be read .*another output_dir"):
        check_folder(tmp_path, facts(tmp_path))


def test_the_stages_of_a_run_know_what_is_at_its_default(tmp_path):
    from hf_ltr.methods import Stage
    from hf_ltr.trainer.stage_plan import root_facts

    here = json_facts(root_facts([Stage("train", make_method("ldam", COUNTS))]))
    there = json_facts(here)
    del there["stages"][0][1]["options"]["max_margin"]
    assert fact_differences(there, here) == fact_differences(here, there) == []
    other = json_facts(root_facts([Stage("train", get_method("ldam", class_counts=COUNTS, max_margin=0.3))]))
    assert fact_differences(here, other) == ["stages.0.1.options.max_margin: 0.5 there, 0.3 here"]
    assert fact_differences(there, other) == ["stages.0.1.options.max_margin: unknown there, 0.3 here"]


def test_a_run_of_another_precision_says_how_it_continues(tmp_path):
    facts = {"arguments": {"bf16": True, "fp16": False, "seed": 0}}
    claim_folder(tmp_path, facts)
    other = {"arguments": {"bf16": False, "fp16": False, "seed": 0}}
    with pytest.raises(ValueError, match="computes in bf16, and .* in float32 .*_mode='bf16' continues it"):
        check_folder(tmp_path, other)
    with pytest.raises(ValueError, match=r"seed: 0 there, 1 here\)\. Use another output_dir"):
        check_folder(tmp_path, {"arguments": {"bf16": True, "fp16": False, "seed": 1}})


def test_the_sampler_of_a_run_is_read_where_it_is(tmp_path):
    assert recorded_sampler(tmp_path) is None and recorded_sampler("owner/name") is None
    (tmp_path / "run.json").write_text(json.dumps({"stages": []}))
    assert recorded_sampler(tmp_path) is None
    (tmp_path / "run.json").write_text(json.dumps({"arguments": {"sampler": "square_root"}}))
    assert recorded_sampler(tmp_path) == "square_root"
