"""Classifiers on pooled features."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..validation import choice

# Scale of the cosine head of kaidic/LDAM-DRW (`s=30` of its LDAM loss).
DEFAULT_COSINE_SCALE = 30.0

# What a centroid head does to features before it compares them, and how it compares.
CENTROID_TRANSFORMS = ("un", "l2n", "cl2n")
CENTROID_METRICS = ("l2", "cos")


def _at_least_float32(*tensors: Tensor) -> torch.dtype:
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype


class CosineHead(nn.Module):
    """
    Scaled cosine similarity between features and class vectors, without bias.

    The head of LDAM (Cao et al. 2019; `NormedLinear` of kaidic/LDAM-DRW, which leaves the scale to the loss): here the
    scale belongs to the model, so that its logits are the ones it was trained with. Weights are stored as
    `(in_features, out_features)` like there. Computed in at least float32, also under autocast: in bfloat16 a logit
    near 30 is rounded to an eighth.

    Args:
        in_features (`int`): Length of the feature vector.
        out_features (`int`): Number of classes.
        scale (`float`, *optional*, defaults to 30.0): Factor on the cosine.
    """

    def __init__(self, in_features: int, out_features: int, scale: float = DEFAULT_COSINE_SCALE):
        super().__init__()
        self.in_features, self.out_features, self.scale = in_features, out_features, scale
        self.weight = nn.Parameter(torch.empty(in_features, out_features))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Uniform directions, columns of length one up to rounding (the initialisation of `NormedLinear`)."""
        self.weight.uniform_(-1, 1).renorm_(2, 1, 1e-5).mul_(1e5)

    def forward(self, features: Tensor) -> Tensor:
        """`(B, in_features)` to logits `(B, out_features)`."""
        with torch.autocast(features.device.type, enabled=False):
            dtype = _at_least_float32(features, self.weight)
            directions = F.normalize(features.to(dtype), dim=1)
            class_directions = F.normalize(self.weight.to(dtype), dim=0)
            return self.scale * (directions @ class_directions)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, scale={self.scale}"


