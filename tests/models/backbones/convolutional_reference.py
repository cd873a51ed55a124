"""ConvMAE's encoder written out slowly from its formulas, reading weights under the names of Alpha-VL/ConvMAE."""

from __future__ import annotations

import math

import torch
from torch import Tensor

Weights = dict[str, Tensor]


def random_weights(
    dims: tuple[int, int, int], patches: tuple[int, int, int], depths: tuple[int, int, int], grid: int, **options
) -> Weights:
    """Every parameter of the published encoder and fusion, drawn so that nothing is neutral."""
    generator = torch.Generator().manual_seed(options.get("seed", 0))
    shapes: dict[str, tuple[int, ...]] = {}

    def norm(name: str, width: int) -> None:
        shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (width,)

    def layer(name: str, *shape: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = shape, (shape[0],)

    channels = [3, *dims]
    for stage in range(3):
        layer(f"patch_embed{stage + 1}.proj", dims[stage], channels[stage], patches[stage], patches[stage])
        norm(f"patch_embed{stage + 1}.norm", dims[stage])
    layer("patch_embed4", dims[2], dims[2])
    shapes["pos_embed"] = (1, grid * grid, dims[2])
    for stage in range(2):
        width = dims[stage]
        for index in range(depths[stage]):
            block = f"blocks{stage + 1}.{index}"
            for part in ("conv1", "conv2"):
                layer(f"{block}.{part}", width, width, 1, 1)
            layer(f"{block}.attn", width, 1, 5, 5)
            layer(f"{block}.mlp.fc1", 4 * width, width, 1, 1)
            layer(f"{block}.mlp.fc2", width, 4 * width, 1, 1)
            norm(f"{block}.norm1", width)
            norm(f"{block}.norm2", width)
    for index in range(depths[2]):
        block, width = f"blocks3.{index}", dims[2]
        layer(f"{block}.attn.qkv", 3 * width, width)
        layer(f"{block}.attn.proj", width, width)
        layer(f"{block}.mlp.fc1", 4 * width, width)
        layer(f"{block}.mlp.fc2", width, 4 * width)
        norm(f"{block}.norm1", width)
        norm(f"{block}.norm2", width)
    last = options.get("last_norm", "norm")
    norm(last, dims[2])
    layer("stage1_output_decode", dims[2], dims[0], patches[1] * patches[2], patches[1] * patches[2])
    layer("stage2_output_decode", dims[2], dims[1], patches[2], patches[2])
    if options.get("classes"):
        layer("head", options["classes"], dims[2])
    weights = {}
    for name, shape in shapes.items():
        scale = 0.3 if len(shape) == 1 or name == "pos_embed" else 1.0 / math.sqrt(math.prod(shape[1:]))
        weights[name] = scale * torch.randn(shape, generator=generator, dtype=torch.float64)
        if "norm" in name and name.endswith("weight"):
            weights[name] += 1.0
    return weights


def layer_norm(x: Tensor, weights: Weights, name: str, epsilon: float) -> Tensor:
    mean = x.mean(dim=-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(dim=-1, keepdim=True)
    return (x - mean) / (variance + epsilon).sqrt() * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0)))


def dense(x: Tensor, weights: Weights, name: str) -> Tensor:
    weight = weights[f"{name}.weight"]
    return x @ weight.reshape(weight.shape[0], -1).T + weights[f"{name}.bias"]


def patches_to_vectors(x: Tensor, weights: Weights, name: str) -> Tensor:
    """A convolution with its stride, patch by patch; maps are `(rows, columns, channels)` throughout."""
    weight = weights[f"{name}.weight"]
    size = weight.shape[-1]
    rows, columns = x.shape[0] // size, x.shape[1] // size
    out = torch.zeros(rows, columns, weight.shape[0], dtype=x.dtype)
    for row in range(rows):
        for column in range(columns):
            patch = x[row * size : (row + 1) * size, column * size : (column + 1) * size].permute(2, 0, 1)
            out[row, column] = (weight * patch).sum(dim=(1, 2, 3)) + weights[f"{name}.bias"]
    return out


