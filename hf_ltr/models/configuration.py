"""Configuration of long-tailed image classifiers: everything that a checkpoint says about itself."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from transformers import PretrainedConfig

from ..naming import some
from ..validation import choice, flag, mapping, number, plain, sequence, text, whole_number
from .backbone import check_backbone_name, native_settings
from .backbone_options import check_backbone_options
from .backbone_sizes import backbone_shape
from .checkpoints.code_files import SavesCode
from .checkpoints.initial_weights import check_initial_weights
from .checkpoints.vit_checkpoints import VIT_MODEL_TYPES, convert_vit_config
from .class_fields import check_num_labels, checked_history, count_list, label_fields, replace_classes
from .config_fields import (
    check_foreign_fields,
    check_head,
    check_image,
    complete_head_options,
    complete_masked_autoencoder_options,
    resolve_crop_ratio,
    resolve_image_size,
    resolve_interpolation,
    resolve_statistics,
)
from .modules import MODULES, complete_modules, gather_modules
from .prior_offset import check_logit_adjustment
from .size_limits import MOST_CHANNELS, MOST_EXPERTS

GROUP_SCHEMES = ("thresholds", "auto")
# Arguments of `from_pretrained` that say where a file is.
_HUB_ARGUMENTS = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "subfolder", "token")


def hub_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Those of some arguments of `from_pretrained` that say where a file is."""
    return {name: arguments[name] for name in _HUB_ARGUMENTS if arguments.get(name) is not None}


