"""The end of a run: `finalize`, runs without any step, and reading a dataset once."""

from __future__ import annotations

import numpy as np
import torch

from hf_ltr import LongTailForImageClassification, LongTailTrainer, class_counts
from hf_ltr.methods import Stage
from hf_ltr.methods.cross_entropy import CrossEntropy
from hf_ltr.trainer import run_stages

from ..contracts.builders import (
    make_arguments,
    make_config,
    make_dataset,
    make_method,
    make_model,
    make_trainer,
    weights,
)

TINY = {
    **{"num_train_epochs": 1, "per_device_train_batch_size": 16, "learning_rate": 0.01, "warmup_epochs": 0},
    **{"mixed_precision_mode": "no", "disable_tqdm": True, "augmentation": ["none"], "seed": 1},
}


class _DoubleTheBias(CrossEntropy):
    """Sets the bias to twice what the checkpoint holds plus one: applied twice, it would show."""

    calls: list[str]

    def __init__(self, class_counts):
        super().__init__(class_counts)
        self.calls = []

    def setup(self, trainer):
        self.calls.append("setup")

    def finalize(self, trainer):
        self.calls.append("finalize")
        with torch.no_grad():
            trainer.model.classifier.bias.mul_(2).add_(1)


def test_finalize_runs_once_at_the_end_and_does_not_move_the_random_state(tmp_path):
    plain = make_trainer("cross_entropy", tmp_path / "plain", max_steps=2)
    plain.train()
    state = torch.get_rng_state()
    dataset = make_dataset()
    method = _DoubleTheBias(class_counts(dataset))
    trainer = LongTailTrainer(
        model=make_model(method),
        args=make_arguments(tmp_path / "other", max_steps=2),
        method=method,
        train_dataset=dataset,
        eval_dataset=make_dataset(seed=1),
    )
    trainer.train()
    assert trainer.method.calls == ["setup", "finalize"]
    assert torch.equal(state, torch.get_rng_state())
    before, after = weights(plain), weights(trainer)
    np.testing.assert_allclose(
        after.pop("model.classifier.bias"), 2 * before.pop("model.classifier.bias") + 1, rtol=1e-6
    )
    for name, value in before.items():
        np.testing.assert_array_equal(value, after[name])


def test_a_stage_of_no_epochs_is_set_up_finalised_and_saved(tmp_path):
    dataset = make_dataset()
    counts = class_counts(dataset)
    method = _DoubleTheBias(counts)
    stages = [
        Stage("first", CrossEntropy(counts)),
        Stage("second", method, start="stage:first", arguments={"num_train_epochs": 0}),
    ]
    told: list[str] = []
    options = {
        **{"config": make_config(counts), "arguments": TINY, "train_dataset": dataset},
        **{"test_dataset": make_dataset(seed=1), "output_dir": tmp_path, "log": told.append},
    }
    results = run_stages(stages, **options)
    assert method.calls == ["setup", "finalize"]
    first = LongTailForImageClassification.from_pretrained(results["first"].folder)
    second = LongTailForImageClassification.from_pretrained(results["second"].folder)
    torch.testing.assert_close(second.classifier.bias, 2 * first.classifier.bias + 1)
    assert torch.equal(second.classifier.weight, first.classifier.weight)
    assert results["second"].metrics["accuracy"] >= 0
    run_stages(stages, **options)
    assert method.calls == ["setup", "finalize"]
    assert "finished before" in told[-1]


def test_eval_pass_reads_all_rows_in_order_without_augmentation(tmp_path):
    trainer = make_trainer("cross_entropy", tmp_path, max_steps=1)
    trainer.model.train()
    dataset = trainer.train_dataset
    rows = trainer.eval_pass(dataset, lambda outputs, batch: (batch["index"], batch["labels"], outputs.features))
    assert trainer.model.training
    index, labels, features = (torch.cat(parts) for parts in zip(*rows, strict=True))
    assert index.tolist() == list(range(len(dataset)))
    assert labels.tolist() == dataset["label"][:]
    assert not features.requires_grad
    pixels = trainer.processing_class(images=dataset["image"][:], return_tensors="pt")["pixel_values"]
    trainer.model.eval()
    with torch.no_grad():
        torch.testing.assert_close(features, trainer.model(pixels).features, rtol=1e-5, atol=1e-6)


def test_deferred_reweighting_goes_around_any_loss(tmp_path):
    method = make_method("deferred_reweighting", [16, 10, 7, 4], base="balanced_softmax")
    assert method.adds_prior and method.describe()["base"]["name"] == "balanced_softmax"
    assert make_arguments(tmp_path).num_train_epochs == 2


def test_trained_weights_are_no_longer_called_normalised(tmp_path):
    """A record that outlives its weights would keep a model from being normalised again."""
    trainer = make_trainer("tau_norm", tmp_path / "a", max_steps=1, method_options={"tau": 1.0})
    trainer.train()
    assert trainer.model.config.head_options["tau"] == 1.0
    counts = trainer.method.class_counts
    again = LongTailTrainer(
        model=trainer.model,
        args=make_arguments(tmp_path / "b", max_steps=1),
        method=CrossEntropy(counts),
        train_dataset=make_dataset(),
    )
    again.train()
    assert "tau" not in (again.model.config.head_options or {})


def test_the_offset_of_the_prior_is_exact_in_double(tmp_path):
    model = make_trainer("cross_entropy", tmp_path, max_steps=1).model
    model.set_logit_adjustment({"tau": 0.7, "remove": [16, 10, 7, 4]})
    model = model.double().eval()
    with torch.no_grad():
        outputs = model(torch.randn(2, 1, 8, 8, dtype=torch.float64))
    prior = torch.tensor([16, 10, 7, 4], dtype=torch.float64) / 37
    torch.testing.assert_close(
        outputs.logits - outputs.raw_logits, (-0.7 * prior.log()).expand(2, 4), rtol=0, atol=1e-13
    )
