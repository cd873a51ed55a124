"""The model that a stage trains: its config, and the weights it begins with."""

from __future__ import annotations

import copy
import logging
import warnings
from typing import Any, cast

import torch
from transformers import set_seed

from ..methods import Stage
from ..models import LongTailConfig, LongTailForImageClassification
from ..models.checkpoints.checkpoint_conversion import check_same_encoder
from ..models.checkpoints.vit_checkpoints import knows_no_classes
from ..models.modeling import LongTailPreTrainedModel
from ..models.quiet import quiet_loading
from ..naming import check_initial_checkpoint, unknown_name
from .checks import check_same_classes

logger = logging.getLogger(__name__)


def stage_config(stage: Stage, config: Any) -> Any:
    """The config of the model a stage trains: a copy of `config` with the stage's fields and the method's demands."""
    config = copy.deepcopy(config)
    for key, value in stage.config.items():
        if not hasattr(config, key):
            raise unknown_name(f"config field of stage {stage.name!r}", key, config.to_dict())
        setattr(config, key, value)
    stage.method.configure(config)
    config.validate()
    config.method = stage.method.describe()
    return config


def build_stage_model(stage: Stage, config: Any, start: str | None, *, seed: int) -> LongTailPreTrainedModel:
    """
    The model a stage begins with: from scratch, or the weights of `start` with what is new initialised.

    Raises:
        `ValueError`: if `start` is a classifier of other classes than `config` describes.
    """
    model_class = cast(type[LongTailPreTrainedModel], stage.model_class or LongTailForImageClassification)
    config = stage_config(stage, config)
    set_seed(seed)
    if start is None:
        return model_class(config)
    check_initial_classes(start, config, stage.new_classifier)
    # What a stage adds is meant to be missing from the checkpoint before it; a report of it reads like a mistake.
    with quiet_loading():
        if stage.new_classifier:
            return _with_new_classifier(model_class, start, config)
        return model_class.from_pretrained(start, config=config, dtype=torch.float32)


def _with_new_classifier(
    model_class: type[LongTailPreTrainedModel], start: str, config: Any
) -> LongTailPreTrainedModel:
    """The weights of `start` with a new head for the classes of `config`; all else has to fit."""
    with warnings.catch_warnings():
        # They would be about the head that is taken away.
        warnings.simplefilter("ignore", UserWarning)
        loaded: Any = model_class.from_pretrained(
            start, config=config, dtype=torch.float32, ignore_mismatched_sizes=True, output_loading_info=True
        )
    model, found = loaded
    others = sorted(str(key[0] if isinstance(key, tuple) else key) for key in found["mismatched_keys"])
    others = [key for key in others if not key.startswith("classifier.")]
    if others:
        raise ValueError(
            f"The weights of {start} do not fit: {others[0]} has another shape there ({len(others)} such tensors). "
            "Build the config as the checkpoint's, or start from another one."
        )
    model.reset_classifier()
    return model


def check_initial_classes(start: str, config: Any, new_classifier: bool = False) -> None:
    """
    Refuse a starting checkpoint whose classes, in any order, or whose encoder are not those of `config`.

    Args:
        start (`str`): Folder or Hub id of a checkpoint of this package, or of transformers' ViTMAE or ViT.
        config ([`LongTailConfig`]): Of the run.
        new_classifier (`bool`, defaults to `False`): Whether the head is left behind, so that classes do not matter.

    Raises:
        `FileNotFoundError`: if there is no such folder.
        `ValueError`: naming the classes or sizes that differ.
    """
    check_initial_checkpoint(start)
    theirs = LongTailConfig.from_pretrained(start)
    check_same_encoder(theirs, config, start)
    same_channels = theirs.num_channels == config.num_channels
    if same_channels and (theirs.image_mean, theirs.image_std) != (config.image_mean, config.image_std):
        logger.warning(
            "%s was trained on images normalised with mean %s and standard deviation %s, this run uses %s and %s",
            *(start, theirs.image_mean, theirs.image_std, config.image_mean, config.image_std),
        )
    if new_classifier or knows_no_classes(theirs):
        return
    check_same_classes(theirs, config, start, any_order=True)
