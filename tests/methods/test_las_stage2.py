"""LAS as a second stage: what moves, its smoothing, its loss on scaled logits."""

import pytest
import torch

from hf_ltr import get_method
from hf_ltr.methods.las_stage2 import default_smoothing

from .decoupled_runs import make_trainer, moved, state
from .experts_golden import assert_close, values

CLASSIFIER = {"classifier.weight", "classifier.bias"}


@pytest.mark.parametrize(
    ("options", "names", "statistics"),
    [
        ({}, CLASSIFIER | {"classifier.scale"}, False),
        ({"trained": "scales", "norm": "train"}, {"classifier.scale"}, True),
    ],
)
def test_what_moves(options, names, statistics, tmp_path):
    trainer = make_trainer(tmp_path, "las_stage2", method_options=options)
    before = state(trainer)
    trainer.train()
    assert moved(before, state(trainer)) == (names, statistics)


@pytest.mark.parametrize(
    ("factor", "smoothing"),
    [(256, (0.4, 0.0)), (120, (0.4, 0.0)), (101, (0.4, 0.0)), (100, (0.4, 0.1)), (51, (0.4, 0.1))]
    + [(50, (0.3, 0.0)), (21, (0.3, 0.0)), (20, (0.2, 0.0)), (10, (0.2, 0.0)), (1, (0.2, 0.0))],
)
def test_smoothing_follows_the_imbalance_factor(factor, smoothing):
    assert default_smoothing(factor) == smoothing
    method = get_method("las_stage2", class_counts=[3, 3 * factor, 5 * factor // 2])
    assert (method.head, method.tail) == smoothing
    assert method.describe()["options"]["head"] == smoothing[0]


def test_given_smoothing_wins_and_half_of_it_is_refused():
    method = get_method("las_stage2", class_counts=[3, 900], head=0.3, tail=0.05)
    assert (method.loss.head, method.loss.tail) == (0.3, 0.05)
    with pytest.raises(ValueError, match="head and tail together"):
        get_method("las_stage2", class_counts=[3, 900], head=0.3)
    with pytest.raises(ValueError, match="scales"):
        get_method("las_stage2", class_counts=[3, 900], trained="scale")


@pytest.mark.parametrize("name", ["las_stage2", "mislas"])
def test_loss_of_scaled_logits_is_that_of_the_public_code(name):
    case = "mislas_stage2_lws_las"
    counts = values(case, "inputs", "counts").tolist()
    method = get_method(name, class_counts=counts, head=0.4, tail=0.1)
    logits = values(case, "inputs", "logits").requires_grad_()
    scale = values(case, "inputs", "learned_norm").requires_grad_()
    scaled = scale * logits
    assert_close(scaled, values(case, "outputs", "scaled"))
    losses = method.sample_loss(type("Outputs", (), {"raw_logits": scaled}), values(case, "inputs", "labels"))
    assert losses.shape == (len(logits),)
    losses.mean().backward()
    assert_close(losses.mean(), values(case, "outputs", "loss"))
    assert_close(logits.grad, values(case, "gradients", "logits"))
    assert_close(scale.grad.reshape(-1), values(case, "gradients", "learned_norm").reshape(-1))


@pytest.mark.parametrize("shape", ["concave", "linear", "convex", "exp_p2.0", "exp_p0.5"])
def test_every_shape_is_that_of_the_public_code(shape):
    case = f"mislas_las_{shape}"
    shape, _, power = shape.partition("_p")
    counts = values(case, "inputs", "counts").tolist()
    options = {"head": 0.4, "tail": 0.1, "shape": shape, "power": float(power) if power else None}
    method = get_method("las_stage2", class_counts=counts, **options)
    logits = values(case, "inputs", "logits").requires_grad_()
    outputs = type("Outputs", (), {"raw_logits": logits})
    loss = method.sample_loss(outputs, values(case, "inputs", "labels")).mean()
    assert_close(loss, values(case, "outputs", "loss"))
    loss.backward()
    assert_close(logits.grad, values(case, "gradients", "logits"))


def test_mixed_targets_are_the_mixture_of_the_losses():
    case = "mislas_mixup_las"
    method = get_method("mislas", class_counts=values(case, "inputs", "counts").tolist(), head=0.4, tail=0.1)
    logits = values(case, "inputs", "logits").requires_grad_()
    one_hot = torch.eye(logits.shape[1], dtype=torch.float64)
    share = 0.3
    targets = share * one_hot[values(case, "inputs", "labels_a")]
    targets = targets + (1 - share) * one_hot[values(case, "inputs", "labels_b")]
    loss = method.sample_loss(type("Outputs", (), {"raw_logits": logits}), targets).mean()
    assert_close(loss, values(case, "outputs", "loss"))
    loss.backward()
    assert_close(logits.grad, values(case, "gradients", "logits"))
