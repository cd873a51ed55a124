"""Masked autoencoding as a method without labels: stage one of MEM, on the long-tailed images themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..data.randomness import uniform
from ..validation import flag, number
from .base import Counts, LongTailMethod, Stage
from .batch import Batch, sample_weights, weighted_mean
from .host import MethodHost

if TYPE_CHECKING:
    from ..models import LongTailConfig

# Stream of the counter-based generator, apart from those of the augmentations.
MASK_STREAM = 1_000


class MaskedAutoencoding(LongTailMethod):
    """
    Reconstruct the masked patches of an image (He et al. 2022). The model is a [`~hf_ltr.models.MaskedAutoencoder`].

    The mask of an image is a function of (seed, epoch, row, occurrence), so resuming, accumulating or splitting the
    batch over processes masks the same patches.

    Args:
        class_counts ([`ClassCounts`] or sequence of `int`): Only recorded; the loss does not use labels.
        mask_ratio (`float`, *optional*, defaults to 0.75): Share of the patches that are hidden.
        normalize_targets (`bool`, *optional*, defaults to `True`): Whether each target patch is normalised by its own
            mean and variance (`norm_pix_loss`).
    """

    name = "masked_autoencoding"
    summary = "Self-supervised pretraining: a vision transformer reconstructs the hidden patches of its images."
    when_to_use = (
        "Before fine-tuning a vision transformer on a long tail without a pretrained model of the domain; from "
        "scratch it would learn little. It trains no classifier and uses no labels."
    )
    stage_name = "pretraining"
    uses_labels = False
    accepts_soft_targets = False
    paper = {
        "title": "Masked Autoencoders Are Scalable Vision Learners",
        "authors": "Kaiming He, Xinlei Chen, Saining Xie, Yanghao Li, Piotr Dollar, Ross Girshick",
        "year": 2022,
        "url": "https://arxiv.org/abs/2111.06377",
    }

    def __init__(self, class_counts: Counts, mask_ratio: float = 0.75, normalize_targets: bool = True):
        super().__init__(class_counts)
        number("mask_ratio", mask_ratio, above=0, below=1)
        flag("normalize_targets", normalize_targets)
        self.mask_ratio, self.normalize_targets = mask_ratio, normalize_targets
        self.seed = 0

    def configure(self, config: LongTailConfig) -> None:
        options = dict(config.masked_autoencoder or {})
        for key, value in (("mask_ratio", self.mask_ratio), ("norm_pix_loss", self.normalize_targets)):
            if options.setdefault(key, value) != value:
                raise ValueError(
                    f"masked_autoencoding has {key}={value} but config.masked_autoencoder says {options[key]}; set one"
                )
        config.masked_autoencoder = options

    def stages(self) -> list[Stage]:
        from ..models import MaskedAutoencoder

        return [Stage(self.stage_name, self, model_class=MaskedAutoencoder)]

    def setup(self, trainer: MethodHost) -> None:
        self.seed = trainer.args.seed
        self.num_patches = trainer.model.num_patches

    def training_loss(self, model: nn.Module, batch: Batch) -> tuple[dict[str, torch.Tensor], Any]:
        noise = uniform(batch["keys"], self.seed, MASK_STREAM, self.num_patches)
        outputs = model(pixel_values=batch["pixel_values"], noise=noise)
        return {"reconstruction": weighted_mean(outputs.loss_per_sample, sample_weights(batch))}, outputs
