"""Closed forms and training on features, against slow references."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from hf_ltr import ClassCounts
from hf_ltr.adjustment import RetrainingOptions, learn_scales, retrain_classifier
from hf_ltr.adjustment.options import AdjustmentOptions
from hf_ltr.adjustment.rules import choose_tau, class_means, measure, nearest_centroid_classifier
from hf_ltr.losses import tau_normalize


def make_features(counts, spread, seed=0, dimensions=6):
    generator = torch.Generator().manual_seed(seed)
    centres = 2 * torch.randn(len(counts), dimensions, generator=torch.Generator().manual_seed(7))
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    noise = torch.randn(len(labels), dimensions, generator=generator)
    return centres[labels] + spread * noise + 1.0, labels


def linear(weight, bias):
    return partial(F.linear, weight=weight, bias=bias)


def test_tau_normalize():
    weight = torch.tensor([[3.0, 4.0], [0.0, 0.0], [0.1, 0.0]], dtype=torch.float64)
    expected = torch.tensor([[3 / 5**0.5, 4 / 5**0.5], [0.0, 0.0], [0.1**0.5, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(tau_normalize(weight, 0.5), expected, rtol=0, atol=1e-9)
    assert torch.equal(tau_normalize(weight, 0.0), weight)


def test_class_means_do_not_depend_on_batches():
    features, labels = make_features([3, 11, 1], 1.0)
    order = torch.randperm(15, generator=torch.Generator().manual_seed(0))
    features, labels = features[order], labels[order]
    counts = ClassCounts([3, 11, 1])
    means = class_means(zip(features.split(4), labels.split(4), strict=True), counts)
    expected = np.stack([features[labels == c].double().numpy().mean(0) for c in range(3)])
    np.testing.assert_allclose(means.numpy(), expected, atol=1e-9)
    weight, bias = nearest_centroid_classifier(means)
    distances = ((features[:, None].double() - means) ** 2).sum(-1)
    scores = features.double() @ weight.T + bias - features.double().square().sum(1, keepdim=True)
    torch.testing.assert_close(scores, -distances, rtol=0, atol=1e-9)


def test_a_class_without_images_has_no_mean():
    with pytest.raises(ValueError, match=r"2 \(crab\)"):
        class_means([(torch.ones(2, 3), torch.tensor([0, 1]))], ClassCounts([1, 1, 4], ["ant", "bee", "crab"]))


def train_on_instances(features, labels, classes):
    return retrain_classifier(features, labels, classes, RetrainingOptions(sampler="instance", min_steps=400))


@pytest.mark.parametrize("method", ["crt", "lws"])
def test_class_balanced_training_helps_the_tail(method):
    counts = [6, 900, 60, 300]
    features, labels = make_features(counts, 1.5)
    test_features, test_labels = make_features([300] * 4, 1.5, seed=1)
    weight, bias = train_on_instances(features, labels, 4)
    before = measure(linear(weight, bias), test_features, test_labels, ClassCounts(counts))
    options = RetrainingOptions(min_steps=400)
    if method == "crt":
        weight, bias = retrain_classifier(features, labels, 4, options)
    else:
        scale = learn_scales(features, labels, weight, bias, options)
        weight, bias = weight * scale[:, None], bias * scale
    after = measure(linear(weight, bias), test_features, test_labels, ClassCounts(counts))
    assert after["few"] > before["few"] + 0.05
    assert after["balanced_accuracy"] > before["balanced_accuracy"] + 0.01


def test_long_features_do_not_make_training_diverge(recwarn):
    features, labels = make_features([40, 9, 20], 0.5)
    weight, bias = retrain_classifier(100 * features, labels, 3, RetrainingOptions(min_steps=300))
    assert ((100 * features @ weight.T + bias).argmax(1) == labels).float().mean() > 0.95
    assert not recwarn.list


def test_training_that_makes_it_worse_is_told():
    features, labels = make_features([40, 9, 20], 0.5)
    weight, bias = train_on_instances(features, labels, 3)
    with pytest.warns(UserWarning, match="lws made the class-balanced training loss worse"):
        learn_scales(features, labels, weight, bias, RetrainingOptions(learning_rate=500.0, min_steps=3, epochs=0.1))


@pytest.mark.parametrize(
    "name", ["instance", "class_balanced", "square_root", "progressively_balanced", "class_aware"]
)
def test_every_sampler_can_be_used(name):
    features, labels = make_features([30, 4, 9], 0.5)
    options = RetrainingOptions(sampler=name, batch_size=16, min_steps=20)
    assert torch.isfinite(retrain_classifier(features, labels, 3, options)[0]).all()


def test_steps_follow_the_published_epochs_or_the_minimum():
    options = RetrainingOptions()
    assert options.steps("crt", 115_846) == 2263 and options.steps("lws", 115_846) == 1132
    assert options.steps("crt", 300) == 1000
    assert RetrainingOptions(epochs=2, min_steps=0, batch_size=10).steps("crt", 100) == 20


def test_tau_is_the_best_and_among_equals_the_smallest():
    # One feature; the second class needs a shift of more than 1.
    rows = torch.tensor([[0.0], [0.0], [1.0], [1.0]])
    labels = torch.tensor([0, 0, 1, 1])
    weight, bias = torch.tensor([[0.0], [1.0]]), torch.tensor([1.55, 0.0])

    def decide(tau):
        return linear(weight, bias + torch.tensor([0.0, tau]))

    tau, tried = choose_tau([0.0, 0.5, 1.0, 1.5, 2.0], decide, rows, labels, ClassCounts([5, 5]))
    assert tau == 1.0
    assert tried == {0.0: 0.5, 0.5: 0.5, 1.0: 1.0, 1.5: 1.0, 2.0: 0.5}


@pytest.mark.parametrize(
    "arguments,message",
    [
        ({"method": "tau_nrm"}, "Did you mean 'tau_norm'"),
        ({"method": "ncm", "tau": 1.0}, "ncm has no tau"),
        ({"method": "pc_softmax", "taus": [1.0]}, "pc_softmax has no tau"),
        ({"method": "tau_norm", "tau": 1.0, "taus": [1.0]}, "not both"),
        ({"method": "tau_norm", "tau": float("nan")}, "tau must be"),
        ({"method": "logit_adjustment", "taus": [1.0, -1.0]}, "tau must be"),
    ],
)
def test_options_that_contradict_each_other(arguments, message):
    with pytest.raises(ValueError, match=message):
        AdjustmentOptions(**arguments)


def test_options_of_training():
    for wrong in ({"sampler": "random"}, {"learning_rate": 0}, {"epochs": -1}, {"batch_size": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            RetrainingOptions(**wrong)


def test_tau_is_chosen_by_the_mean_over_classes_and_not_over_images():
    """Nine images of the first class, one of the second: plain accuracy would leave the second class alone."""
    rows = torch.cat(
        [torch.tensor([[2.0, 0.0]]).repeat(5, 1), torch.tensor([[0.5, 0.0]]).repeat(4, 1), torch.tensor([[0.8, 0.0]])]
    )
    labels = torch.tensor([0] * 9 + [1])

    def decide(tau):
        return linear(torch.eye(2), torch.tensor([0.0, tau]))

    tau, tried = choose_tau([0.0, 1.0], decide, rows, labels, ClassCounts([9, 1]))
    # tau 0: 9 of 10 images and half of the classes; tau 1: 6 of 10 images, (5/9 + 1) / 2 over the classes.
    assert tried == pytest.approx({0.0: 0.5, 1.0: (5 / 9 + 1) / 2})
    assert tau == 1.0
