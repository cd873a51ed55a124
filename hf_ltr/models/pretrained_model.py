"""What the models of this package share: how they are loaded, saved and initialised."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import PreTrainedModel

from .backbone import Backbone
from .checkpoints.checkpoint_conversion import check_same_encoder, convert_checkpoint
from .checkpoints.code_files import SavesCode
from .checkpoints.initial_weights import weights_of_timm
from .checkpoints.initialization import building_on_meta
from .checkpoints.vit_checkpoints import knows_no_classes
from .class_order import counts_history, match_head, names_in_config
from .configuration import LongTailConfig, hub_arguments

# Arguments of `from_pretrained` that may contradict the checkpoint.
_NAMES_CLASSES = frozenset(("id2label", "class_counts"))
_BACKBONE_FIELDS = frozenset(("backbone", "backbone_kwargs"))
_CHECKED = _NAMES_CLASSES | _BACKBONE_FIELDS


class LongTailPreTrainedModel(SavesCode, PreTrainedModel):
    """
    What the models of this package share: their config class, checkpointing through timm, and an initialisation that
    never touches timm's.

    The initialisation of `PreTrainedModel` draws every linear and convolutional layer again from N(0, 0.02), which
    ruins training from scratch; here, modules initialise themselves when they are built, and only what loading a
    checkpoint left uninitialised is filled in afterwards (see `initialization.py`).
    """

    config_class = LongTailConfig
    base_model_prefix = ""
    main_input_name = "pixel_values"
    input_modalities = "image"
    supports_gradient_checkpointing = True
    # timm calls scaled_dot_product_attention by itself.
    _supports_sdpa = True
    # Trainer would otherwise pass the number of items to the loss.
    accepts_loss_kwargs = False
    _no_split_modules: list[str] = []
    # Where the weights were loaded from, and whether a trainer has trained them since they were made or loaded.
    loaded_from: str | None = None
    trained_here: bool = False

    if TYPE_CHECKING:
        config: LongTailConfig
        backbone: nn.Module

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike | None,
        *model_args: Any,
        config: LongTailConfig | str | os.PathLike | None = None,
        **kwargs: Any,
    ) -> LongTailPreTrainedModel:
        """
        Load a checkpoint of this package, or the encoder of transformers' ViTMAE and ViT.

        As in transformers, with four additions:

        - A checkpoint for another image size is brought to that of the config (`image_size=224`, or a `config`):
          position embeddings are interpolated as in MAE fine-tuning (see [`resample_position_embedding`]).
        - `"facebook/vit-mae-base"` and other checkpoints of transformers with `model_type` `vit_mae` or `vit` load
          into timm's vision transformer of the same sizes; [`MaskedAutoencoder`] also takes the decoder. Classifiers
          of such checkpoints are left behind.
        - `config.initial_weights` is that of the checkpoint, also where a `config` is given.
        - Where the config given, or `class_counts` or `id2label`, names the checkpoint's classes in another order, the
          rows of its classifier are brought into that order, with a warning; what they were trained on is kept in
          `config.previous_class_counts`.

        Args:
            pretrained_model_name_or_path (`str` or `os.PathLike`): Hub id or folder.
            config ([`LongTailConfig`], *optional*): Of the model to build; the checkpoint's own if not given.
            kwargs: Fields of the config that differ (without `config`), and the arguments of
                `transformers.PreTrainedModel.from_pretrained`.

        Raises:
            `ValueError`: if the checkpoint holds another encoder than `config` describes, another patch size or other
                shapes, or its weights cannot be read.
        """
        source = pretrained_model_name_or_path
        stored = None
        if source is not None and (isinstance(config, LongTailConfig) or not _CHECKED.isdisjoint(kwargs)):
            stored = _stored_config(cls, source, kwargs)
        if stored is not None:
            config = _compared(stored, config, kwargs, str(source))
        try:
            loaded = super().from_pretrained(source, *model_args, config=config, **kwargs)
        except SafetensorError as error:
            raise ValueError(
                f"The weights of {source} cannot be read ({error}); was the file copied or downloaded to its end?"
            ) from error
        except RuntimeError as error:
            if "ignore_mismatched_sizes" not in str(error):
                raise
            raise ValueError(
                f"The weights of {source} have other shapes than the model that is wanted (see the report above): "
                "leave its config as it was saved, or pass ignore_mismatched_sizes=True, with which what does not fit "
                "begins anew"
            ) from error
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        model.loaded_from = str(source)
        names_classes = isinstance(config, LongTailConfig) or not _NAMES_CLASSES.isdisjoint(kwargs)
        head = getattr(model, "classifier", None)
        if stored is not None and names_classes and head is not None and not knows_no_classes(stored):
            match_head(head, model.config, stored, str(source))
        return loaded

    @staticmethod
    def _load_pretrained_model(
        model: PreTrainedModel,
        state_dict: dict[str, Tensor] | None,
        checkpoint_files: list[str] | None,
        load_config: Any,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Reads the files that transformers has found; called by `from_pretrained`."""
        converted = convert_checkpoint(
            model,
            state_dict,
            checkpoint_files,
            load_config.ignore_mismatched_sizes,
            weights_only=load_config.weights_only,
            disable_mmap=load_config.disable_mmap,
        )
        if converted is not None:
            state_dict, checkpoint_files = converted, None
        return PreTrainedModel._load_pretrained_model(
            model, state_dict, checkpoint_files, load_config, *args, **kwargs
        )

    def post_init(self) -> None:
        """
        At the end of every constructor: as in transformers; and the config of a model that is built, not loaded, says
        what it begins with, timm's published weights or nothing.
        """
        super().post_init()
        if not building_on_meta():
            self.config.initial_weights = weights_of_timm(self.backbone) if self.config.backbone_pretrained else None

    def _set_gradient_checkpointing(self, enable: bool = True, *args: Any, **kwargs: Any) -> None:
        """Switch timm's own checkpointing; the function and the interval that transformers passes are not used."""
        try:
            cast(Backbone, self.backbone).set_grad_checkpointing(enable)
        except (AttributeError, AssertionError) as error:
            raise ValueError(
                f"backbone {self.config.backbone!r} has no gradient checkpointing in timm; leave it off or use "
                "another backbone"
            ) from error
        self.gradient_checkpointing = enable

    def get_input_embeddings(self) -> None:  # type: ignore[override]  # what transformers does for images, too
        """Images have no token embeddings."""
        return None

    def set_input_embeddings(self, value: Any) -> None:
        """Images have no token embeddings."""
        raise ValueError(f"{type(self).__name__} has no token embeddings to set")


