"""An adjusted checkpoint loads without this package's help and gives exactly what its formula says."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from hf_ltr import load_long_tailed
from hf_ltr.adjustment import AdjustmentOptions, RetrainingOptions, adjust_checkpoint

from .builders import COUNTS, MAKERS, NAMES, load, logits_of, make_ours, save

HEADS = {"vit": "classifier", "resnet": "classifier.1", "timm": "timm_model.fc", "ours": "classifier"}
KINDS = list(MAKERS)


def adjusted(checkpoint, folder, options, **arguments):
    return adjust_checkpoint(checkpoint, folder, options, progress=False, **arguments)


def log_prior(counts) -> torch.Tensor:
    return torch.tensor(np.log(np.asarray(counts) / np.sum(counts)), dtype=torch.float32)


def tensors(folder):
    return load(folder).state_dict()


def head_inputs(model, kind, data) -> torch.Tensor:
    """Features by an own hook."""
    seen = []
    handle = model.get_submodule(HEADS[kind]).register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    logits_of(model, data)
    handle.remove()
    return seen[0]


def assert_only_the_head_changed(before, after, kind):
    old, new = tensors(before), tensors(after)
    assert old.keys() == new.keys()
    changed = {name for name in old if not torch.equal(old[name], new[name])}
    assert changed and changed <= {f"{HEADS[kind]}.weight", f"{HEADS[kind]}.bias"}


@pytest.mark.parametrize("kind", KINDS)
def test_logit_adjustment_adds_to_the_logits(checkpoints, data, tmp_path, kind):
    options = AdjustmentOptions("logit_adjustment", tau=0.7)
    report = adjusted(checkpoints[kind], tmp_path / "out", options, data={"train": data["train"]})
    before, after = load(checkpoints[kind]), load(tmp_path / "out")
    assert type(after) is type(before)
    expected = logits_of(before, data["validation"]) - 0.7 * log_prior(COUNTS)
    torch.testing.assert_close(logits_of(after, data["validation"]), expected, rtol=2e-6, atol=1e-5)
    assert_only_the_head_changed(checkpoints[kind], tmp_path / "out", kind)
    # Nothing to measure on, and no choice made.
    assert report.validation == {} and report.sweep == {} and "nothing was measured" in report.summary()
    record = json.loads((tmp_path / "out" / "config.json").read_text())["long_tail_adjustment"]
    assert (record["method"], record["tau"], record["tau_chosen_on"]) == ("logit_adjustment", 0.7, None)
    assert record["class_counts"] == COUNTS and record["folded_into_head"]
    assert (tmp_path / "out" / "model.safetensors").is_file() and (tmp_path / "out" / "README.md").is_file()


@pytest.mark.parametrize("kind", ["vit", "timm"])
def test_the_result_works_in_a_pipeline(checkpoints, data, tmp_path, kind):
    from transformers import pipeline

    adjusted(checkpoints[kind], tmp_path / "out", AdjustmentOptions("pc_softmax"), data={"train": data["train"]})
    image = data["validation"][0]["image"]
    expected = logits_of(load(checkpoints[kind]), data["validation"].select([0]))[0] - log_prior(COUNTS)
    answer = pipeline("image-classification", str(tmp_path / "out"))(image, top_k=len(NAMES))
    found = torch.tensor([next(item["score"] for item in answer if item["label"] == name) for name in NAMES])
    torch.testing.assert_close(found, expected.softmax(0), rtol=2e-6, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_pc_softmax_replaces_the_prior(checkpoints, data, tmp_path, kind):
    target = [0.1, 0.2, 0.3, 0.4]
    adjusted(
        checkpoints[kind], tmp_path / "out", "pc_softmax", class_counts=COUNTS, target_prior=[10 * p for p in target]
    )
    before = logits_of(load(checkpoints[kind]), data["validation"])
    expected = before - log_prior(COUNTS) + log_prior(target)
    after = logits_of(load(tmp_path / "out"), data["validation"])
    torch.testing.assert_close(after, expected, rtol=2e-6, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_tau_norm_divides_the_rows_and_drops_the_bias(checkpoints, data, tmp_path, kind):
    adjusted(checkpoints[kind], tmp_path / "out", AdjustmentOptions("tau_norm", tau=1.5), data=data)
    model = load(checkpoints[kind])
    weight = model.get_submodule(HEADS[kind]).weight.detach().double().numpy()
    expected = weight / np.sqrt((weight**2).sum(1, keepdims=True)) ** 1.5
    logits = head_inputs(model, kind, data["validation"]).double().numpy() @ expected.T
    after = logits_of(load(tmp_path / "out"), data["validation"])
    scale = max(1.0, np.abs(logits).max())
    np.testing.assert_allclose(after.numpy() / scale, logits / scale, rtol=2e-6, atol=1e-5)
    assert not load(tmp_path / "out").get_submodule(HEADS[kind]).bias.any()
    assert_only_the_head_changed(checkpoints[kind], tmp_path / "out", kind)


@pytest.mark.parametrize("kind", KINDS)
def test_ncm_is_the_nearest_centroid(checkpoints, data, tmp_path, kind):
    report = adjusted(checkpoints[kind], tmp_path / "out", "ncm", data=data, batch_size=7)
    model = load(checkpoints[kind])
    train = head_inputs(model, kind, data["train"]).double().numpy()
    rows = head_inputs(model, kind, data["validation"]).double().numpy()
    labels = np.asarray(data["train"]["label"])
    means = np.stack([train[labels == c].mean(0) for c in range(4)])
    distances = ((rows[:, None] - means[None]) ** 2).sum(-1)
    after = logits_of(load(tmp_path / "out"), data["validation"]).double().numpy()
    # Up to the squared length of the feature, which is the same for all classes.
    expected = -distances + (rows**2).sum(1, keepdims=True)
    scale = max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(after / scale, expected / scale, rtol=2e-6, atol=1e-5)
    assert (after.argmax(1) == distances.argmin(1)).all()
    assert report.validation["after"]["accuracy"] == np.mean(distances.argmin(1) == data["validation"]["label"])
    assert_only_the_head_changed(checkpoints[kind], tmp_path / "out", kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_classifier_is_better_and_the_backbone_the_same(checkpoints, data, tmp_path, kind):
    options = AdjustmentOptions("crt", retraining=RetrainingOptions(min_steps=300))
    report = adjusted(checkpoints[kind], tmp_path / "out", options, data=data)
    assert report.validation["after"]["balanced_accuracy"] > max(0.9, report.validation["before"]["balanced_accuracy"])
    assert_only_the_head_changed(checkpoints[kind], tmp_path / "out", kind)
    # What was reported is what the saved checkpoint does.
    predicted = logits_of(load(tmp_path / "out"), data["validation"]).argmax(1).numpy()
    assert np.mean(predicted == data["validation"]["label"]) == report.validation["after"]["accuracy"]


def test_learned_scales_multiply_weight_and_bias(checkpoints, data, tmp_path):
    options = AdjustmentOptions("lws", retraining=RetrainingOptions(min_steps=50))
    adjusted(checkpoints["resnet"], tmp_path / "out", options, data=data)
    before, after = (load(folder).classifier[1] for folder in (checkpoints["resnet"], tmp_path / "out"))
    scale = after.bias / before.bias
    torch.testing.assert_close(after.weight, before.weight * scale[:, None])
    assert (scale - 1).abs().max() > 0.01
    assert_only_the_head_changed(checkpoints["resnet"], tmp_path / "out", "resnet")


def test_the_same_seed_gives_the_same_classifier(checkpoints, data, tmp_path):
    def train(folder, seed):
        options = AdjustmentOptions("crt", retraining=RetrainingOptions(min_steps=5, seed=seed))
        adjusted(checkpoints["vit"], tmp_path / folder, options, data={"train": data["train"]})
        return tensors(tmp_path / folder)["classifier.weight"]

    first = train("a", 3)
    torch.manual_seed(99)
    assert torch.equal(first, train("b", 3)) and not torch.equal(first, train("c", 4))


def test_scales_of_our_head_are_folded(data, tmp_path):
    torch.manual_seed(0)
    model = make_ours(head="scaled", class_counts=COUNTS)
    with torch.no_grad():
        model.classifier.scale.copy_(torch.tensor([0.5, 2.0, -1.0, 1.5]))
    save(model, tmp_path / "in")
    adjusted(tmp_path / "in", tmp_path / "out", AdjustmentOptions("logit_adjustment", tau=1.0))
    after = load(tmp_path / "out")
    assert type(after.classifier) is torch.nn.Linear and after.config.head is None
    expected = logits_of(load(tmp_path / "in"), data["validation"]) - log_prior(COUNTS)
    torch.testing.assert_close(logits_of(after, data["validation"]), expected, rtol=2e-6, atol=1e-5)


@pytest.mark.parametrize("method", ["logit_adjustment", "pc_softmax"])
def test_a_cosine_head_is_adjusted_by_configuration(data, tmp_path, method):
    torch.manual_seed(0)
    save(make_ours(head="cosine"), tmp_path / "in")
    target = None if method == "logit_adjustment" else [0.4, 0.3, 0.2, 0.1]
    options = AdjustmentOptions(method, tau=0.5 if method == "logit_adjustment" else None)
    report = adjusted(tmp_path / "in", tmp_path / "out", options, data=data, target_prior=target)
    after = load(tmp_path / "out")
    assert after.config.logit_adjustment["remove"] == COUNTS and not report.record["folded_into_head"]
    offset = -0.5 * log_prior(COUNTS) if target is None else log_prior(target) - log_prior(COUNTS)
    expected = logits_of(load(tmp_path / "in"), data["validation"]) + offset
    torch.testing.assert_close(logits_of(after, data["validation"]), expected, rtol=2e-6, atol=1e-5)
    predicted = expected.argmax(1).numpy()
    assert report.validation["after"]["accuracy"] == np.mean(predicted == data["validation"]["label"])
    # Once more: both changes are in, up to a constant that no softmax sees.
    with pytest.warns(UserWarning, match="corrected twice"):
        adjusted(tmp_path / "out", tmp_path / "twice", AdjustmentOptions("logit_adjustment", tau=1.0))
    twice = logits_of(load(tmp_path / "twice"), data["validation"]).softmax(1)
    torch.testing.assert_close(twice, (expected - log_prior(COUNTS)).softmax(1), rtol=2e-6, atol=1e-5)


def test_an_adjustment_of_the_config_stays_or_is_dropped(data, tmp_path):
    torch.manual_seed(0)
    model = make_ours(class_counts=COUNTS, logit_adjustment={"tau": 2.0, "remove": COUNTS, "add": None})
    save(model, tmp_path / "in")
    with pytest.warns(UserWarning, match="config.logit_adjustment"):
        adjusted(tmp_path / "in", tmp_path / "on_top", AdjustmentOptions("logit_adjustment", tau=0.5), data=data)
    expected = logits_of(load(tmp_path / "in"), data["validation"]) - 0.5 * log_prior(COUNTS)
    found = logits_of(load(tmp_path / "on_top"), data["validation"])
    torch.testing.assert_close(found, expected, rtol=2e-6, atol=1e-5)
    with pytest.warns(UserWarning, match="is dropped"):
        report = adjusted(tmp_path / "in", tmp_path / "ncm", "ncm", data=data)
    after = load(tmp_path / "ncm")
    assert after.config.logit_adjustment is None
    predicted = logits_of(after, data["validation"]).argmax(1).numpy()
    assert np.mean(predicted == data["validation"]["label"]) == report.validation["after"]["accuracy"]


def test_half_precision_stays_and_rounding_is_told(checkpoints, data, tmp_path):
    model = load(checkpoints["vit"]).to(torch.bfloat16)
    save(model, tmp_path / "in")
    with pytest.warns(UserWarning, match="bfloat16"):
        adjusted(tmp_path / "in", tmp_path / "out", AdjustmentOptions("logit_adjustment", tau=1.0), data=data)
    from safetensors.torch import load_file

    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("in", "out"))
    assert {tensor.dtype for tensor in after.values()} == {torch.bfloat16}
    exact = before.pop("classifier.bias").float() - log_prior(COUNTS)
    assert torch.equal(after.pop("classifier.bias"), exact.to(torch.bfloat16))
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_grey_images_of_our_models(tmp_path):
    from hf_ltr import LongTailConfig, LongTailForImageClassification, LongTailImageProcessor

    digits = load_long_tailed("digits", imbalance_factor=50)
    names = digits["train"].features["label"].names
    config = LongTailConfig(
        backbone="resnet20_cifar", image_size=8, num_channels=1, id2label=dict(enumerate(names)), num_labels=10
    )
    torch.manual_seed(0)
    model = LongTailForImageClassification(config)
    model.save_pretrained(tmp_path / "in")
    LongTailImageProcessor.from_config(config).save_pretrained(tmp_path / "in")
    report = adjusted(tmp_path / "in", tmp_path / "out", "ncm", data=digits)
    assert report.validation["after"]["balanced_accuracy"] > 0.5
    # The counts are the model's own from now on.
    from hf_ltr import class_counts

    assert load(tmp_path / "out").config.class_counts == class_counts(digits["train"]).counts
