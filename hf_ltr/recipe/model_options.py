"""Options of the network."""

from __future__ import annotations

import dataclasses
from collections.abc import Container
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..naming import check_initial_checkpoint

if TYPE_CHECKING:
    from ..data import ClassCounts
    from ..models import LongTailConfig


@dataclass
class ModelOptions:
    """Which network. Meaning as in [`LongTailConfig`]."""

    backbone: str = field(default="resnet32_cifar", metadata={"help": "Any timm model, or one of ours."})
    image_size: int | None = field(default=None, metadata={"help": "Pixels; the backbone's own if unset."})
    num_channels: int = field(default=3, metadata={"help": "1 for grayscale."})
    image_mean: list[float] | None = field(default=None, metadata={"help": "Per channel; 0.5 from scratch if unset."})
    image_std: list[float] | None = field(default=None, metadata={"help": "Per channel; 0.5 from scratch if unset."})
    crop_ratio: float | None = field(default=None, metadata={"help": "Evaluation crop over resized shorter side."})
    interpolation: str | None = field(default=None, metadata={"help": "Of evaluation images; bicubic if unset."})
    backbone_pretrained: bool = field(default=False, metadata={"help": "Start from timm's weights (Hub)."})
    backbone_kwargs: dict | None = field(default=None, metadata={"help": "Arguments of timm.create_model, JSON."})
    drop_path_rate: float = field(default=0.0, metadata={"help": "Stochastic depth."})
    global_pool: str | None = field(default=None, metadata={"help": "avg for MAE fine-tuning."})
    head: str | None = field(default=None, metadata={"help": "Kind of head; the method decides if unset."})
    head_scale: float | None = field(default=None, metadata={"help": "Scale of a cosine head."})
    head_init_std: float | None = field(default=None, metadata={"help": "Of a new head; 2e-5 in MAE fine-tuning."})
    masked_autoencoder: dict | None = field(default=None, metadata={"help": "Decoder options, JSON."})

    def config(self, class_counts: ClassCounts) -> LongTailConfig:
        """The [`LongTailConfig`] for these classes."""
        from ..models import LongTailConfig

        options: dict[str, Any] = {
            item.name: getattr(self, item.name)
            for item in dataclasses.fields(self)
            if item.name not in ("backbone_pretrained", "backbone_kwargs", "masked_autoencoder")
        }
        options["backbone_kwargs"] = self.backbone_kwargs or {}
        if self.backbone_pretrained:
            options["backbone_pretrained"] = True
        names = class_counts.names
        if names is not None:
            options["id2label"] = dict(enumerate(names))
            options["label2id"] = {name: index for index, name in enumerate(names)}
        return LongTailConfig(
            num_labels=len(class_counts),
            class_counts=class_counts,
            group_thresholds=class_counts.thresholds,
            group_scheme=class_counts.grouping,
            **options,
        )

    def pretraining_config(self) -> dict[str, Any]:
        """Fields of the config that pretraining alone has."""
        return {"masked_autoencoder": self.masked_autoencoder}

    def normalised_as(self, checkpoint: str, given: Container[str]) -> ModelOptions:
        """
        Options that normalise images as the weights at `checkpoint` (folder or Hub id) were trained, where what was
        `given` does not say how.
        """
        from ..models import LongTailConfig

        check_initial_checkpoint(checkpoint)
        theirs = LongTailConfig.from_pretrained(checkpoint)
        if theirs.num_channels != self.num_channels or "image_mean" in given or "image_std" in given:
            return self  # weights that do not fit are refused when they are loaded
        return dataclasses.replace(self, image_mean=list(theirs.image_mean), image_std=list(theirs.image_std))
