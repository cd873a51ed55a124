"""Convolutional stages that turn an image into the tokens of a transformer, optionally blind to masked patches."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from timm.layers import DropPath, LayerNorm2d, Mlp, to_2tuple
from timm.models import checkpoint
from torch import Tensor, nn

# The convolutional part of the published code takes torch's default, the transformer 1e-6.
_NORM_EPSILON = 1e-5
_KERNEL_SIZE = 5


class ConvolutionalBlock(nn.Module):
    """
    A transformer block with a depthwise convolution in the place of attention (ConvMAE, Gao et al. 2022, arXiv
    2205.03892, section 3.2; details from Alpha-VL/ConvMAE).

    `x + pointwise(depthwise(keep * pointwise(norm(x))))`, then `x + mlp(norm(x))`. With a mask, the 5 x 5 convolution,
    which alone looks at other positions, reads zeros where a patch is hidden.

    Args:
        dim (`int`): Channels.
        mlp_ratio (`float`): Hidden channels of the perceptron over `dim`.
        drop (`float`, *optional*, defaults to 0.0): Dropout inside the perceptron.
        drop_path (`float`, *optional*, defaults to 0.0): Probability of skipping a branch for an image.
    """

    def __init__(self, dim: int, mlp_ratio: float, drop: float = 0.0, drop_path: float = 0.0):
        super().__init__()
        self.norm1 = LayerNorm2d(dim, eps=_NORM_EPSILON)
        self.conv_in = nn.Conv2d(dim, dim, 1)
        self.depthwise = nn.Conv2d(dim, dim, _KERNEL_SIZE, padding=_KERNEL_SIZE // 2, groups=dim)
        self.conv_out = nn.Conv2d(dim, dim, 1)
        self.drop_path = DropPath(drop_path) if drop_path > 0.0 else nn.Identity()
        self.norm2 = LayerNorm2d(dim, eps=_NORM_EPSILON)
        self.mlp = Mlp(dim, int(dim * mlp_ratio), drop=drop, use_conv=True)

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """Map `(B, C, H, W)` to the same shape; `keep` `(B, 1, H, W)` is 0 at hidden positions and 1 elsewhere."""
        inner = self.conv_in(self.norm1(x))
        if keep is not None:
            inner = inner * keep.to(inner.dtype)
        x = x + self.drop_path(self.conv_out(self.depthwise(inner)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class ConvolutionalStage(nn.Module):
    """
    Patches to channels by a convolution without overlap, layer norm and GELU; then [`ConvolutionalBlock`]s.

    Args:
        in_chans (`int`): Channels of the input.
        dim (`int`): Channels of the output.
        patch_size (`int`): Input positions per side that one output position covers.
        mlp_ratio (`float`): See [`ConvolutionalBlock`].
        drop (`float`): See [`ConvolutionalBlock`].
        drop_paths (sequence of `float`): Drop rate of each block; as many blocks are built.
    """

    def __init__(
        self, in_chans: int, dim: int, patch_size: int, mlp_ratio: float, drop: float, drop_paths: Sequence[float]
    ):
        super().__init__()
        self.proj = nn.Conv2d(in_chans, dim, patch_size, stride=patch_size)
        self.norm = LayerNorm2d(dim, eps=_NORM_EPSILON)
        self.act = nn.GELU()
        self.blocks = nn.ModuleList(ConvolutionalBlock(dim, mlp_ratio, drop, rate) for rate in drop_paths)

    def forward(self, x: Tensor, keep: Tensor | None = None, checkpointing: bool = False) -> Tensor:
        """Map `(B, in_chans, H, W)` to `(B, dim, H / patch_size, W / patch_size)`; `keep` is for the latter grid."""
        x = self.act(self.norm(self.proj(x)))
        for block in self.blocks:
            x = checkpoint(block, x, keep) if checkpointing else block(x, keep)
        return x


class ConvolutionalPatchEmbed(nn.Module):
    """
    Images to tokens through convolutional stages, in the place of timm's `PatchEmbed`.

    Args:
        img_size (`int` or pair): Pixels per side, or height and width.
        patch_sizes (sequence of `int`): Reduction of every stage and of the last embedding, `(4, 2, 2)` for ConvMAE-B.
        stage_dims (sequence of `int`): Channels of every stage, one fewer than `patch_sizes`.
        in_chans (`int`): Channels of the images.
        embed_dim (`int`): Length of a token.
        mlp_ratio (`float`): See [`ConvolutionalBlock`].
        drop (`float`): See [`ConvolutionalBlock`].
        drop_paths (sequence of sequences of `float`): Drop rates of every stage's blocks.

    Attributes:
        patch_size (`tuple[int, int]`): Pixels per token, the product of `patch_sizes`.
        grid_size (`tuple[int, int]`): Rows and columns of tokens.
        num_patches (`int`): Tokens of an image.
        reductions (`list[int]`): Positions per side of every stage's map that one token covers.
    """

    def __init__(
        self,
        img_size: int | tuple[int, int],
        *,
        patch_sizes: Sequence[int],
        stage_dims: Sequence[int],
        in_chans: int,
        embed_dim: int,
        mlp_ratio: float,
        drop: float,
        drop_paths: Sequence[Sequence[float]],
    ):
        super().__init__()
        self.patch_size = to_2tuple(prod(patch_sizes))
        self.reductions = [prod(patch_sizes[index + 1 :]) for index in range(len(stage_dims))]
        self.stage_dims = list(stage_dims)
        self.grad_checkpointing = False
        self.set_input_size(img_size)
        channels = [in_chans, *stage_dims]
        self.stages = nn.ModuleList(
            ConvolutionalStage(channels[index], dim, patch_sizes[index], mlp_ratio, drop, drop_paths[index])
            for index, dim in enumerate(stage_dims)
        )
        self.proj = nn.Conv2d(channels[-1], embed_dim, patch_sizes[-1], stride=patch_sizes[-1])
        self.norm = LayerNorm2d(embed_dim, eps=_NORM_EPSILON)
        self.act = nn.GELU()
        self.linear = nn.Linear(embed_dim, embed_dim)

    def forward(self, images: Tensor) -> Tensor:
        """Images `(B, C, H, W)` to tokens `(B, N, D)`, row after row of the grid."""
        return self.forward_stages(images)[0]

    def forward_stages(self, images: Tensor, keep: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
        """
        Tokens and what the stages before them computed.

        Args:
            images (`Tensor` of shape `(B, C, H, W)`).
            keep (`Tensor` of shape `(B, N)`, *optional*): 1 for visible and 0 for hidden patches. What is returned at
                visible patches then depends on visible pixels alone: embeddings and pointwise layers stay inside a
                patch, and the depthwise convolutions read zeros in its hidden neighbours.

        Returns:
            `tuple`: tokens `(B, N, D)`, and one map `(B, channels, rows, columns)` per stage.

        Raises:
            `ValueError`: for images of another size than the model was built for.
        """
        if tuple(images.shape[-2:]) != self.img_size:
            raise ValueError(
                f"images of {images.shape[-2]} x {images.shape[-1]} pixels do not fit a model built for "
                f"{self.img_size[0]} x {self.img_size[1]}; resize them, or build the model with another image size"
            )
        x, maps = images, []
        for stage, reduction in zip(self.stages, self.reductions, strict=True):
            x = stage(x, None if keep is None else self._upsample(keep, reduction), self.grad_checkpointing)
            maps.append(x)
        x = self.act(self.norm(self.proj(x)))
        return self.linear(x.flatten(2).transpose(1, 2)), maps

    def _upsample(self, keep: Tensor, factor: int) -> Tensor:
        """A mask over tokens `(B, N)` to one over positions `(B, 1, factor * rows, factor * columns)`."""
        grid = keep.reshape(-1, 1, *self.grid_size)
        return grid.repeat_interleave(factor, dim=2).repeat_interleave(factor, dim=3)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute the convolutional blocks in the backward pass; their maps are the largest activations."""
        self.grad_checkpointing = enable

    def set_input_size(
        self, img_size: int | tuple[int, int] | None = None, patch_size: int | tuple[int, int] | None = None
    ) -> None:
        """
        Prepare for images of another size, as timm's `PatchEmbed` does.

        Raises:
            `ValueError`: for another patch size, which would need other convolutions.
        """
        if patch_size is not None and to_2tuple(patch_size) != self.patch_size:
            raise ValueError(
                f"the convolutional stages make patches of {self.patch_size[0]} pixels, which cannot be changed to "
                f"{patch_size}; build the model with other patch_sizes"
            )
        if img_size is not None:
            self.img_size = to_2tuple(img_size)
            self.grid_size = self.dynamic_feat_size(self.img_size)
            self.num_patches = self.grid_size[0] * self.grid_size[1]

    def feat_ratio(self, as_scalar: bool = True) -> int | tuple[int, int]:
        """Pixels per token, as timm asks for it."""
        return self.patch_size[0] if as_scalar else self.patch_size

    def dynamic_feat_size(self, img_size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of tokens for images of a height and width."""
        return img_size[0] // self.patch_size[0], img_size[1] // self.patch_size[1]
