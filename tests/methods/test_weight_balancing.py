"""Weight balancing: stage arguments, the loss, and when rows are projected onto which radius."""

import pytest
import torch
import torch.nn.functional as F

from hf_ltr import get_method

from ..contracts.builders import StopAfter
from .decoupled_runs import UNSORTED, make_trainer, moved, state

NAME = "weight_balancing"


def norms(trainer) -> torch.Tensor:
    return trainer.model.classifier.weight.detach().norm(dim=1)


def radius_of(weight: torch.Tensor, threshold: float) -> float:
    lengths = sorted(row.norm().item() for row in weight)
    return lengths[0] + threshold * (lengths[-1] - lengths[0])


def test_weight_decay_of_the_stages():
    first, second = get_method(NAME, class_counts=[9, 4, 2]).stages()
    assert (first.arguments, second.arguments) == ({"weight_decay": 5e-3}, {"weight_decay": 0.1})
    method = get_method(NAME, class_counts=[9, 4, 2], representation_weight_decay=1e-3, weight_decay=0.2)
    assert [stage.arguments["weight_decay"] for stage in method.stages()] == [1e-3, 0.2]


@pytest.mark.parametrize("norm", ["train", "eval"])
def test_only_the_last_layer_moves(norm, tmp_path):
    trainer = make_trainer(tmp_path, NAME, method_options={"norm": norm})
    before = state(trainer)
    trainer.train()
    assert moved(before, state(trainer)) == ({"classifier.weight", "classifier.bias"}, norm == "train")


@pytest.mark.parametrize("form", ["softmax", "softmax_bce"])
def test_loss_is_the_weighted_sum_over_the_number_of_rows(form, tmp_path):
    trainer = make_trainer(tmp_path, NAME, method_options={"form": form, "beta": 0.9})
    batches, _ = trainer.get_batch_samples(iter(trainer.get_train_dataloader()), 1, trainer.args.device)
    trainer.model.eval()
    terms, outputs = trainer.method.training_loss(trainer.model, batches[0])
    weights = [(1 - 0.9) / (1 - 0.9**count) for count in UNSORTED]
    weights = [weight / sum(weights) * len(weights) for weight in weights]
    total = 0.0
    for logits, label in zip(outputs.raw_logits.double(), batches[0]["labels"].tolist(), strict=True):
        probabilities = logits.softmax(0)
        loss = -probabilities[label].log()
        if form == "softmax_bce":
            others = [probability for k, probability in enumerate(probabilities) if k != label]
            loss = (loss - sum((1 - p).log() for p in others)) / len(weights)
        total += weights[label] * loss
    expected = total / len(batches[0]["labels"])
    torch.testing.assert_close(terms["supervised"].double(), expected, rtol=1e-5, atol=1e-7)
    assert set(trainer.method.term_mass(batches[0])) == set()


def test_radius_is_that_of_the_weights_the_stage_begins_with(tmp_path):
    trainer = make_trainer(tmp_path, NAME, method_options={"threshold": 0.3}, learning_rate=2.0, warmup_epochs=0)
    expected = radius_of(trainer.model.classifier.weight, 0.3)
    trainer.train()
    assert trainer.method.radius.item() == pytest.approx(expected, rel=1e-6)
    assert norms(trainer).max().item() == pytest.approx(expected, rel=1e-5)


def test_rows_are_projected_after_every_epoch_and_the_bias_never(tmp_path, monkeypatch):
    trainer = make_trainer(tmp_path, NAME, num_train_epochs=3, learning_rate=2.0, warmup_epochs=0)
    seen = []

    def watched(hook):
        def call(*arguments):
            classifier = trainer.model.classifier
            before, bias = classifier.weight.detach().clone(), classifier.bias.detach().clone()
            hook(*arguments)
            assert torch.equal(bias, classifier.bias)
            projected = not torch.equal(before, classifier.weight)
            seen.append((trainer.state.global_step, projected))
            for old, new in zip(before, classifier.weight, strict=True) if projected else ():
                shorter = min(1.0, trainer.method.radius.item() / old.norm().item())
                torch.testing.assert_close(new, old * shorter, rtol=1e-5, atol=1e-7)

        return call

    for hook in ("on_epoch", "finalize"):
        monkeypatch.setattr(trainer.method, hook, watched(getattr(trainer.method, hook)))
    trainer.train()
    steps = trainer.state.max_steps // 3
    assert seen == [(0, False), (steps, True), (2 * steps, True), (3 * steps, True)]
    again = trainer.model.classifier.weight.detach().clone()
    trainer.method.finalize(trainer)
    torch.testing.assert_close(trainer.model.classifier.weight.detach(), again, rtol=1e-6, atol=0)


def test_a_resumed_run_keeps_the_radius(tmp_path):
    settings = {"save_strategy": "steps", "save_steps": 7, "learning_rate": 2.0, "warmup_epochs": 0}
    stopped = make_trainer(tmp_path, NAME, **settings)
    stopped.add_callback(StopAfter(7))
    stopped.train()
    resumed = make_trainer(tmp_path, NAME, **settings)
    with torch.no_grad():
        resumed.model.classifier.weight.mul_(5)  # whatever it was built with, the checkpoint decides
    resumed.train(resume_from_checkpoint=True)
    assert torch.equal(resumed.method.radius, stopped.method.radius)
    assert norms(resumed).max().item() == pytest.approx(stopped.method.radius.item(), rel=1e-5)


def test_a_radius_of_zero_is_refused(tmp_path):
    trainer = make_trainer(tmp_path, NAME)
    with torch.no_grad():
        trainer.model.classifier.weight.zero_()
    with pytest.raises(ValueError, match="norm of 0.*Train the representation first"):
        trainer.train()


def test_mistakes_are_refused():
    with pytest.raises(ValueError, match="softmax_bce"):
        get_method(NAME, class_counts=[2, 1], form="bce")
    with pytest.raises(ValueError, match="threshold"):
        get_method(NAME, class_counts=[2, 1], threshold=1.5)
    with pytest.raises(ValueError, match="must not be negative"):
        get_method(NAME, class_counts=[2, 1], weight_decay=-0.1)


def test_the_released_loss_is_finite_where_a_probability_is_one():
    method = get_method(NAME, class_counts=[5, 3, 2], form="softmax_bce")
    logits = torch.tensor([[200.0, 0.0, 0.0], [0.0, 200.0, 0.0]], requires_grad=True)
    losses = method.sample_loss(type("Outputs", (), {"raw_logits": logits}), torch.tensor([0, 2]))
    losses.sum().backward()
    assert torch.isfinite(losses).all() and torch.isfinite(logits.grad).all()
    assert F.softmax(logits.detach(), dim=1)[0, 0] == 1
    assert losses[0].item() == pytest.approx(0.0, abs=1e-6) and losses[1] > 10
