"""Tables from their runs to their files, on digits."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from hf_ltr import LongTailForImageClassification, load_long_tailed
from hf_ltr.data.labels import column_labels
from hf_ltr.evaluation import long_tail_metrics
from hf_ltr.table import Table, load_protocol
from hf_ltr.table.cost import TrainingMeasures
from hf_ltr.table.results import decode_classes
from hf_ltr.trainer.evaluation import evaluate_model

from .conftest import quiet, result

ROWS = ["cross_entropy", "crt", "cross_entropy+logit_adjustment"]
COUNTS = [124, 80, 51, 33, 21, 14, 9, 5, 3, 2]


@pytest.fixture(scope="module")
def finished(protocol_file, tmp_path_factory):
    """Folder of a finished table of three rows and two seeds, with what it announced."""
    folder, said = tmp_path_factory.mktemp("table"), []
    Table(load_protocol(protocol_file), ROWS, [0, 1], folder, command="hf-ltr table", log=said.append).run()
    return folder, said


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted((folder / "results").iterdir())}


def test_every_run_has_its_own_file(finished):
    folder, said = finished
    assert set(contents(folder)) == {f"{row}_seed{seed}.json" for row in ROWS for seed in (0, 1)}
    assert any("[6/6] cross_entropy+logit_adjustment, seed 1: accuracy" in text for text in said)


def test_a_result_says_what_it_is(finished, protocol_file):
    content = result(finished[0], "crt", 1)
    assert (content["row"], content["seed"], content["command"]) == ("crt", 1, "hf-ltr table")
    assert content["description"]["representation"] == {"name": "cross_entropy", "options": {}}
    assert content["settings"]["protocol"] == "tiny"
    assert content["settings"]["data"] == {"dataset": "digits", "imbalance_factor": 50.0}
    stages = content["settings"]["stages"]
    assert stages["representation"]["num_train_epochs"] == 2 and stages["classifier"]["num_train_epochs"] == 1
    assert stages["representation"]["seed"] == stages["classifier"]["seed"] == 1
    assert stages["representation"]["global_batch_size"] == 128
    assert content["data"]["class_counts"] == COUNTS and len(content["data"]["row_hash"]) == 64
    assert content["selection"] == "last epoch" and content["processes"] == 1
    for name in ("hardware", "commit", "date", "versions"):
        assert name in content
    assert {"torch", "transformers", "hf_ltr"} <= set(content["versions"])
    for name in ("accuracy", "balanced_accuracy", "many", "medium", "few", "loss"):
        assert name in content["metrics"]
    assert len(content["per_class_accuracy"]) == 10
    # 342 rows in batches of 128 are three steps an epoch.
    assert [(stage["name"], stage["method"], stage["steps"]) for stage in content["stages"]] == [
        ("representation", "cross_entropy", 6),
        ("classifier", "crt", 3),
    ]
    for stage in content["stages"]:
        assert stage["seconds"] > 0 and stage["peak_memory"]["bytes"] > 2**20 and stage["peak_memory"]["kind"]
        assert (finished[0] / stage["folder"] / "model.safetensors").is_file()


def test_predictions_are_those_that_were_measured(finished):
    data = load_long_tailed("digits", imbalance_factor=50)
    labels = column_labels(data["test"])
    for row in ROWS:
        for seed in (0, 1):
            content = result(finished[0], row, seed)
            predicted = decode_classes(content["predictions"])
            metrics = long_tail_metrics(predicted, labels, COUNTS)
            assert {name: content["metrics"][name] for name in metrics} == pytest.approx(metrics, abs=1e-12)


def test_post_hoc_adjustment_subtracts_the_log_prior_once(finished):
    folder = finished[0] / result(finished[0], "cross_entropy")["stages"][0]["folder"]
    data = load_long_tailed("digits", imbalance_factor=50)
    model = LongTailForImageClassification.from_pretrained(folder)
    kept = []
    handle = model.register_forward_hook(lambda _, __, output: kept.append(output.logits.numpy()))
    options = {"mixed_precision_mode": "no", "use_cpu": True, "cpu_threads": 1}
    _, plain = evaluate_model(model, data["test"], options, return_predictions=True)
    handle.remove()
    logits = np.concatenate(kept)
    assert (logits.argmax(1) == plain).all()
    assert (plain == decode_classes(result(finished[0], "cross_entropy")["predictions"])).all()
    adjusted = (logits - np.log(np.asarray(COUNTS) / sum(COUNTS))).argmax(1)
    assert (adjusted == decode_classes(result(finished[0], ROWS[2])["predictions"])).all()
    assert (adjusted != plain).any()


def test_the_strength_of_the_adjustment_is_the_protocols(finished, write_protocol, tmp_path, trainings):
    folder = tmp_path / "copy"
    shutil.copytree(finished[0], folder)
    (folder / "results" / f"{ROWS[2]}_seed0.json").unlink()
    protocol = load_protocol(write_protocol(post_hoc={"logit_adjustment": {"tau": 0.5}}))
    quiet(protocol, [ROWS[2]], folder).run()
    assert trainings == [], "only evaluated"
    model = LongTailForImageClassification.from_pretrained(
        folder / result(finished[0], "cross_entropy")["stages"][0]["folder"]
    )
    model.set_logit_adjustment({"tau": 0.5, "remove": COUNTS})
    data = load_long_tailed("digits", imbalance_factor=50)
    options = {"mixed_precision_mode": "no", "use_cpu": True, "cpu_threads": 1}
    _, expected = evaluate_model(model, data["test"], options, return_predictions=True)
    predicted = decode_classes(result(folder, ROWS[2])["predictions"])
    assert (predicted == expected).all()
    assert (predicted != decode_classes(result(finished[0], ROWS[2])["predictions"])).any()


def test_a_shared_representation_is_trained_once(protocol_file, tmp_path, trainings):
    rows = ["crt", "cross_entropy", "crt:sampler=instance", "cross_entropy+logit_adjustment"]
    quiet(load_protocol(protocol_file), rows, tmp_path).run()
    assert trainings == ["cross_entropy", "crt", "crt"]
    weights = [
        (tmp_path / result(tmp_path, row)["stages"][0]["folder"] / "model.safetensors").read_bytes()
        for row in ("crt", "cross_entropy", "crt-sampler=instance")
    ]
    assert weights[0] == weights[1] == weights[2]
    assert len(list((tmp_path / "first_stages").iterdir())) == 1


def test_a_finished_table_is_not_run_again(finished, protocol_file, trainings):
    before = contents(finished[0])
    # What does not change a result may change: where it runs, and what it tells.
    protocol = load_protocol(protocol_file, logging_steps=1, per_device_eval_batch_size=50)
    assert quiet(protocol, ROWS, finished[0], (0, 1)).run() == []
    assert trainings == [] and contents(finished[0]) == before


def test_only_what_is_missing_is_run(finished, protocol_file, tmp_path, trainings):
    folder = tmp_path / "copy"
    shutil.copytree(finished[0], folder)
    before = contents(folder)
    (folder / "results" / "crt_seed1.json").unlink()
    quiet(load_protocol(protocol_file), [*ROWS, "balanced_softmax"], folder, (0, 1)).run()
    # The weights of crt were there; its result was not.
    assert trainings == ["balanced_softmax", "balanced_softmax"]
    after = contents(folder)
    assert {name: after[name] for name in before if name != "crt_seed1.json"} == {
        name: content for name, content in before.items() if name != "crt_seed1.json"
    }
    again, first = (json.loads(both["crt_seed1.json"]) for both in (after, before))
    assert again["predictions"] == first["predictions"] and again["metrics"] == first["metrics"]


@pytest.mark.parametrize(
    ("overrides", "difference"),
    [
        ({"learning_rate": 0.03}, "learning_rate: 0.02 there, 0.03 here"),
        ({"num_train_epochs": 3}, "num_train_epochs"),
        ({"per_device_train_batch_size": 64}, "global_batch_size: 128 there, 64 here"),
        ({"backbone": "resnet32_cifar"}, "backbone"),
        ({"imbalance_factor": 20}, "another --output_dir|other data"),
    ],
)
def test_finished_runs_of_other_settings_are_refused(finished, protocol_file, trainings, overrides, difference):
    before = contents(finished[0])
    with pytest.raises(ValueError, match=difference):
        quiet(load_protocol(protocol_file, **overrides), ROWS, finished[0], (0, 1)).run()
    assert trainings == [] and contents(finished[0]) == before


def test_the_batch_may_be_cut_into_micro_batches(finished, protocol_file, trainings):
    protocol = load_protocol(protocol_file, per_device_train_batch_size=64, gradient_accumulation_steps=2)
    assert quiet(protocol, ROWS, finished[0], (0, 1)).run() == []
    assert trainings == []


def test_another_option_of_a_method_is_another_row_or_refused(finished, write_protocol):
    protocol = load_protocol(write_protocol(methods={"crt": {"options": {"sampler": "instance"}}}))
    with pytest.raises(ValueError, match="description.options.sampler"):
        quiet(protocol, ["crt"], finished[0]).run()


def test_an_option_that_is_new_with_its_default_changes_nothing(finished, protocol_file, tmp_path, trainings):
    folder = tmp_path / "copy"
    shutil.copytree(finished[0], folder)
    content = result(folder, "crt")
    content["description"]["options"].pop("norm")  # as if it had been written before that option was there
    (folder / "results" / "crt_seed0.json").write_text(json.dumps(content))
    assert quiet(load_protocol(protocol_file), ["crt"], folder).run() == []
    assert trainings == []


def test_an_interrupted_table_continues_where_it_stopped(finished, protocol_file, tmp_path, monkeypatch, trainings):
    steps = []

    def stop(self, args, state, control, **kwargs):
        steps.append(state.global_step)
        if len(steps) == 5:  # in the second epoch of the first run
            raise KeyboardInterrupt

    table = quiet(load_protocol(protocol_file), ROWS, tmp_path)
    monkeypatch.setattr(TrainingMeasures, "on_step_end", stop, raising=False)
    with pytest.raises(KeyboardInterrupt):
        table.run()
    assert not (tmp_path / "results").exists()
    assert quiet(load_protocol(protocol_file), ROWS, tmp_path).report().markdown().count("not run") == 3

    quiet(load_protocol(protocol_file), ROWS, tmp_path).run()
    # Steps 1 to 3 were saved with the first epoch: 4 to 6 of it, then three of the classifier.
    assert steps == [1, 2, 3, 4, 5, 4, 5, 6, 1, 2, 3]
    assert trainings == ["cross_entropy", "cross_entropy", "crt"]
    for row in ROWS:
        assert result(tmp_path, row)["predictions"] == result(finished[0], row)["predictions"]
        assert result(tmp_path, row)["metrics"] == result(finished[0], row)["metrics"]
    assert result(tmp_path, "cross_entropy")["stages"][0]["steps"] == 6


def test_a_run_that_diverges_does_not_stop_the_others(write_protocol, tmp_path):
    protocol = load_protocol(write_protocol(methods={"balanced_softmax": {"arguments": {"learning_rate": 1e30}}}))
    table = quiet(protocol, ["balanced_softmax", "cross_entropy"], tmp_path)
    with pytest.raises(FloatingPointError, match="1 of 2 runs diverged. balanced_softmax, seed 0: "):
        table.run()
    assert set(contents(tmp_path)) == {"cross_entropy_seed0.json"}
    assert "Not run: balanced_softmax" in table.report().markdown()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["cross_entropy", "balanced_softmax+logit_adjustment"], "corrects twice"),
        (["cross_entropy", "ldam:margin=3"], "Unknown option of ldam"),
        (["cross_entropy", "mem"], "needs a plain timm VisionTransformer"),
        (["cross_entropy", "cross-entropy"], "cross_entropy is given more than once"),
        ([], "needs rows"),
    ],
)
def test_mistakes_are_found_before_the_first_run(protocol_file, tmp_path, rows, message, trainings):
    with pytest.raises(ValueError, match=message):
        quiet(load_protocol(protocol_file), rows, tmp_path / "table").run()
    assert trainings == [] and not (tmp_path / "table").exists()


def test_contradicting_arguments_of_the_last_row_are_found_before_the_first_run(write_protocol, tmp_path, trainings):
    protocol = load_protocol(write_protocol(methods={"ldam": {"arguments": {"mixup_alpha": 0.5}}}))
    with pytest.raises(ValueError, match="ldam needs hard labels"):
        quiet(protocol, ["cross_entropy", "ldam"], tmp_path / "table").run()
    assert trainings == [] and not (tmp_path / "table" / "first_stages").exists()


def test_a_row_may_have_other_training_images(write_protocol, tmp_path):
    protocol = load_protocol(write_protocol(methods={"balanced_softmax": {"data": {"imbalance_factor": 100}}}))
    table = quiet(protocol, ["cross_entropy", "balanced_softmax"], tmp_path)
    table.run()
    fewer = result(tmp_path, "balanced_softmax")["data"]["class_counts"]
    assert sum(fewer) < sum(COUNTS)
    report = table.report()
    text = report.markdown()
    assert f"balanced_softmax was trained on {sum(fewer)} images, the other rows on 342 (imbalance_factor=100" in text
    assert "cross_entropy was trained" not in text
    # One grouping for the table: class 4 has 21 images under the protocol, and fewer in this row.
    predicted = decode_classes(result(tmp_path, "balanced_softmax")["predictions"])
    labels = column_labels(load_long_tailed("digits", imbalance_factor=50)["test"])
    metrics = long_tail_metrics(predicted, labels, COUNTS)
    for group in ("many", "medium", "few"):
        assert report.rows[1].values[group]["mean"] == pytest.approx(metrics[group])


def test_methods_of_computed_classifiers_take_no_steps(protocol_file, tmp_path):
    quiet(load_protocol(protocol_file), ["tau_norm"], tmp_path).run()
    stages = result(tmp_path, "tau_norm")["stages"]
    assert [stage["steps"] for stage in stages] == [6, 0]


@pytest.mark.slow
def test_real_images(shared_data, tmp_path):
    protocol = load_protocol(
        "cifar100_lt_40ep",
        data_dir=str(shared_data / "cifar100"),
        max_steps=1,
        warmup_epochs=0,
        per_device_train_batch_size=16,
        use_cpu=True,
        cpu_threads=1,
        mixed_precision_mode="no",
    )
    table = quiet(protocol, ["cross_entropy"], tmp_path)
    table.run()
    content = result(tmp_path, "cross_entropy")
    assert content["data"]["class_counts"][0] == 500 and sum(content["data"]["class_counts"]) == 10847
    assert content["predictions"]["images"] == 10000
    assert str(shared_data) not in json.dumps(content)
    assert "38.3" in table.report().markdown()
