"""Classifiers on pooled features."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Scale of the cosine head of kaidic/LDAM-DRW (`s=30` of its LDAM loss).
DEFAULT_COSINE_SCALE = 30.0


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
            dtype = torch.promote_types(torch.promote_types(features.dtype, self.weight.dtype), torch.float32)
            directions = F.normalize(features.to(dtype), dim=1)
            class_directions = F.normalize(self.weight.to(dtype), dim=0)
            return self.scale * (directions @ class_directions)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, scale={self.scale}"


@torch.no_grad()
def initialize_linear_head(head: nn.Linear, std: float) -> None:
    """Truncated normal weights of the given standard deviation and zero bias (MAE fine-tuning uses 2e-5)."""
    nn.init.trunc_normal_(head.weight, std=std)
    if head.bias is not None:
        nn.init.zeros_(head.bias)
