"""What a masked autoencoder has beside its encoder: the decoder, and ConvMAE's fusion of the encoder's stages."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial, reduce
from typing import Any

import torch
from timm.models import checkpoint_seq
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from ..position_embedding import sine_cosine_position_embedding


class MultiScaleFusion(nn.Module):
    """
    What the convolutional stages before a transformer add to its output in pretraining (ConvMAE, Gao et al. 2022,
    arXiv 2205.03892, section 3.2 "multi-scale decoder"; details from Alpha-VL/ConvMAE).

    Args:
        stage_dims (sequence of `int`): Channels of every stage's map.
        reductions (sequence of `int`): Positions per side of that map that one token covers.
        dim (`int`): Length of a token.
    """

    def __init__(self, stage_dims: Sequence[int], reductions: Sequence[int], dim: int):
        super().__init__()
        self.projections = nn.ModuleList(
            nn.Conv2d(channels, dim, reduction, stride=reduction)
            for channels, reduction in zip(stage_dims, reductions, strict=True)
        )

    def forward(self, maps: Sequence[Tensor], visible: Tensor) -> Tensor:
        """Maps `(B, channels, rows, columns)` and indices of visible patches `(B, V)` to a sum `(B, V, dim)`."""
        tokens = (
            gather_tokens(projection(stage).flatten(2).transpose(1, 2), visible)
            for projection, stage in zip(self.projections, maps, strict=True)
        )
        return reduce(torch.add, tokens)


class MaskedAutoencoderDecoder(nn.Module):
    """
    Narrow transformer that predicts the pixels of all patches from the encoded visible ones.

    Args:
        encoder_dim (`int`): Length of an encoded token.
        dim (`int`): Width.
        depth (`int`): Blocks.
        heads (`int`): Attention heads.
        grid (`tuple[int, int]`): Rows and columns of patches.
        prefix (`int`): Class tokens of the encoder.
        outputs (`int`): Values to predict per patch.
        fusion ([`MultiScaleFusion`], *optional*): Of a convolutional encoder; applied by [`MaskedAutoencoder`] before
            the encoder's norm, and kept here because the classifier does without it as without the decoder.
    """

    position_embedding: Tensor

    def __init__(
        self,
        encoder_dim: int,
        dim: int,
        depth: int,
        heads: int,
        grid: tuple[int, int],
        prefix: int,
        outputs: int,
        fusion: MultiScaleFusion | None = None,
    ):
        super().__init__()
        self.grid, self.num_prefix_tokens = grid, prefix
        self.fusion = fusion
        norm_layer: Any = partial(nn.LayerNorm, eps=1e-6)  # timm asks for a class and calls it
        self.embedding = nn.Linear(encoder_dim, dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.blocks = nn.Sequential(
            *(Block(dim, heads, mlp_ratio=4.0, qkv_bias=True, norm_layer=norm_layer) for _ in range(depth))
        )
        self.norm = norm_layer(dim)
        self.prediction = nn.Linear(dim, outputs)
        self.register_buffer("position_embedding", torch.zeros(1, prefix + grid[0] * grid[1], dim), persistent=False)
        self.fill_buffers()

    @torch.no_grad()
    def fill_buffers(self) -> None:
        """Write the position embedding (again after loading)."""
        if not self.position_embedding.is_meta:
            dim = self.position_embedding.shape[-1]
            self.position_embedding.copy_(sine_cosine_position_embedding(dim, *self.grid, self.num_prefix_tokens))

    def forward(self, encoded: Tensor, restore: Tensor, checkpointing: bool = False) -> Tensor:
        """
        Encoded prefix and visible tokens `(B, P + V, D)` to predictions `(B, N, outputs)`; `restore` `(B, N)` says
        where in visible-then-masked order each patch is.
        """
        x = self.embedding(encoded)
        prefix, visible = x[:, : self.num_prefix_tokens], x[:, self.num_prefix_tokens :]
        missing = restore.shape[1] - visible.shape[1]
        mask_tokens = self.mask_token.to(x.dtype).expand(x.shape[0], missing, -1)
        x = gather_tokens(torch.cat([visible, mask_tokens], dim=1), restore)
        x = torch.cat([prefix, x], dim=1) + self.position_embedding.to(x.dtype)
        x = checkpoint_seq(self.blocks, x) if checkpointing else self.blocks(x)
        return self.prediction(self.norm(x))[:, self.num_prefix_tokens :]


def gather_tokens(tokens: Tensor, index: Tensor) -> Tensor:
    """Tokens `(B, N, D)` at positions `(B, M)`, as `(B, M, D)`."""
    return tokens.gather(1, index.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))