def depthwise(x: Tensor, hidden: Tensor | None, weights: Weights, name: str) -> Tensor:
    """5 x 5 per channel; positions outside the map or hidden are left out of the sum."""
    weight, rows, columns = weights[f"{name}.weight"], x.shape[0], x.shape[1]
    out = weights[f"{name}.bias"].repeat(rows, columns, 1)
    for row in range(rows):
        for column in range(columns):
            for down in range(-2, 3):
                for right in range(-2, 3):
                    r, c = row + down, column + right
                    if 0 <= r < rows and 0 <= c < columns and not (hidden is not None and hidden[r, c]):
                        out[row, column] = out[row, column] + weight[:, 0, down + 2, right + 2] * x[r, c]
    return out


def convolutional_block(x: Tensor, hidden: Tensor | None, weights: Weights, name: str) -> Tensor:
    inner = dense(layer_norm(x, weights, f"{name}.norm1", 1e-5), weights, f"{name}.conv1")
    x = x + dense(depthwise(inner, hidden, weights, f"{name}.attn"), weights, f"{name}.conv2")
    inner = dense(layer_norm(x, weights, f"{name}.norm2", 1e-5), weights, f"{name}.mlp.fc1")
    return x + dense(gelu(inner), weights, f"{name}.mlp.fc2")


def transformer_block(x: Tensor, heads: int, weights: Weights, name: str) -> Tensor:
    width = x.shape[1]
    size = width // heads
    queries, keys, values = dense(layer_norm(x, weights, f"{name}.norm1", 1e-6), weights, f"{name}.attn.qkv").split(
        width, dim=1
    )
    mixed = []
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        attention = (queries[:, part] @ keys[:, part].T / math.sqrt(size)).softmax(dim=1)
        mixed.append(attention @ values[:, part])
    x = x + dense(torch.cat(mixed, dim=1), weights, f"{name}.attn.proj")
    inner = dense(layer_norm(x, weights, f"{name}.norm2", 1e-6), weights, f"{name}.mlp.fc1")
    return x + dense(gelu(inner), weights, f"{name}.mlp.fc2")


def enlarge(hidden: set[int] | None, grid: int, factor: int) -> Tensor | None:
    if hidden is None:
        return None
    mask = torch.zeros(grid * factor, grid * factor, dtype=torch.bool)
    for patch in hidden:
        row, column = divmod(patch, grid)
        mask[row * factor : (row + 1) * factor, column * factor : (column + 1) * factor] = True
    return mask


def encode(
    image: Tensor, weights: Weights, patches: tuple[int, int, int], heads: int, visible: list[int] | None = None
) -> tuple[Tensor, Tensor]:
    """
    Tokens of one image `(3, H, W)` after the last block: all of them, or the visible patches in the given order; and
    the sum of the fusion for the same patches.
    """
    grid = image.shape[-1] // math.prod(patches)
    hidden = None if visible is None else set(range(grid * grid)) - set(visible)
    order = list(range(grid * grid)) if visible is None else visible
    x = image.permute(1, 2, 0)
    fused = torch.zeros(len(order), weights["pos_embed"].shape[-1], dtype=x.dtype)
    for stage, factor in ((1, patches[1] * patches[2]), (2, patches[2])):
        x = gelu(
            layer_norm(
                patches_to_vectors(x, weights, f"patch_embed{stage}.proj"), weights, f"patch_embed{stage}.norm", 1e-5
            )
        )
        depth = len({key.split(".")[1] for key in weights if key.startswith(f"blocks{stage}.")})
        for index in range(depth):
            x = convolutional_block(x, enlarge(hidden, grid, factor), weights, f"blocks{stage}.{index}")
        fused = fused + patches_to_vectors(x, weights, f"stage{stage}_output_decode").flatten(0, 1)[order]
    x = gelu(layer_norm(patches_to_vectors(x, weights, "patch_embed3.proj"), weights, "patch_embed3.norm", 1e-5))
    tokens = (dense(x.flatten(0, 1), weights, "patch_embed4") + weights["pos_embed"][0])[order]
    for index in range(len({key.split(".")[1] for key in weights if key.startswith("blocks3.")})):
        tokens = transformer_block(tokens, heads, weights, f"blocks3.{index}")
    return tokens, fused
