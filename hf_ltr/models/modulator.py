"""The mutual exclusive modulator: weights for groups of classes, computed per image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from .auxiliary_module import AuxiliaryModule, ClassifierFields, ModuleMetrics
from .backbone_sizes import backbone_shape
from .modulator_options import MODULATOR_DEFAULTS, modulator_options

# Under the square root of a magnitude: the norm has no gradient at zero.
_EPSILON = 1e-12


class GroupNetwork(nn.Module):
    """
    One network Q_g of equation 1: tokens to a vector whose length is the magnitude of the group.

    Projection to `width`, transformer blocks, pooling, and a last linear layer with nothing behind it: a layer norm at
    the end would give every image the same length, the square root of the width.
    """

    def __init__(self, token_dim: int, width: int, depth: int, heads: int, mlp_ratio: float):
        super().__init__()
        self.projection = nn.Linear(token_dim, width)
        self.blocks = nn.Sequential(*(Block(width, heads, mlp_ratio=mlp_ratio, qkv_bias=True) for _ in range(depth)))
        self.output = nn.Linear(width, width)

    def forward(self, tokens: Tensor, pooled: slice) -> Tensor:
        """Tokens `(B, N, D)` to vectors `(B, width)`; the tokens of `pooled` are averaged."""
        vector = self.blocks(self.projection(tokens))[:, pooled].mean(dim=1)
        # The length of this vector grows to 100 and its square enters the loss: not in half precision.
        with torch.autocast(vector.device.type, enabled=False):
            return self.output(vector.to(self.output.weight.dtype))


class MutualExclusiveModulator(AuxiliaryModule):
    """
    Multiplies each logit of a classifier with a weight of its group of classes (Long et al., arXiv 2302.09498).

    Per group g a small network gives a magnitude `q_g` (section 3.1), the L2 norm of its output; a fusion network maps
    all magnitudes and the largest logits of each group to group weights `w` (equation 7); the modulated logit of
    class j is `l_j * w_g(j)` (equation 8).

    What the paper leaves open, and the choice here: the networks read all tokens after the encoder's last block
    (before its final norm), or the positions of a CNN's last map, and average the patch tokens; K is 5, or the size
    of a smaller group; the fusion network is `Linear - GELU - Linear` on layer-normalised inputs; its output goes
    through a softplus whose bias makes every weight 1 at the first step, so that training starts from the given
    classifier, and which keeps weights positive, so that the order of classes inside a group never changes.
    `activation="none"` is the formula as written.

    Positive weights leave the order of classes inside a group to the classifier, and with it the imbalance that a
    group has inside (500 to 101 images among the many of CIFAR-100-LT at imbalance factor 100). With
    `within_group_tau`, which is not of the paper and, to our knowledge, published nowhere, the logit of class j is
    first `l_j - within_group_tau * log(n_j / N_g(j))`, where `n_j` are the training images of the class and `N_g(j)`
    those of all classes of its group: post-hoc logit adjustment (Menon et al. 2021) inside each group, which leaves
    the prior between groups to the weights. The fusion network's largest logits, the `logit_reference` and the
    product all read that logit.

    The blocks follow autocast; from the last linear layer of the group
    networks on it is switched off: magnitudes grow to 100 and their squares enter the loss.

    Args:
        config ([`LongTailConfig`]): `config.modules["modulator"]` holds the options, all of them optional:

            - `width` (256), `depth` (1), `heads` (at most `width // 64`), `mlp_ratio` (4.0): of the group networks;
            - `top_k` (5): logits per group that the fusion network sees; `fusion_width` (64): its hidden size;
            - `activation`: `"softplus"`, `"none"`, `"exp"`, `"sigmoid2"` (twice the sigmoid) or `"softmax"`
              (over the groups, times their number: weights of mean 1, which cannot sharpen all logits at once);
            - `logit_reference`: `"none"`, or what is subtracted from the logits before they are weighted: `"min"`,
              `"mean"`, or `"log_softmax"` (their log-sum-exp);
            - `tokens`: `"all"`, or `"pooled"`: the feature vector that the classifier reads, as a single token;
            - `pooling`: `"mean"` of the patch tokens, or `"cls"`, the first token;
            - `fusion_normalization`: `"layer"`, or `"none"`: magnitudes near 100 beside logits near 10 as they are;
            - `detach_magnitude` (`False`): no gradient from the modulated logits into the group networks;
            - `within_group_tau` (0.0): strength of the removal of the class prior inside each group;
            - `class_counts`: training images per class, which `within_group_tau` reads; those of the config if not
              given, and kept here from then on;
            - `group_of_class`: one group index per class, or `groups`: a list of class indices per group. If neither
              is given, many / medium / few of `config.class_counts`, or even thirds if one of the three is empty.

    Raises:
        `ValueError`: for fewer than two groups, an empty group, or classes in no or several groups; with
            `within_group_tau`, for classes without training images.
    """

    group_of_class: Tensor
    group_members: Tensor
    group_padding: Tensor
    top_positions: Tensor
    class_images: Tensor
    group_images: Tensor

    name = "modulator"
    defaults = MODULATOR_DEFAULTS
    metric_names = ("modulator_group_accuracy", "magnitude_group_accuracy")

    def __init__(self, config: ClassifierFields):
        super().__init__(config)
        options = self.options
        shape = backbone_shape(config)
        self.activation = options["activation"]
        self.logit_reference = options["logit_reference"]
        self.detach_magnitude = options["detach_magnitude"]
        self.reads_tokens = options["tokens"] == "all"
        self.num_prefix_tokens = shape.num_prefix_tokens if self.reads_tokens else 0
        self.pooling = options["pooling"]
        self.within_group_tau = options["within_group_tau"]

        group_of_class = options["group_of_class"]
        self.num_groups = max(group_of_class) + 1
        sizes = [group_of_class.count(group) for group in range(self.num_groups)]
        self.top_k = [min(options["top_k"], size) for size in sizes]
        input_dim = shape.token_dim if self.reads_tokens else shape.feature_dim
        self.networks = nn.ModuleList(
            GroupNetwork(input_dim, options["width"], options["depth"], options["heads"], options["mlp_ratio"])
            for _ in range(self.num_groups)
        )
        fusion_inputs = self.num_groups + sum(self.top_k)
        layer_norm = options["fusion_normalization"] == "layer"
        self.fusion_norm = nn.LayerNorm(fusion_inputs) if layer_norm else nn.Identity()
        self.fusion = nn.Sequential(
            nn.Linear(fusion_inputs, options["fusion_width"]),
            nn.GELU(),
            nn.Linear(options["fusion_width"], self.num_groups),
        )
        # The map is saved with the weights; the rest follows from it.
        self.register_buffer("group_of_class", torch.zeros(len(group_of_class), dtype=torch.int64))
        members = (self.num_groups, max(sizes))
        self.register_buffer("group_members", torch.zeros(members, dtype=torch.int64), persistent=False)
        self.register_buffer("group_padding", torch.zeros(members, dtype=torch.bool), persistent=False)
        self.register_buffer("top_positions", torch.zeros(sum(self.top_k), dtype=torch.int64), persistent=False)
        if self.within_group_tau:
            # Images of each class and of its group: whole numbers, which no cast of the model rounds.
            for name in ("class_images", "group_images"):
                self.register_buffer(name, torch.ones(len(group_of_class), dtype=torch.int64), persistent=False)
        self.fill_buffers()
        self._initialize_fusion()

    @classmethod
    def complete_options(cls, options: Mapping[str, Any], config: ClassifierFields) -> dict[str, Any]:
        """All options, groups included."""
        complete = modulator_options(options, config.num_labels, config.class_counts, tuple(config.group_thresholds))
        if complete["pooling"] == "cls" and not backbone_shape(config).num_prefix_tokens:
            raise ValueError(
                f"modulator pooling 'cls' needs a class token, which backbone {config.backbone!r} does not have; "
                "use 'mean'"
            )
        return complete

    @classmethod
    def options_in_order(cls, options: dict[str, Any], order: Sequence[int]) -> dict[str, Any]:
        """Every class stays in its group, and keeps its images."""
        changed = dict(options)
        for name in ("group_of_class", "class_counts"):
            values = options.get(name)
            if values is not None and len(values) == len(order):
                changed[name] = [values[index] for index in order]
        return changed

    @classmethod
    def options_for_other_classes(cls, options: dict[str, Any]) -> None:
        """Groups of other classes mean nothing."""
        return None

    @torch.no_grad()
    def fill_buffers(self) -> None:
        """Write the group tables from the config (again after loading, which leaves garbage in what is not saved)."""
        if self.group_of_class.is_meta:
            return
        group_of_class = self.options["group_of_class"]
        members = torch.zeros(self.group_members.shape, dtype=torch.int64)
        padding = torch.ones(self.group_members.shape, dtype=torch.bool)
        for group in range(self.num_groups):
            classes = [index for index, value in enumerate(group_of_class) if value == group]
            members[group, : len(classes)] = torch.tensor(classes)
            padding[group, : len(classes)] = False
        widest = max(self.top_k)
        positions = [group * widest + rank for group, count in enumerate(self.top_k) for rank in range(count)]
        self.group_of_class.copy_(torch.tensor(group_of_class))
        self.group_members.copy_(members)
        self.group_padding.copy_(padding)
        self.top_positions.copy_(torch.tensor(positions))
        if self.within_group_tau:
            images = torch.tensor(self.options["class_counts"])
            groups = torch.zeros(self.num_groups, dtype=torch.int64).index_add_(0, self.group_of_class.cpu(), images)
            self.class_images.copy_(images)
            self.group_images.copy_(groups[self.group_of_class.cpu()])

    def reorder_classes(self, options: Mapping[str, Any], order: Sequence[int]) -> None:
        """Other classes in the same groups."""
        super().reorder_classes(options, order)
        self.fill_buffers()

    def initialize(self, config: ClassifierFields) -> None:
        """As for a new one; the groups are the config's, whatever the checkpoint says."""
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.LayerNorm)):
                module.reset_parameters()
        self._initialize_fusion()
        self.fill_buffers()

    def _initialize_fusion(self) -> None:
        """Every group weight is 1 at first."""
        last = cast(nn.Linear, self.fusion[-1])
        one = {"softplus": math.log(math.e - 1.0), "none": 1.0}.get(self.activation, 0.0)
        nn.init.zeros_(last.weight)
        nn.init.constant_(last.bias, one)

    def magnitudes(self, tokens: Tensor) -> Tensor:
        """Magnitude of each group, `(B, G)`, from tokens `(B, N, D)`, in the dtype of the parameters."""
        if self.pooling == "cls":
            pooled = slice(0, 1)
        else:
            pooled = slice(self.num_prefix_tokens if tokens.shape[1] > self.num_prefix_tokens else 0, None)
        vectors = torch.stack([network(tokens, pooled) for network in self.networks], dim=1)
        return torch.sqrt(vectors.square().sum(dim=-1) + _EPSILON)

    def largest_logits(self, logits: Tensor) -> Tensor:
        """The largest logits of each group in descending order, group after group: `(B, sum of K_g)`."""
        grouped = logits[:, self.group_members].masked_fill(self.group_padding, -torch.inf)
        largest = grouped.topk(max(self.top_k), dim=-1).values
        return largest.flatten(1)[:, self.top_positions]

    def group_weights(self, magnitudes: Tensor, logits: Tensor) -> Tensor:
        """Weight of each group, `(B, G)`, from magnitudes `(B, G)` and logits `(B, C)`."""
        if self.detach_magnitude:
            magnitudes = magnitudes.detach()
        weights = self.fusion(self.fusion_norm(torch.cat([magnitudes, self.largest_logits(logits)], dim=1)))
        if self.activation == "softplus":
            return F.softplus(weights)
        if self.activation == "exp":
            return weights.exp()
        if self.activation == "sigmoid2":
            return 2.0 * weights.sigmoid()
        if self.activation == "softmax":
            return self.num_groups * weights.softmax(dim=1)
        return weights

    def without_prior_inside_groups(self, logits: Tensor) -> Tensor:
        """Logits `(B, C)` minus `within_group_tau` times the log prior of each class inside its group."""
        if not self.within_group_tau:
            return logits
        dtype = torch.promote_types(logits.dtype, torch.float32)
        log_prior = self.class_images.to(dtype).log() - self.group_images.to(dtype).log()
        return logits - (self.within_group_tau * log_prior).to(logits.dtype)

    def _referenced(self, logits: Tensor) -> Tensor:
        if self.logit_reference == "min":
            return logits - logits.amin(dim=1, keepdim=True)
        if self.logit_reference == "mean":
            return logits - logits.mean(dim=1, keepdim=True)
        if self.logit_reference == "log_softmax":
            return logits.log_softmax(dim=1)
        return logits

    def forward(self, tokens: Tensor, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """
        Modulate logits.

        Args:
            tokens (`Tensor` of shape `(B, N, D)`): Tokens of the encoder, prefix tokens first; pooled features `(B,
                D)` count as one token.
            logits (`Tensor` of shape `(B, C)`): Of the classifier.

        Returns:
            `tuple`: modulated logits `(B, C)`, magnitudes `(B, G)` and group weights `(B, G)`.
        """
        if tokens.ndim == 2:
            tokens = tokens.unsqueeze(1)
        # Parameters are float32 unless the whole model was cast (to bfloat16 for inference, to float64 in tests).
        dtype = cast(nn.Linear, self.fusion[0]).weight.dtype
        magnitudes = self.magnitudes(tokens.to(dtype))
        with torch.autocast(tokens.device.type, enabled=False):
            logits = self.without_prior_inside_groups(logits.to(dtype))
            weights = self.group_weights(magnitudes, logits)
            return self._referenced(logits) * weights[:, self.group_of_class], magnitudes, weights

    def contribute(self, features: Tensor, tokens: Tensor | None, logits: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Modulated logits; `magnitudes` and `group_weights`, both `(B, G)`, are the extras."""
        logits, magnitudes, group_weights = self(tokens if self.reads_tokens else features, logits)
        return logits, {"magnitudes": magnitudes, "group_weights": group_weights}

    def metrics(self) -> list[ModuleMetrics]:
        """How well the groups of this modulator, which need not be those of the class counts, are told apart."""
        return [GroupsByMagnitude(self.group_of_class)]


class GroupsByMagnitude(ModuleMetrics):
    """
    `magnitude_group_accuracy`, the share of images whose largest magnitude is that of their group, and
    `modulator_group_accuracy`, the share predicted as a class of it.

    Args:
        group_of_class (`Tensor` of shape `(C,)`, integer): The modulator's.
    """

    sizes = {"images": 1, "predicted": 1, "largest": 1}

    def __init__(self, group_of_class: Tensor):
        self.group_of_class = group_of_class

    def update(
        self,
        sums: Mapping[str, Tensor],
        extras: Mapping[str, Tensor],
        predicted: Tensor,
        labels: Tensor,
        weight: Tensor,
    ) -> None:
        """Add a batch."""
        group = self.group_of_class.to(labels.device)
        largest = extras["magnitudes"].detach().to(labels.device).argmax(dim=1)
        sums["images"].add_(weight.sum())
        sums["predicted"].add_((weight * (group[predicted] == group[labels])).sum())
        sums["largest"].add_((weight * (largest == group[labels])).sum())

    def compute(self, sums: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Both shares."""
        return {
            "modulator_group_accuracy": float(sums["predicted"][0] / sums["images"][0]),
            "magnitude_group_accuracy": float(sums["largest"][0] / sums["images"][0]),
        }