class LongTailConfig(SavesCode, PretrainedConfig):
    """
    Configuration of [`LongTailForImageClassification`] and [`MaskedAutoencoder`].

    It holds plain values only (numbers, strings, lists, dicts), all of which are written to `config.json`. A `None`
    that stays `None` means "unset": a method's `configure()` may fill it.

    Args:
        backbone (`str`, *optional*, defaults to `"resnet32_cifar"`): Any architecture that timm knows (a `.tag` of
            published weights may follow), or one of `hf_ltr.models.OWN_BACKBONES`: `resnet20_cifar` ...
            `resnet56_cifar`, `vit_pico_patch4_16`, `vit_tiny_patch4_32`, `vit_tiny_patch8_96`,
            `convvit_tiny_patch4_32` or `convvit_base_patch16_224`.
        num_labels (`int`, *optional*): Number of classes; taken from `class_counts` or `id2label` if not given.
        class_counts ([`ClassCounts`] or sequence of `int`, *optional*): Training images per class. Stored as a list of
            integers; class names of a `ClassCounts` become `id2label`.
        group_thresholds (`tuple[int, int]`, *optional*): More images than the first is many, fewer than the second is
            few. Those of a `ClassCounts` if not given, else `(100, 20)`.
        group_scheme (`str`, *optional*): `"thresholds"` or `"auto"` (see [`ClassCounts`]). That of a `ClassCounts` if
            not given, else `"thresholds"`.
        image_size (`int`, *optional*): Side of the square input in pixels; the backbone's own size if not given.
        num_channels (`int`, *optional*, defaults to 3): Channels of the input, 1 for grey images.
        image_mean, image_std (list of `float`, *optional*): Per channel, on a scale of 0..1. If not given: timm's
            values of the published weights for `backbone_pretrained=True`, those of the CIFAR-100 training images for
            the CIFAR networks, 0.5 otherwise. With a number of channels other than 3, the mean of timm's three values.
        crop_ratio (`float`, *optional*): Side of the evaluation crop over the shorter side after resizing. If not
            given: timm's value with `backbone_pretrained=True`; otherwise 1 up to 96 pixels, 224 / 256 up to 224
            pixels and 1 above (the evaluation of MAE fine-tuning).
        interpolation (`str`, *optional*): `"bilinear"` or `"bicubic"`, of the evaluation resize; `"bicubic"` if not
            given and timm does not say otherwise for pretrained weights.
        backbone_kwargs (`dict`, *optional*): Further arguments of `timm.create_model`, for example `{"depth": 6}`:
            plain facts of an architecture, those of `hf_ltr.models.backbone_options.BACKBONE_OPTIONS`. What names a
            file or weights (`checkpoint_path`, `pretrained_cfg`, ...) is refused: a config may come from anybody.
        backbone_pretrained (`bool`, *optional*, defaults to `False`): Whether building a model from this config loads
            timm's published weights from the Hub. `from_pretrained` never does.
        drop_rate (`float`, *optional*, defaults to 0.0): Dropout in front of the classifier.
        drop_path_rate (`float`, *optional*, defaults to 0.0): Stochastic depth of the last block.
        global_pool (`str`, *optional*): timm's name of the pooling; the backbone's own if not given. `"avg"` on a
            vision transformer is the recipe of MAE fine-tuning: mean of the patch tokens, then `fc_norm`.
        head (`str`, *optional*): `"linear"` (also meant by `None`), `"cosine"`, `"scaled"` (a linear layer with one
            learnable factor per class, see `ScaledHead`) or `"centroid"` (nearest class mean, see `CentroidHead`).
        head_scale (`float`, *optional*): Factor on the cosine of a cosine head; 30 if not given.
        head_init_std (`float`, *optional*): Standard deviation of a new linear head's truncated normal weights (MAE
            fine-tuning: 2e-5). If not given, the head is initialised as timm does it for the backbone.
        head_options (`dict`, *optional*): Of a linear or scaled head `bias` (`False`: none); of a linear head also
            `tau`, which only records that its rows were divided by their norm to the power tau; of a centroid head
            `transform` (`"un"`, `"l2n"`, `"cl2n"`) and `metric` (`"l2"`, `"cos"`).
        num_experts (`int`, *optional*, defaults to 1): Experts of a multi-expert network.
        reduce_experts (`bool`, *optional*, defaults to `True`): Whether each expert is thinner than a single network.
        logit_adjustment (`dict`, *optional*): `{"tau": 1.0, "remove": [...], "add": [...]}`: inference adds
            `-tau * log(prior of remove) + log(prior of add)` to the raw logits. Lists are priors or counts, one
            positive number per class; either may be `None`. Assign a new `dict` to change it: a change inside the
            old one is not seen.
        modules (`dict[str, dict]`, *optional*): Auxiliary networks by name (those of `hf_ltr.models.modules.MODULES`)
            with their options; an empty `dict` means the defaults. A name may also be given as an argument of its own.
        masked_autoencoder (`dict`, *optional*): Options of [`MaskedAutoencoder`]: `mask_ratio`, `norm_pix_loss`,
            `decoder_dim`, `decoder_depth`, `decoder_heads`.
        method (`dict`, *optional*): Description of the method that trained the model; provenance only.
        initial_weights (`dict`, *optional*): `{"name": "timm/vit_base_patch16_224.mae", "license": "cc-by-nc-4.0"}`:
            the published weights that training started from, `license` `None` where it is not known; unset for what
            was trained from scratch. Provenance only: set where such weights are loaded, kept by everything that is
            trained from them, and said in the model card.
        previous_class_counts (`list[dict]`, *optional*): What the weights were trained on before `class_counts`,
            oldest first: `{"class_counts": [...]}`, with `class_names` where the classes were others. Provenance only:
            written where a checkpoint is trained on other data.
        kwargs: Fields of `PretrainedConfig`, such as `id2label`.

    Raises:
        `ValueError`: for an unknown backbone, head or option, a value of another type or out of range, class
            counts that do not fit the number of labels, an image size that the backbone cannot take, or sizes beyond
            any network (see `size_limits.py`), which are compared before memory is taken.

    Example:

    ```python
    >>> from hf_ltr import LongTailConfig, LongTailForImageClassification

    >>> config = LongTailConfig(backbone="resnet32_cifar", class_counts=[500, 100, 5])
    >>> model = LongTailForImageClassification(config)
    ```
    """

    if TYPE_CHECKING:
        # The parent's types say that there may be no classes; after construction there always are.
        id2label: dict[int, str]
        label2id: dict[str, int]
        num_labels: int

    model_type = "long_tail"
    # `Trainer.predict` gathers every tensor of the output that is not named here.
    keys_to_ignore_at_inference = ["raw_logits", "features", "base_logits", "expert_logits", "extras"]

    def __init__(
        self,
        backbone: str = "resnet32_cifar",
        num_labels: int | None = None,
        class_counts: Any = None,
        group_thresholds: Sequence[int] | None = None,
        group_scheme: str | None = None,
        image_size: int | None = None,
        num_channels: int = 3,
        image_mean: Sequence[float] | float | None = None,
        image_std: Sequence[float] | float | None = None,
        crop_ratio: float | None = None,
        interpolation: str | None = None,
        backbone_kwargs: dict[str, Any] | None = None,
        backbone_pretrained: bool = False,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        global_pool: str | None = None,
        head: str | None = None,
        head_scale: float | None = None,
        head_init_std: float | None = None,
        head_options: dict[str, Any] | None = None,
        num_experts: int = 1,
        reduce_experts: bool = True,
        logit_adjustment: dict[str, Any] | None = None,
        modules: dict[str, Any] | None = None,
        masked_autoencoder: dict[str, Any] | None = None,
        method: dict[str, Any] | None = None,
        initial_weights: dict[str, Any] | None = None,
        previous_class_counts: list[dict[str, Any]] | None = None,
        **kwargs: Any,
    ):
        check_backbone_name(backbone)
        self.backbone = backbone
        self.backbone_kwargs = check_backbone_options(backbone_kwargs or {})
        self.backbone_pretrained = backbone_pretrained
        self.drop_rate = drop_rate
        self.drop_path_rate = drop_path_rate
        self.global_pool = global_pool

        self.class_counts: list[int] | None = class_counts
        if group_thresholds is None:
            group_thresholds = getattr(class_counts, "thresholds", (100, 20))
        self.group_thresholds = sequence("group_thresholds", group_thresholds)
        self.group_scheme = getattr(class_counts, "grouping", "thresholds") if group_scheme is None else group_scheme

        self.image_size = resolve_image_size(image_size, self.backbone_kwargs.get("img_size"), backbone)
        self.num_channels = whole_number("num_channels", num_channels, minimum=1, maximum=MOST_CHANNELS)
        source = (backbone, self.backbone_pretrained)
        self.image_mean, self.image_std = resolve_statistics(image_mean, image_std, self.num_channels, *source)
        self.crop_ratio = resolve_crop_ratio(crop_ratio, self.image_size, *source)
        self.interpolation = resolve_interpolation(interpolation, *source)

        self.head = head
        self.head_scale = head_scale
        self.head_init_std = head_init_std
        self.head_options = head_options
        self.num_experts = num_experts
        self.reduce_experts = reduce_experts
        self.logit_adjustment = logit_adjustment
        kwargs = gather_modules({"modules": modules, **kwargs})
        self.modules = kwargs.pop("modules")
        self.masked_autoencoder = masked_autoencoder
        self.method = method
        self.initial_weights = initial_weights
        self.previous_class_counts = checked_history(previous_class_counts)

        check_foreign_fields(kwargs, LongTailConfig)
        super().__init__(**label_fields(num_labels, class_counts, self.class_counts, kwargs))
        self.validate()

    def __setattr__(self, key: str, value: Any) -> None:
        # `from_pretrained(..., class_counts=...)` and user code assign after construction.
        if key == "class_counts":
            value = count_list(value)
        elif key == "num_labels":
            # The parent writes a name for each.
            value = check_num_labels(value)
        elif key in _FIELDS:
            # JSON, to which it is written after training, has no numbers of numpy.
            value = plain(value)
            if key in ("image_mean", "image_std", "group_thresholds") and isinstance(value, tuple):
                value = list(value)
        elif key in MODULES:
            raise AttributeError(f"A config has no field {key!r}: set config.modules = {{{key!r}: {{...}}}}")
        super().__setattr__(key, value)

    @classmethod
    def get_config_dict(
        cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """
        Read `config.json`; that of transformers' ViTMAE or ViT as the fields of the same encoder here.

        Raises:
            `ValueError`: for a checkpoint of another model.
        """
        hub = hub_arguments(kwargs)
        try:
            config_dict, kwargs = super().get_config_dict(pretrained_model_name_or_path, **kwargs)
            mapping("it", config_dict)
        except (AttributeError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"config.json of {pretrained_model_name_or_path} cannot be read: {error}") from error
        model_type = config_dict.get("model_type", cls.model_type)
        if model_type in VIT_MODEL_TYPES:
            config_dict = convert_vit_config(config_dict, str(pretrained_model_name_or_path), **hub)
        elif model_type not in (cls.model_type, LongTailConfig.model_type):
            raise ValueError(
                f"{pretrained_model_name_or_path} is a checkpoint of type {model_type!r}. Models of hf_ltr load their "
                f"own checkpoints and the encoders of {' and '.join(map(repr, VIT_MODEL_TYPES))}; timm's published "
                "weights are loaded with LongTailConfig(backbone=<name>.<tag>, backbone_pretrained=True)."
            )
        return config_dict, kwargs

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> LongTailConfig:
        """
        Build a config from a dict, with fields replaced by keyword arguments and checked together.

        Replacing the classes (`num_labels`, `class_counts` or `id2label` of another length) drops what the stored
        config says about the old ones: names, counts, logit adjustment, and modules that were made for them.
        """
        config_dict = gather_modules(dict(config_dict))
        replaced = {key: kwargs.pop(key) for key in list(kwargs) if key in _FIELDS or key in MODULES}
        replaced = gather_modules(replaced, config_dict.get("modules"))
        config_dict = replace_classes(config_dict, replaced)
        config_dict.update(replaced)
        return super().from_dict(config_dict, **kwargs)

    def validate(self) -> None:
        """
        Check all fields together and complete the options of modules and masked autoencoder.

        Called at construction and again by the models, since fields may be assigned in between.

        Raises:
            `ValueError`: saying which field is wrong and what to do.
        """
        check_backbone_name(self.backbone)
        self._check_classes()
        check_head(self.head, self.head_scale, self.head_init_std, self.head_options)
        check_image(
            self.image_size, self.num_channels, self.image_mean, self.image_std, self.crop_ratio, self.interpolation
        )
        for name in ("drop_rate", "drop_path_rate"):
            number(name, getattr(self, name), minimum=0, below=1)
        for name in ("backbone_pretrained", "reduce_experts"):
            flag(name, getattr(self, name))
        whole_number("num_experts", self.num_experts, minimum=1, maximum=MOST_EXPERTS)
        if self.global_pool is not None:
            text("global_pool", self.global_pool)
        if self.method is not None:
            mapping("method", self.method)
        check_initial_weights(self.initial_weights)
        if self.logit_adjustment is not None:
            check_logit_adjustment(self.logit_adjustment, self.num_labels, self.class_names)
        self.modules = complete_modules(self.modules, self)
        if self.masked_autoencoder is not None:
            self.masked_autoencoder = self.complete_masked_autoencoder_options()
        native = native_settings(self.backbone)["image_size"]
        if self.backbone_kwargs or self.image_size != native or self.global_pool is not None:
            backbone_shape(self)

    def complete_head_options(self) -> dict[str, Any]:
        """All options of the head: those of `self.head_options` and defaults for the rest."""
        return complete_head_options(self.head, self.head_options)

    def complete_masked_autoencoder_options(self) -> dict[str, Any]:
        """All options of the masked autoencoder: those of `self.masked_autoencoder` and defaults for the rest."""
        return complete_masked_autoencoder_options(
            self.masked_autoencoder, self.image_size, lambda: backbone_shape(self).num_tokens
        )

    def class_names(self, indices: Sequence[int]) -> str:
        """Names of some classes for a message: at most ten, `3 (crab)` where a name is known."""
        names = []
        for index in indices:
            name = self.id2label.get(index) if self.id2label else None
            names.append(str(index) if name in (None, f"LABEL_{index}") else f"{index} ({name})")
        return some(names)

    def _check_classes(self) -> None:
        check_num_labels(self.num_labels)
        if self.class_counts is not None and len(self.class_counts) != self.num_labels:
            raise ValueError(
                f"class_counts has {len(self.class_counts)} entries but the model has {self.num_labels} labels; give "
                "the counts of all classes, in the order of the labels"
            )
        choice("group_scheme", self.group_scheme, GROUP_SCHEMES)
        for threshold in sequence("group_thresholds", self.group_thresholds):
            number("group_thresholds", threshold, minimum=0)
        if len(self.group_thresholds) != 2 or self.group_thresholds[0] < self.group_thresholds[1]:
            raise ValueError(f"group_thresholds must be two numbers, many before few, not {self.group_thresholds}")


_FIELDS = frozenset(inspect.signature(LongTailConfig.__init__).parameters) - {"self", "kwargs"} | {
    "id2label",
    "label2id",
}
