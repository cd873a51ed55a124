"""The CIFAR networks: sizes, shortcuts, initialisation, and the interface of a timm model."""

import math

import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay
from torch import nn

import hf_ltr.models  # noqa: F401  (registers the networks)
from hf_ltr.models.backbones.resnet_cifar import BasicBlock


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameters_of_resnet32_with_a_linear_classifier_for_100_classes():
    model = timm.create_model("resnet32_cifar", num_classes=100)
    # The sizes of the public long-tailed code bases (RIDE's single ResNet-32), stage by stage.
    sizes = {name: count(getattr(model, name)) for name in ("conv1", "bn1", "layer1", "layer2", "layer3", "fc")}
    assert sizes == {"conv1": 432, "bn1": 32, "layer1": 23_360, "layer2": 88_192, "layer3": 351_488, "fc": 6_500}
    assert count(model) == 470_004
    assert count(timm.create_model("resnet32_cifar", num_classes=0)) == 463_504


@pytest.mark.parametrize("depth", [20, 32, 44, 56])
def test_depth_is_the_number_of_weighted_layers(depth):
    model = timm.create_model(f"resnet{depth}_cifar", num_classes=10)
    layers = [module for module in model.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    assert len(layers) == depth


def test_shortcut_keeps_every_second_pixel_and_pads_channels_with_zeros():
    block = BasicBlock(4, 8, stride=2).eval()
    nn.init.zeros_(block.bn2.weight)  # the residual branch is silent: the block is its shortcut
    images = torch.rand(2, 4, 6, 6)
    output = block(images)
    assert output.shape == (2, 8, 3, 3)
    torch.testing.assert_close(output[:, 2:6], images[:, :, ::2, ::2])
    assert output[:, :2].abs().sum() == 0 and output[:, 6:].abs().sum() == 0


def test_initialisation_is_he_normal_for_convolutions_and_classifier():
    torch.manual_seed(0)
    model = timm.create_model("resnet56_cifar", num_classes=1000)
    for module in (model.layer3[4].conv1, model.fc):
        fan_in = module.weight[0].numel()
        assert module.weight.std().item() == pytest.approx(math.sqrt(2 / fan_in), rel=0.03)
    assert all(bn.weight.eq(1).all() for bn in model.modules() if isinstance(bn, nn.BatchNorm2d))


def test_interface_of_a_timm_model():
    model = timm.create_model("resnet20_cifar", num_classes=7, in_chans=1, drop_rate=0.5, drop_path_rate=0.2).eval()
    images = torch.randn(2, 1, 32, 32)
    maps = model.forward_features(images)
    assert maps.shape == (2, 64, 8, 8) and model.num_features == 64
    pooled = model.forward_head(maps, pre_logits=True)
    torch.testing.assert_close(pooled, maps.mean(dim=(2, 3)))
    torch.testing.assert_close(model(images), model.get_classifier()(pooled))
    model.reset_classifier(0)
    torch.testing.assert_close(model(images), pooled)
    model.reset_classifier(3, global_pool="max")
    torch.testing.assert_close(model(images), model.fc(maps.amax(dim=(2, 3))))
    assert model.default_cfg["input_size"] == (3, 32, 32)


def test_drop_path_grows_with_depth_and_acts_in_training_only():
    model = timm.create_model("resnet20_cifar", num_classes=0, drop_path_rate=0.4)
    rates = [getattr(m.drop_path, "drop_prob", 0.0) for m in model.modules() if isinstance(m, BasicBlock)]
    assert rates == pytest.approx([0.4 * index / 8 for index in range(9)])
    images = torch.randn(4, 3, 16, 16)
    model.eval()
    assert torch.equal(model(images), model(images))


def test_gradient_checkpointing_gives_the_same_gradients():
    torch.manual_seed(0)
    model = timm.create_model("resnet20_cifar", num_classes=5).train()
    images = torch.randn(4, 3, 16, 16)
    gradients = []
    for enable in (False, True):
        model.set_grad_checkpointing(enable)
        model.zero_grad()
        model(images).square().sum().backward()
        gradients.append(model.conv1.weight.grad.clone())
    assert gradients[0].abs().sum() > 0
    torch.testing.assert_close(*gradients)


def test_channels_last_gives_the_same_values():
    model = timm.create_model("resnet20_cifar", num_classes=5).eval()
    images = torch.randn(4, 3, 32, 32)
    expected = model(images)
    model = model.to(memory_format=torch.channels_last)
    images = images.to(memory_format=torch.channels_last)
    assert model.forward_features(images).is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(model(images), expected, rtol=1e-4, atol=1e-4)


def test_layer_groups_grow_with_depth():
    model = timm.create_model("resnet20_cifar", num_classes=5)
    groups = param_groups_layer_decay(model, layer_decay=0.5)
    scale = {id(parameter): group["lr_scale"] for group in groups for parameter in group["params"]}
    names = ("conv1", "layer1.0.conv1", "layer1.1.conv1", "layer3.2.conv2")
    scales = [scale[id(model.get_submodule(name).weight)] for name in names]
    assert scales == sorted(set(scales)) and scale[id(model.fc.weight)] == 1.0
