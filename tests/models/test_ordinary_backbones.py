"""Arguments of timm that people do use are taken, and words of YAML 1.1 among them are not taken for true."""

from __future__ import annotations

import pytest
import torch

from hf_ltr.models import LongTailConfig
from hf_ltr.models.backbone import extract_features
from hf_ltr.models.backbone_sizes import backbone_shape

ORDINARY = [
    ("vit_pico_patch4_16", {"class_token": False, "global_pool": "avg"}),
    ("vit_pico_patch4_16", {"class_token": False, "global_pool": "avg", "pos_embed": "none"}),
    ("vit_pico_patch4_16", {"qk_norm": True, "norm_layer": "rmsnorm", "act_layer": "silu", "mlp_ratio": 2.0}),
    ("vit_pico_patch4_16", {"init_values": 1e-5, "reg_tokens": 2, "dynamic_img_size": True, "weight_init": "jax"}),
    ("vit_pico_patch4_16", {"scale_attn_norm": True, "scale_mlp_norm": True, "fix_init": True}),
    ("resnet18", {"layers": [1, 1, 1, 1], "channels": [8, 16, 16, 16], "block_args": {"attn_layer": "se"}}),
    ("resnet18", {"output_stride": 16, "stem_type": "deep", "stem_width": 8, "avg_down": True}),
    ("convnext_atto", {"depths": [1, 1, 1, 1], "kernel_sizes": 5, "use_grn": True, "conv_mlp": True}),
    ("regnety_002", {"group_size": 8, "se_ratio": 0.25, "stem_width": 16}),
    ("efficientnet_b0", {"output_stride": 16, "pad_type": "same", "act_layer": "relu"}),
    ("swin_tiny_patch4_window7_224", {"depths": [1, 1, 1, 1], "window_size": [7, 7]}),
    ("densenet121", {"block_config": [1, 1, 1, 1], "bn_size": 2}),
    # Which cannot be asked for the output of its last block.
    ("cait_xxs24_224", {"depth": 1}),
]


@pytest.mark.parametrize("backbone, options", ORDINARY)
def test_it_is_built(backbone, options):
    config = LongTailConfig(backbone=backbone, backbone_kwargs=options, num_labels=3)
    assert backbone_shape(config).num_tokens >= 1


def test_tokens_of_several_branches_are_those_of_the_last():
    branches = torch.nn.Module()
    branches.forward_features = lambda images: [torch.zeros(1, 2, 3), torch.zeros(1, 4, 5)]
    branches.forward_head = lambda maps: maps[-1].mean(dim=1)
    _, tokens = extract_features(branches, torch.zeros(1, 3, 8, 8), with_tokens=True)
    assert tokens.shape == (1, 4, 5)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"qk_norm": "no"}, "the text 'no'; write true or false"),
        ({"qk_norm": "True"}, "the text 'True'; write true or false"),
        ({"in_chans": 1}, "set num_channels"),
        ({"num_classes": 3}, "set num_labels"),
        ({"block_args": {"attn_layer": "/a/file"}}, "block_args'..'attn_layer'"),
        ({"depth": {"a": 1}}, "plain value"),
    ],
)
def test_what_is_not_taken(options, message):
    with pytest.raises(ValueError, match=message):
        LongTailConfig(backbone="vit_pico_patch4_16", backbone_kwargs=options, num_labels=3)
