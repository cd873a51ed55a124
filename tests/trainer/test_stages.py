"""Stages: what is passed on, what is skipped, what continues, and what is refused."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from transformers import TrainerCallback

from hf_ltr import LongTailForImageClassification, LongTailTrainer, class_counts, get_method
from hf_ltr.methods import Stage
from hf_ltr.models import MaskedAutoencoder
from hf_ltr.trainer import run_stages
from hf_ltr.trainer.evaluation import evaluate_model
from hf_ltr.trainer.stage_model import build_stage_model
from hf_ltr.trainer.stage_plan import STAGE_FILE, stage_arguments

from ..contracts.builders import make_config, make_dataset, make_method

NAMES = ("pretraining", "finetuning", "modulator")
ARGUMENTS = {
    "per_device_train_batch_size": 8,
    "per_device_eval_batch_size": 16,
    "learning_rate": 1e-3,
    "optim": "adamw_torch_fused",
    "warmup_epochs": 0.5,
    "mixed_precision_mode": "no",
    "augmentation": ["random_crop"],
    "augmentation_options": {"random_crop": {"padding": 1}},
    "save_strategy": "steps",
    "save_steps": 2,
    "logging_strategy": "no",
    "disable_tqdm": True,
    "max_steps": 6,
    "seed": 3,
}


class Interrupted(Exception):
    """Stands for a killed process."""


class InterruptAt(TrainerCallback):
    """Breaks the run off in the middle of a stage, after the checkpoint of step 4 was written."""

    def __init__(self, stage: str, step: int = 5):
        self.stage, self.step = stage, step

    def on_step_end(self, args, state, control, **kwargs):
        if Path(args.output_dir).name == self.stage and state.global_step == self.step:
            raise Interrupted


class InterruptAfterTraining(TrainerCallback):
    """Breaks the run off after the last step and its checkpoint, before the stage is recorded."""

    def __init__(self, stage: str):
        self.stage = stage

    def on_train_end(self, args, state, control, **kwargs):
        if Path(args.output_dir).name == self.stage:
            raise Interrupted


class Steps(TrainerCallback):
    """Steps made, by stage."""

    def __init__(self):
        self.made: dict[str, list[int]] = {}

    def on_step_end(self, args, state, control, **kwargs):
        self.made.setdefault(Path(args.output_dir).name, []).append(state.global_step)


def mem_stages(dataset) -> tuple[list[Stage], object]:
    counts = class_counts(dataset)
    stages = make_method("mem", counts).stages()
    stages[0].config["masked_autoencoder"] = {"decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2}
    return stages, make_config(counts)


def run(folder, *callbacks, stages=None, dataset=None, **changes):
    dataset = make_dataset() if dataset is None else dataset
    own, config = mem_stages(dataset)
    return run_stages(
        own if stages is None else stages,
        config=config,
        arguments={**ARGUMENTS, **changes},
        train_dataset=dataset,
        test_dataset=make_dataset(seed=1),
        output_dir=folder,
        callbacks=list(callbacks),
    )


def stored(folder, stage: str) -> dict[str, np.ndarray]:
    return load_file(Path(folder) / stage / "model.safetensors")


def assert_same_weights(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    folder = tmp_path_factory.mktemp("straight")
    steps = Steps()
    return folder, run(folder, steps), steps


def test_what_is_reported_is_measured_on_the_test_set(tmp_path):
    """Once, after the last epoch; the validation images are for the training."""
    data, test = make_dataset(), make_dataset(seed=1)
    validation = make_dataset(seed=5).filter(lambda row: row["label"] == 0)
    stage = Stage("train", get_method("cross_entropy", class_counts=class_counts(data)))
    seen = []

    class Trainer(LongTailTrainer):
        def evaluate_once(self, dataset):
            seen.append(dataset)
            return super().evaluate_once(dataset)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hf_ltr.trainer.stages.LongTailTrainer", Trainer)
        results = run_stages(
            [stage],
            config=make_config(class_counts(data)),
            arguments=ARGUMENTS,
            train_dataset=data,
            validation_dataset=validation,
            test_dataset=test,
            output_dir=tmp_path,
            log=lambda text: None,
        )
    assert [dataset is test for dataset in seen] == [True]
    model = LongTailForImageClassification.from_pretrained(tmp_path / "train")
    options = {"mixed_precision_mode": "no", "use_cpu": True}
    metrics = [evaluate_model(model, dataset, options) for dataset in (test, validation)]
    assert results["train"].metrics["loss"] == pytest.approx(metrics[0]["loss"], rel=1e-5)
    assert results["train"].metrics["accuracy"] == metrics[0]["accuracy"]
    assert metrics[0]["loss"] != pytest.approx(metrics[1]["loss"], rel=1e-3), "the two splits can be told apart"


def test_every_stage_leaves_a_model_that_loads(straight):
    folder, results, steps = straight
    assert tuple(results) == NAMES
    assert steps.made == {name: [1, 2, 3, 4, 5, 6] for name in NAMES}
    assert results["pretraining"].metrics == {}
    for name in NAMES[1:]:
        assert 0 <= results[name].metrics["accuracy"] <= 1
        assert len(results[name].metrics["per_class_accuracy"]) == 4
    assert isinstance(MaskedAutoencoder.from_pretrained(results["pretraining"].folder), MaskedAutoencoder)
    model = LongTailForImageClassification.from_pretrained(results["modulator"].folder)
    assert model.modulator is not None
    for name in NAMES:
        record = json.loads((folder / name / STAGE_FILE).read_text())
        assert record["metrics"] == results[name].metrics


def test_the_encoder_becomes_the_backbone_unchanged(straight):
    folder, results, _ = straight
    stages, config = mem_stages(make_dataset())
    model = build_stage_model(stages[1], config, results["pretraining"].folder, seed=3)
    encoder = {name: value for name, value in stored(folder, "pretraining").items() if name.startswith("backbone.")}
    assert len(encoder) > 10
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    # Average pooling puts its own norm in the place of the encoder's last one, as in the MAE fine-tuning recipe.
    missing = {name for name in encoder if name not in state}
    assert missing == {"backbone.norm.weight", "backbone.norm.bias"}
    for name in set(encoder) - missing:
        np.testing.assert_array_equal(encoder[name], state[name], err_msg=name)
    # What the encoder does not have is initialised: never left as it was in memory.
    new = {name: value for name, value in state.items() if name not in encoder}
    assert {"classifier.weight", "classifier.bias"} <= set(new)
    assert all(np.isfinite(value).all() and np.abs(value).max() < 10 for value in new.values())
    torch.manual_seed(99)
    again = build_stage_model(stages[1], config, results["pretraining"].folder, seed=3)
    assert_same_weights(state, {name: value.numpy() for name, value in again.state_dict().items()})
    # And fine-tuning trained it.
    tuned = stored(folder, "finetuning")
    assert not np.array_equal(tuned["backbone.blocks.0.attn.qkv.weight"], encoder["backbone.blocks.0.attn.qkv.weight"])


def test_what_a_stage_freezes_is_passed_on_unchanged(straight):
    folder, *_ = straight
    tuned, final = stored(folder, "finetuning"), stored(folder, "modulator")
    for name, value in tuned.items():
        np.testing.assert_array_equal(value, final[name], err_msg=name)
    new = set(final) - set(tuned)
    assert new
    assert all(name.startswith("modulator.") for name in new)


def test_repeating_a_finished_run_trains_nothing(straight):
    folder, results, _ = straight
    written = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    steps = Steps()
    again = run(folder, steps)
    assert steps.made == {}
    assert again == results
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == written


@pytest.mark.parametrize("interrupted", NAMES)
def test_an_interrupted_run_ends_with_the_same_weights(straight, tmp_path, interrupted):
    folder, results, _ = straight
    with pytest.raises(Interrupted):
        run(tmp_path, InterruptAt(interrupted))
    assert not (tmp_path / interrupted / STAGE_FILE).exists()
    torch.manual_seed(12345)  # a new process
    np.random.seed(54321)
    steps = Steps()
    finished = run(tmp_path, steps)
    position = NAMES.index(interrupted)
    expected = {name: [1, 2, 3, 4, 5, 6] for name in NAMES[position + 1 :]}
    assert steps.made == {interrupted: [5, 6], **expected}
    for name in NAMES:
        assert_same_weights(stored(folder, name), stored(tmp_path, name))
        assert finished[name].metrics == results[name].metrics


def test_a_checkpoint_cut_off_in_writing_is_passed_over(straight, tmp_path):
    folder, *_ = straight
    with pytest.raises(Interrupted):
        run(tmp_path, InterruptAt("finetuning"), save_total_limit=3)
    newest = tmp_path / "finetuning" / "checkpoint-4"
    (newest / "trainer_state.json").unlink()
    steps = Steps()
    run(tmp_path, steps, save_total_limit=3)
    assert steps.made["finetuning"] == [3, 4, 5, 6]
    assert_same_weights(stored(folder, "modulator"), stored(tmp_path, "modulator"))


def test_an_interruption_between_training_and_the_record_is_repaired(straight, tmp_path):
    """The last checkpoint was written, the model only by half, `stage.json` not at all."""
    folder, *_ = straight
    with pytest.raises(Interrupted):
        run(tmp_path, InterruptAfterTraining("modulator"))
    assert [path.name for path in (tmp_path / "modulator").glob("checkpoint-*")] == ["checkpoint-6"]
    (tmp_path / "modulator" / "model.safetensors").write_bytes(b"half a file")
    steps = Steps()
    run(tmp_path, steps)
    assert steps.made == {}  # not one step more than the run has
    assert_same_weights(stored(folder, "modulator"), stored(tmp_path, "modulator"))
    assert list((tmp_path / "modulator").glob("checkpoint-*")) == []


def test_seconds_of_all_sessions_are_counted(tmp_path):
    class Slow(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            time.sleep(0.1)

    with pytest.raises(Interrupted):
        run(tmp_path, Slow(), InterruptAt("finetuning"))
    finished = run(tmp_path)
    # Four steps of the first session were kept.
    assert 0.4 <= finished["finetuning"].seconds
    assert finished["pretraining"].seconds >= 0.6


def test_a_folder_of_another_run_is_refused(straight):
    folder, *_ = straight
    with pytest.raises(ValueError, match="finished stage of another run.*learning_rate: 0.001 there, 0.002 here"):
        run(folder, learning_rate=0.002)
    with pytest.raises(ValueError, match="another run.*class_counts"):
        run(folder, dataset=make_dataset([16, 10, 7, 5]))
    stages, _ = mem_stages(make_dataset())
    stages[0] = Stage("pretraining", make_method("cross_entropy", [16, 10, 7, 4]))
    with pytest.raises(ValueError, match="masked_autoencoding.*there"):
        run(folder, stages=stages)


def test_an_unfinished_stage_of_another_run_is_refused(tmp_path):
    with pytest.raises(Interrupted):
        run(tmp_path, InterruptAt("pretraining"))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match="another run.*seed: 3 there, 4 here"):
        run(tmp_path, seed=4)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_stage_starts_only_from_an_earlier_one(tmp_path):
    counts = class_counts(make_dataset())
    stage = Stage("finetuning", get_method("cross_entropy", class_counts=counts), start="stage:pretrainig")
    with pytest.raises(ValueError, match="starts from 'stage:pretrainig'.*stages before it are none"):
        run(tmp_path, stages=[stage])
    twice = [Stage("a", get_method("cross_entropy", class_counts=counts)) for _ in range(2)]
    with pytest.raises(ValueError, match="Stage names must differ"):
        run(tmp_path, stages=twice)
    assert list(tmp_path.iterdir()) == []


def test_a_warmup_as_long_as_a_later_stage_is_found_before_the_first(tmp_path):
    counts = class_counts(make_dataset())
    stages = [
        Stage("first", get_method("cross_entropy", class_counts=counts), arguments={"max_steps": 3}),
        Stage(
            "second",
            get_method("cross_entropy", class_counts=counts),
            start="stage:first",
            arguments={"max_steps": -1, "num_train_epochs": 2, "warmup_steps": 0, "warmup_epochs": 2},
        ),
    ]
    with pytest.raises(ValueError, match="Stage 'second'.*warm-up of 2 epochs is as long as the run of 2 epochs"):
        run(tmp_path, stages=stages)
    assert list(tmp_path.iterdir()) == []


def test_a_stage_starts_from_a_folder(straight, tmp_path):
    folder, *_ = straight
    counts = class_counts(make_dataset())
    crt = Stage("classifier", get_method("crt", class_counts=counts), start=str(folder / "finetuning"))
    run(tmp_path, stages=[crt])
    tuned, final = stored(folder, "finetuning"), stored(tmp_path, "classifier")
    for name, value in tuned.items():
        assert np.array_equal(value, final[name]) is not name.startswith("classifier."), name


def test_an_interrupted_stage_does_not_go_on_from_another_start(straight, tmp_path):
    folder, *_ = straight
    method = get_method("crt", class_counts=class_counts(make_dataset()))

    def stages(start):
        return [Stage("classifier", method, start=str(start))]

    other = tmp_path / "other"
    shutil.copytree(folder / "finetuning", other)
    with pytest.raises(Interrupted):
        run(tmp_path / "run", InterruptAt("classifier"), stages=stages(folder / "finetuning"))
    with pytest.raises(ValueError, match="another run.*start: .*finetuning.* there, .*other.* here"):
        run(tmp_path / "run", stages=stages(other))
    assert run(tmp_path / "run", stages=stages(folder / "finetuning"))["classifier"].metrics


def test_a_start_of_other_classes_is_refused(straight, tmp_path):
    folder, *_ = straight
    dataset = make_dataset([8, 6, 4])
    counts = class_counts(dataset)
    stage = Stage("train", get_method("cross_entropy", class_counts=counts), start=str(folder / "finetuning"))
    with pytest.raises(ValueError, match="other classes.*4 classes there, 3 here"):
        run_stages(
            [stage],
            config=make_config(counts),
            arguments=ARGUMENTS,
            train_dataset=dataset,
            output_dir=tmp_path,
        )


def test_an_unknown_config_field_is_refused(tmp_path):
    counts = class_counts(make_dataset())
    stage = Stage("train", get_method("cross_entropy", class_counts=counts), config={"drop_path": 0.1})
    with pytest.raises(ValueError, match="drop_path_rate"):
        run(tmp_path, stages=[stage])


def test_options_of_a_stage_win_over_the_common_ones(tmp_path):
    counts = class_counts(make_dataset())
    short = Stage("short", get_method("cross_entropy", class_counts=counts), arguments={"max_steps": 3})
    long = Stage("long", get_method("cross_entropy", class_counts=counts))
    steps = Steps()
    run(tmp_path, steps, stages=[short, long])
    assert steps.made == {"short": [1, 2, 3], "long": [1, 2, 3, 4, 5, 6]}


def test_a_stage_is_never_pushed_and_knows_no_token(tmp_path):
    counts = class_counts(make_dataset())
    own = {"max_steps": 3, "hub_token": "hf_abc", "push_to_hub": True}
    stage = Stage("train", get_method("cross_entropy", class_counts=counts), arguments=own)
    said: list[str] = []
    arguments = stage_arguments(stage, [stage], {"seed": 1, "hub_model_id": "a/b"}, tmp_path, said.append)
    assert arguments == {"eval_strategy": "no", "seed": 1, "max_steps": 3, "output_dir": str(tmp_path)}
    assert said == ["train: without hub_token, push_to_hub; the final model of the run alone is pushed"]
