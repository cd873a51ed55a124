"""The thin residual networks for 32 pixel images of He et al. 2016 (section 4.2), registered with timm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import DropPath, create_classifier
from timm.models import build_model_with_cfg, checkpoint_seq, generate_default_cfgs, register_model
from torch import Tensor, nn

# Name and residual blocks in each of the three stages.
CIFAR_RESNETS = {"resnet20_cifar": 3, "resnet32_cifar": 5, "resnet44_cifar": 7, "resnet56_cifar": 9}

# Channel statistics of the CIFAR-100 training images (50,000 images, scale 0..1).
CIFAR_MEAN = (0.5071, 0.4865, 0.4409)
CIFAR_STD = (0.2673, 0.2564, 0.2762)


class BasicBlock(nn.Module):
    """
    Two 3x3 convolutions with a parameter-free shortcut ("option A" of the paper).

    Where a block halves the resolution and doubles the channels, the shortcut keeps every second pixel and fills the
    new channels with zeros, half of them before and half of them after the old ones.
    """

    def __init__(self, in_channels: int, channels: int, stride: int = 1, drop_path: float = 0.0):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.act1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.drop_path = DropPath(drop_path) if drop_path > 0.0 else nn.Identity()
        self.act2 = nn.ReLU(inplace=True)
        self.stride = stride
        new_channels = channels - in_channels
        self.channel_padding = (new_channels // 2, new_channels - new_channels // 2)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        if self.stride > 1:
            shortcut = shortcut[:, :, :: self.stride, :: self.stride]
        if any(self.channel_padding):
            shortcut = F.pad(shortcut, (0, 0, 0, 0, *self.channel_padding))
        x = self.act1(self.bn1(self.conv1(x)))
        x = self.drop_path(self.bn2(self.conv2(x)))
        return self.act2(x + shortcut)


class ResNetCifar(nn.Module):
    """
    Residual network with three stages for small images, with the interface of a timm model.

    The initialisation is the one of the public long-tailed code bases (kaidic/LDAM-DRW,
    akamaster/pytorch_resnet_cifar10): normal weights of He et al. 2015 (fan in, ReLU gain) for every convolution and
    for the linear classifier.

    Args:
        blocks_per_stage (`int`): Residual blocks in each of the three stages; depth is `6 * blocks_per_stage + 2`.
        num_classes (`int`): Outputs of the linear classifier; 0 leaves it out.
        in_chans (`int`): Channels of the images.
        global_pool (`str`): timm name of the pooling; `""` returns the map.
        widths (sequence of 3 `int`): Channels of the three stages. The last is the size of the features.
        drop_rate (`float`): Dropout in front of the classifier.
        drop_path_rate (`float`): Rate of stochastic depth in the last block; it grows linearly from 0.
    """

    def __init__(
        self,
        blocks_per_stage: int = 5,
        num_classes: int = 100,
        in_chans: int = 3,
        global_pool: str = "avg",
        widths: Sequence[int] = (16, 32, 64),
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ):
        super().__init__()
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.drop_rate = drop_rate
        self.grad_checkpointing = False
        self.conv1 = nn.Conv2d(in_chans, widths[0], kernel_size=3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.act1 = nn.ReLU(inplace=True)

        total = len(widths) * blocks_per_stage
        in_channels, position = widths[0], 0
        self.feature_info = []
        for stage, width in enumerate(widths, start=1):
            blocks = []
            for block in range(blocks_per_stage):
                stride = 2 if stage > 1 and block == 0 else 1
                rate = drop_path_rate * position / max(total - 1, 1)
                blocks.append(BasicBlock(in_channels, width, stride=stride, drop_path=rate))
                in_channels, position = width, position + 1
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
            self.feature_info.append({"num_chs": width, "reduction": 2 ** (stage - 1), "module": f"layer{stage}"})
        self.num_stages = len(widths)

        self.num_features = self.head_hidden_size = in_channels
        self.global_pool, self.fc = create_classifier(self.num_features, num_classes, pool_type=global_pool)
        self.init_weights()

    @torch.no_grad()
    def init_weights(self) -> None:
        """Draw all weights again: He normal for convolutions and classifier, 1 and 0 for batch norm."""
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Layer groups for layer-wise learning rates, as timm wants them."""
        return {"stem": r"^conv1|^bn1", "blocks": r"^layer(\d+)" if coarse else r"^layer(\d+)\.(\d+)"}

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute the activations of each block in the backward pass (batch-norm statistics then move twice)."""
        self.grad_checkpointing = enable

    def get_classifier(self) -> nn.Module:
        """The linear classifier, or an identity."""
        return self.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put a new classifier with `num_classes` outputs (0: none), initialised as at construction, in place."""
        self.num_classes = num_classes
        pool = self.global_pool.pool_type if global_pool is None else global_pool
        self.global_pool, self.fc = create_classifier(self.num_features, num_classes, pool_type=pool)
        if isinstance(self.fc, nn.Linear):
            nn.init.kaiming_normal_(self.fc.weight)

    def forward_features(self, x: Tensor) -> Tensor:
        """Images `(B, in_chans, H, W)` to the last map `(B, widths[-1], H / 4, W / 4)`."""
        x = self.act1(self.bn1(self.conv1(x)))
        for stage in range(1, self.num_stages + 1):
            layer = getattr(self, f"layer{stage}")
            if self.grad_checkpointing and self.training and torch.is_grad_enabled():
                x = checkpoint_seq(layer, x)
            else:
                x = layer(x)
        return x

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Pool, drop out and, unless `pre_logits`, classify."""
        x = self.global_pool(x)
        if self.drop_rate:
            x = F.dropout(x, p=self.drop_rate, training=self.training)
        return x if pre_logits else self.fc(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))


default_cfgs = generate_default_cfgs(
    dict.fromkeys(
        CIFAR_RESNETS,
        {
            "url": "",
            "num_classes": 100,
            "input_size": (3, 32, 32),
            "pool_size": (8, 8),
            "crop_pct": 1.0,
            "interpolation": "bilinear",
            "mean": CIFAR_MEAN,
            "std": CIFAR_STD,
            "first_conv": "conv1",
            "classifier": "fc",
        },
    )
)


def _create(variant: str, pretrained: bool, **kwargs: Any) -> ResNetCifar:
    return build_model_with_cfg(ResNetCifar, variant, pretrained, blocks_per_stage=CIFAR_RESNETS[variant], **kwargs)


@register_model
def resnet20_cifar(pretrained: bool = False, **kwargs: Any) -> ResNetCifar:
    """ResNet-20 for 32 pixel images."""
    return _create("resnet20_cifar", pretrained, **kwargs)


@register_model
def resnet32_cifar(pretrained: bool = False, **kwargs: Any) -> ResNetCifar:
    """ResNet-32 for 32 pixel images: 463,504 parameters, 470,004 with a linear classifier for 100 classes."""
    return _create("resnet32_cifar", pretrained, **kwargs)


@register_model
def resnet44_cifar(pretrained: bool = False, **kwargs: Any) -> ResNetCifar:
    """ResNet-44 for 32 pixel images."""
    return _create("resnet44_cifar", pretrained, **kwargs)


@register_model
def resnet56_cifar(pretrained: bool = False, **kwargs: Any) -> ResNetCifar:
    """ResNet-56 for 32 pixel images."""
    return _create("resnet56_cifar", pretrained, **kwargs)