class ScaledHead(nn.Module):
    """
    A linear layer whose logits are multiplied by one learnable number per class: `scale_c * (w_c x + b_c)`.

    Learnable weight scaling (Kang et al. 2020, section 4.3; `DotProduct_Classifier` in `models/TauNormClassifier.py`
    of facebookresearch/classifier-balancing, whose scale multiplies the bias too, and the same in
    dvlab-research/MiSLAS). `weight` and `bias` have the names and shapes of a linear layer, so a linear checkpoint
    loads into it; `scale`, which such a checkpoint lacks, then stays at one, and the logits are those of the linear
    layer.

    Args:
        linear (`nn.Linear`): Its parameters become this head's (they are shared, not copied); the bias may be absent.
    """

    bias: nn.Parameter | None

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight = linear.weight
        self.register_parameter("bias", linear.bias)
        self.scale = nn.Parameter(torch.ones_like(linear.weight[:, 0]))

    def forward(self, features: Tensor) -> Tensor:
        """`(B, in_features)` to logits `(B, out_features)`."""
        return self.scale * F.linear(features, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class CentroidHead(nn.Module):
    """
    Nearest class mean: the score of a class is its centroid's negative squared distance from the feature.

    Kang et al. 2020, section 4.2, as in `models/KNNClassifier.py` of facebookresearch/classifier-balancing. Nothing is
    trained: `centroids` and `mean` are buffers, filled from the training images (see the method `ncm`). Computed in at
    least float32, also under autocast.

    Args:
        in_features (`int`): Length of the feature vector.
        out_features (`int`): Number of classes.
        transform (`str`, *optional*, defaults to `"cl2n"`): Of features and, before they are averaged, of the training
            features: `"un"` none, `"l2n"` length one, `"cl2n"` minus the mean of all training features, then length
            one. A zero vector stays zero.
        metric (`str`, *optional*, defaults to `"l2"`): `"l2"` scores `-||x - c||^2`; `"cos"` scores
            `x . c / in_features`, which is what the released code calls cosine: it normalises neither the centroids,
            which are averages of unit vectors, nor, with `"un"`, the features.

    Buffers:
        centroids (`Tensor` of shape `(out_features, in_features)`): Mean transformed feature of each class.
        mean (`Tensor` of shape `(in_features,)`): Mean of all training features for `"cl2n"`, zeros otherwise.
    """

    centroids: Tensor
    mean: Tensor

    def __init__(self, in_features: int, out_features: int, transform: str = "cl2n", metric: str = "l2"):
        super().__init__()
        choice("transform of a centroid head", transform, CENTROID_TRANSFORMS)
        choice("metric of a centroid head", metric, CENTROID_METRICS)
        self.in_features, self.out_features = in_features, out_features
        self.transform, self.metric = transform, metric
        self.register_buffer("centroids", torch.zeros(out_features, in_features))
        self.register_buffer("mean", torch.zeros(in_features))

    @property
    def weight(self) -> Tensor:
        """The centroids, under the name by which the other heads' type and device are asked for."""
        return self.centroids

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Forget the centroids: all scores are then equal."""
        self.centroids.zero_()
        self.mean.zero_()

    def transformed(self, features: Tensor) -> Tensor:
        """`features` of shape `(B, in_features)` as they are compared with, or averaged into, centroids."""
        if self.transform == "un":
            return features
        if self.transform == "cl2n":
            features = features - self.mean.to(features.dtype)
        return F.normalize(features, dim=1)

    def forward(self, features: Tensor) -> Tensor:
        """`(B, in_features)` to scores `(B, out_features)`; a score is a logit like any other."""
        with torch.autocast(features.device.type, enabled=False):
            dtype = _at_least_float32(features, self.centroids)
            features, centroids = self.transformed(features.to(dtype)), self.centroids.to(dtype)
            products = features @ centroids.T
            if self.metric == "cos":
                return products / self.in_features
            return 2 * products - features.square().sum(1, keepdim=True) - centroids.square().sum(1)

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, transform={self.transform!r}, "
            f"metric={self.metric!r}"
        )


# The classifiers of `LongTailForImageClassification`.
Head = nn.Linear | CosineHead | ScaledHead | CentroidHead


@torch.no_grad()
def as_linear(head: nn.Module) -> nn.Linear:
    """
    A new linear layer, with bias, that gives the probabilities of `head`: what a plain timm or transformers checkpoint
    can hold.

    The logits are those of `head`, except for the distance of a centroid head, where the term `-||x||^2`, the same for
    all classes of an image, is left out; no softmax sees it.

    Args:
        head (`nn.Module`): [`ScaledHead`], `nn.Linear`, or a [`CentroidHead`] on untransformed features.

    Returns:
        `nn.Linear`: On the same device and of the same type; computed in float64 in between. Independent of `head`.

    Raises:
        `ValueError`: for a head that normalises features, which no linear layer does.
    """
    if isinstance(head, CosineHead):
        raise ValueError(
            "A cosine head divides by the length of the features, which no linear layer can do: the class would stay "
            "the same, the probabilities would not."
        )
    if isinstance(head, CentroidHead):
        if head.transform != "un":
            raise ValueError(
                f"A centroid head with transform {head.transform!r} normalises the features, which no linear layer "
                "can do. Only transform 'un' is linear."
            )
        centroids = head.centroids.cpu().double()
        bias: Tensor | None
        if head.metric == "cos":
            weight, bias = centroids / head.in_features, None
        else:
            weight, bias = 2 * centroids, -centroids.square().sum(1)
    elif isinstance(head, ScaledHead | nn.Linear):
        # On the CPU, because not every device has float64.
        scale = head.scale.cpu().double() if isinstance(head, ScaledHead) else torch.ones(1, dtype=torch.float64)
        weight = head.weight.cpu().double() * scale.reshape(-1, 1)
        bias = None if head.bias is None else head.bias.cpu().double() * scale
    else:
        raise ValueError(f"{type(head).__name__} is no head of this package and cannot be written as a linear layer")
    like = head.weight
    linear = nn.Linear(head.in_features, head.out_features, device="meta").to_empty(device=like.device).to(like.dtype)
    linear.weight.copy_(weight)
    linear.bias.copy_(torch.zeros(()) if bias is None else bias)
    return linear