def _stored_config(
    cls: type[LongTailPreTrainedModel], source: str | os.PathLike, options: Mapping[str, Any]
) -> LongTailConfig | None:
    """The config that lies beside the weights, if one does."""
    try:
        return cls.config_class.from_pretrained(source, **hub_arguments(options))
    except OSError:
        # Weights without a config; where there is nothing at all, loading says so.
        return None


def _compared(
    stored: LongTailConfig, config: LongTailConfig | str | os.PathLike | None, fields: Mapping[str, Any], source: str
) -> LongTailConfig | str | os.PathLike | None:
    """
    The config given for a checkpoint, with what the checkpoint's own says about where its weights come from.

    Raises:
        `ValueError`: if it, or the fields given instead, describe another encoder.
    """
    if isinstance(config, LongTailConfig):
        if config.name_or_path == source:
            return config
        check_same_encoder(stored, config, source)
        config = copy.deepcopy(config)
        config.initial_weights = stored.initial_weights
        config.previous_class_counts = counts_history(
            stored.previous_class_counts,
            stored.class_counts,
            names_in_config(stored),
            config.class_counts,
            names_in_config(config),
        )
    elif config is None and not _BACKBONE_FIELDS.isdisjoint(fields):
        given = copy.deepcopy(stored)
        given.backbone = fields.get("backbone", stored.backbone)
        given.backbone_kwargs = fields.get("backbone_kwargs", stored.backbone_kwargs)
        check_same_encoder(stored, given, source)
    return config
