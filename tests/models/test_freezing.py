"""Freezing by name: gradients, modes, batch-norm statistics."""

import pytest
import torch
from torch import nn

from hf_ltr.models import LongTailConfig, LongTailForImageClassification


@pytest.fixture
def model():
    torch.manual_seed(0)
    return LongTailForImageClassification(
        LongTailConfig(backbone="resnet20_cifar", num_labels=3, drop_rate=0.5, drop_path_rate=0.5)
    )


def trainable(model) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_eval_freezes_statistics_dropout_and_drop_path(model):
    names = model.freeze([r"^backbone\."], norm="eval")
    assert set(names) == {name for name, _ in model.named_parameters() if name.startswith("backbone.")}
    assert trainable(model) == {"classifier.weight", "classifier.bias"}
    model.train()
    assert model.training and model.classifier.training
    assert not any(module.training for module in model.backbone.modules())
    statistics = model.backbone.bn1.running_mean.clone()
    images = torch.randn(4, 3, 16, 16)
    assert torch.equal(model(images).logits, model(images).logits)
    assert torch.equal(statistics, model.backbone.bn1.running_mean)
    model.eval()
    assert not model.training


def test_train_lets_statistics_move_under_frozen_weights(model):
    model.freeze(r"^backbone\.", norm="train")
    model.train()
    assert model.backbone.training and trainable(model) == {"classifier.weight", "classifier.bias"}
    statistics = model.backbone.bn1.running_mean.clone()
    model(torch.randn(4, 3, 16, 16) + 1)
    assert not torch.equal(statistics, model.backbone.bn1.running_mean)


def test_modules_with_a_trainable_parameter_keep_training(model):
    model.freeze([r"layer1", r"^backbone\.layer2\.0\.conv"], norm="eval")
    model.train()
    layer2 = model.backbone.layer2
    assert not model.backbone.layer1.training and not any(m.training for m in model.backbone.layer1.modules())
    assert model.backbone.training and layer2.training and layer2[0].training
    assert not layer2[0].conv1.training and layer2[0].bn1.training


def test_a_pattern_may_name_a_module(model):
    names = model.freeze([r"^backbone\.layer3$"])
    assert names and all(name.startswith("backbone.layer3.") for name in names)


def test_unfreeze_restores_exactly_what_freeze_changed(model):
    model.backbone.conv1.weight.requires_grad_(False)
    before = trainable(model)
    model.freeze([r"^backbone", r"^classifier"], norm="eval")
    assert not trainable(model)
    model.unfreeze()
    assert trainable(model) == before
    model.train()
    assert all(module.training for module in model.modules() if not isinstance(module, nn.Identity))


def test_a_second_call_adds_and_may_change_the_mode(model):
    model.freeze([r"layer1"], norm="eval")
    model.freeze([r"layer2"], norm="train")
    model.train()
    assert not model.backbone.layer1.training and model.backbone.layer2.training
    model.freeze([r"layer1"], norm="train")
    assert model.backbone.layer1.training
    assert not any("layer1" in name or "layer2" in name for name in trainable(model))


def test_a_frozen_model_still_says_whether_it_trains(model):
    model.freeze([r"."], norm="eval")
    model.train()
    assert model.training and not model.backbone.training and not model.classifier.training


def test_mistakes_are_refused(model):
    with pytest.raises(ValueError, match="'encoder' matches no parameter.*backbone, classifier"):
        model.freeze(["encoder"])
    with pytest.raises(ValueError, match="'train' or 'eval'"):
        model.freeze(["backbone"], norm="frozen")
    assert len(trainable(model)) == len(list(model.parameters()))
