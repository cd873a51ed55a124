"""A metric that no evaluation has is found before the first step, and those that evaluation has are known."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import numpy as np
import pytest

from hf_ltr.methods import Stage
from hf_ltr.trainer import run_stages
from hf_ltr.trainer.evaluation_loop import check_metric_for_best_model, metric_names

from ..contracts.builders import COUNTS, make_config, make_dataset, make_method, make_model, make_trainer, weights

BEST = {"eval_strategy": "epoch", "save_strategy": "epoch", "load_best_model_at_end": True, "num_train_epochs": 1}


@pytest.mark.parametrize("name", ["cross_entropy", "mem"])
def test_the_names_are_those_an_evaluation_reports(tmp_path, name):
    trainer = make_trainer(name, tmp_path)
    for dataset in (make_dataset(seed=1), make_dataset(seed=1).filter(lambda row: row["label"] != 3)):
        reported = trainer.evaluate(dataset)
        numbers = {key.removeprefix("eval_") for key, value in reported.items() if isinstance(value, int | float)}
        speed = {key for key in numbers if key.endswith("_per_second") or key in ("runtime", "epoch")}
        speed |= {key for key in numbers if "preparation" in key}
        assert set(metric_names(trainer.model.config, dataset)) == numbers - speed


@pytest.mark.parametrize(
    "metric, message",
    [
        ("balanced_acuracy", "Did you mean 'balanced_accuracy'"),
        ("eval_f1", "Unknown metric_for_best_model: 'eval_f1'"),
        ("per_class_accuracy", "Unknown metric_for_best_model"),  # a list
        ("expected_calibration_error", "greater_is_better=False"),
    ],
)
def test_a_metric_that_cannot_choose_is_found_before_the_first_epoch(tmp_path, metric, message):
    with pytest.raises(ValueError, match=message):
        make_trainer("cross_entropy", tmp_path / "bare", metric_for_best_model=metric, **BEST)
    data = make_dataset()
    with pytest.raises(ValueError, match=message):
        run_stages(
            [Stage("train", make_method("cross_entropy", COUNTS))],
            config=make_config(COUNTS),
            arguments={"metric_for_best_model": metric, **BEST},
            train_dataset=data,
            validation_dataset=make_dataset(seed=1),
            output_dir=tmp_path / "stages",
        )
    assert not list(tmp_path.rglob("run.json"))


def test_a_group_without_images_is_no_metric():
    config = make_config(COUNTS)  # 16, 10, 7 and 4 images: all few
    args = SimpleNamespace(metric_for_best_model="many", eval_strategy="epoch", greater_is_better=True)
    with pytest.raises(ValueError, match="metric_for_best_model: 'many'"):
        check_metric_for_best_model(args, config, make_dataset())
    args.metric_for_best_model = "few"
    check_metric_for_best_model(args, config, make_dataset())
    with pytest.raises(ValueError, match="Did you mean 'old_few' or 'new_few'"):
        check_metric_for_best_model(args, config, {"new": make_dataset(), "old": make_dataset()})
    args.metric_for_best_model = "old_few"
    check_metric_for_best_model(args, config, {"new": make_dataset(), "old": make_dataset()})


def test_names_of_own_metrics_are_not_guessed(tmp_path):
    from hf_ltr import LongTailTrainer

    from ..contracts.builders import make_arguments

    method = make_method("cross_entropy", COUNTS)
    trainer = LongTailTrainer(
        model=make_model(method),
        args=make_arguments(tmp_path, metric_for_best_model="mine", **BEST),
        method=method,
        train_dataset=make_dataset(),
        eval_dataset=make_dataset(seed=1),
        compute_metrics=lambda prediction: {"mine": 1.0},
    )
    trainer.train()
    assert trainer.state.best_metric == 1.0


def test_the_best_weights_are_found_in_a_moved_folder_or_their_loss_is_said(tmp_path, caplog, monkeypatch):
    """A later checkpoint that is not better: continued elsewhere, the best one is taken in the end, or nothing is."""
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    options = BEST | {"num_train_epochs": 2, "metric_for_best_model": "loss", "save_total_limit": None}

    class Worse:
        """The first evaluation is the best one."""

        def __init__(self, trainer):
            self.evaluate, self.times = trainer.evaluate, 0
            trainer.evaluate = self

        def __call__(self, *args, **kwargs):
            self.times += 1
            return {**self.evaluate(*args, **kwargs), "eval_loss": float(self.times)}

    trainer = make_trainer("cross_entropy", tmp_path / "first", **options)
    Worse(trainer)
    trainer.train()
    assert trainer.state.best_model_checkpoint == str(tmp_path / "first" / "checkpoint-5")
    states = [path.read_text() for path in (tmp_path / "first").glob("checkpoint-*/trainer_state.json")]
    assert len(states) == 2 and all('"checkpoint-5"' in text and str(tmp_path) not in text for text in states)
    (tmp_path / "first").rename(tmp_path / "moved")
    again = make_trainer("cross_entropy", tmp_path / "moved", **options)
    with caplog.at_level("WARNING", "transformers.trainer"):
        again.train(resume_from_checkpoint=True)
    assert "does not exist" not in caplog.text
    assert again.state.best_model_checkpoint == str(tmp_path / "moved" / "checkpoint-5")
    for name, value in weights(trainer).items():
        np.testing.assert_array_equal(value, weights(again)[name])
    (tmp_path / "moved" / "checkpoint-5" / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="checkpoint-5 has the best weights so far.* but its weights are missing"):
        make_trainer("cross_entropy", tmp_path / "moved", **options).train(resume_from_checkpoint=True)
