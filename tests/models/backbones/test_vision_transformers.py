"""The small vision transformers are timm's, at the sizes their names say."""

import pytest
import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

import hf_ltr.models  # noqa: F401  (registers them)


@pytest.mark.parametrize(
    "name, size, patch, width, depth, heads",
    [
        ("vit_pico_patch4_16", 16, 4, 96, 4, 3),
        ("vit_tiny_patch4_32", 32, 4, 192, 12, 3),
        ("vit_tiny_patch8_96", 96, 8, 192, 12, 3),
    ],
)
def test_sizes(name, size, patch, width, depth, heads):
    model = timm.create_model(name, num_classes=0, global_pool="avg").eval()
    assert isinstance(model, VisionTransformer)
    assert model.patch_embed.img_size == (size, size) and model.patch_embed.patch_size == (patch, patch)
    assert model.embed_dim == width and len(model.blocks) == depth and model.blocks[0].attn.num_heads == heads
    assert model.default_cfg["input_size"] == (3, size, size)
    # As in MAE fine-tuning: no norm before the mean over patch tokens, one after it.
    assert isinstance(model.norm, nn.Identity) and isinstance(model.fc_norm, nn.LayerNorm)
    tokens = model.forward_features(torch.randn(1, 3, size, size))
    assert tokens.shape == (1, 1 + (size // patch) ** 2, width)
    torch.testing.assert_close(model.forward_head(tokens), model.fc_norm(tokens[:, 1:].mean(dim=1)))


def test_architecture_arguments_can_be_overridden():
    model = timm.create_model("vit_pico_patch4_16", num_classes=3, img_size=8, depth=1, embed_dim=16, num_heads=2)
    assert model(torch.randn(2, 3, 8, 8)).shape == (2, 3) and len(model.blocks) == 1
