"""Configuration of long-tailed image classifiers: everything that a checkpoint says about itself."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Sequence
from typing import Any

from transformers import PretrainedConfig
from transformers.utils import logging

from ..naming import shown, unknown_name
from ..validation import flag, mapping, number, plain, sequence, text, whole_number
from .backbone import backbone_shape, check_backbone_name, native_settings
from .backbone_options import check_backbone_options
from .class_order import counts_history, order_of, reorder_fields
from .code_files import SavesCode
from .heads import CENTROID_METRICS, CENTROID_TRANSFORMS
from .initial_weights import check_initial_weights
from .mae.vit_checkpoints import VIT_MODEL_TYPES, convert_vit_config
from .modules import MODULES, complete_modules, gather_modules, modules_for_other_classes
from .size_limits import (
    LARGEST_IMAGE,
    LARGEST_PIXEL,
    MOST_BLOCKS,
    MOST_CHANNELS,
    MOST_CLASSES,
    MOST_EXPERTS,
    MOST_OWN_PARAMETERS,
    SMALLEST_CROP,
    WIDEST,
    check_parameters,
)

logger = logging.get_logger(__name__)

HEADS = ("linear", "cosine", "scaled", "centroid")
# Options of each kind of head (`config.head_options`) with their defaults.
HEAD_OPTIONS: dict[str, dict[str, Any]] = {
    "linear": {"bias": True, "tau": None},
    "scaled": {"bias": True},
    "cosine": {},
    "centroid": {"transform": "cl2n", "metric": "l2"},
}
GROUP_SCHEMES = ("thresholds", "auto")
INTERPOLATIONS = ("bilinear", "bicubic")
# Arguments of `from_pretrained` that say where a file is.
HUB_ARGUMENTS = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "subfolder", "token")

# Logits with a stronger adjustment overflow.
_STRONGEST_TAU = 1e6

# Fields of `PretrainedConfig` whose other values would load code or foreign networks, or end in its tracebacks.
_ATTENTIONS = ("eager", "sdpa")
_KERNELS = re.compile("_?[a-z]+_implementation(_internal)?")
_DTYPES = ("auto", "float16", "bfloat16", "float32", "float64")
_PROBLEM_TYPES = ("single_label_classification", "multi_label_classification", "regression")
# More images than any class has; sums stay exact in 64 bits.
_MOST_IMAGES = 2**53 // MOST_CLASSES

# Decoder of the ViT-B and ViT-L models of He et al. 2022; smaller encoders want a smaller one.
MASKED_AUTOENCODER_DEFAULTS: dict[str, Any] = {
    "mask_ratio": 0.75,
    "norm_pix_loss": True,
    "decoder_dim": 512,
    "decoder_depth": 8,
    "decoder_heads": 16,
}


class LongTailConfig(SavesCode, PretrainedConfig):
    """
    Configuration of [`LongTailForImageClassification`] and [`MaskedAutoencoder`].

    It holds plain values only (numbers, strings, lists, dicts), all of which are written to `config.json`. A `None`
    that stays `None` means "unset": a method's `configure()` may fill it.

    Args:
        backbone (`str`, *optional*, defaults to `"resnet32_cifar"`): Any architecture that timm knows (a `.tag` of
            published weights may follow), `resnet20_cifar` ... `resnet56_cifar`, `vit_pico_patch4_16`,
            `vit_tiny_patch4_32` or `vit_tiny_patch8_96`.
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

    model_type = "long_tail"
    # `Trainer.predict` gathers every tensor of the output that is not named here.
    keys_to_ignore_at_inference = [
        "raw_logits",
        "features",
        "base_logits",
        "expert_logits",
        "extras",
    ]

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

        self.class_counts = class_counts
        if group_thresholds is None:
            group_thresholds = getattr(class_counts, "thresholds", (100, 20))
        self.group_thresholds = sequence("group_thresholds", group_thresholds)
        self.group_scheme = getattr(class_counts, "grouping", "thresholds") if group_scheme is None else group_scheme

        self.image_size = self._resolve_image_size(image_size)
        self.num_channels = whole_number("num_channels", num_channels, minimum=1, maximum=MOST_CHANNELS)
        self.image_mean, self.image_std = self._resolve_statistics(image_mean, image_std)
        self.crop_ratio = self._resolve_crop_ratio(crop_ratio)
        self.interpolation = self._resolve_interpolation(interpolation)

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
        self.previous_class_counts = _checked_history(previous_class_counts)

        _check_other_fields(kwargs)
        super().__init__(**_label_fields(num_labels, class_counts, self.class_counts, kwargs))
        self.validate()

    def __setattr__(self, key: str, value: Any) -> None:
        # `from_pretrained(..., class_counts=...)` and user code assign after construction.
        if key == "class_counts":
            value = _as_count_list(value)
        elif key == "num_labels":
            # The parent writes a name for each.
            value = _checked_num_labels(value)
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
        hub = {name: kwargs[name] for name in HUB_ARGUMENTS if kwargs.get(name) is not None}
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
        if any(replaced.get(key) is not None for key in _CLASS_FIELDS):
            before = _stored_num_labels(config_dict)
            after = _number_of_labels(*(replaced.get(key) for key in ("num_labels", "class_counts", "id2label")))
            renamed = _names_of(replaced.get("class_counts")) is not None or "id2label" in replaced
            config_dict |= _stored_classes(config_dict, replaced)
            if after != before or renamed:
                for key in ("id2label", "label2id"):
                    config_dict.pop(key, None)
            if after != before:
                dropped = [
                    key for key in _FOR_CLASSES if config_dict.pop(key, None) is not None and key not in replaced
                ]
                if config_dict.get("modules") and "modules" not in replaced:
                    config_dict["modules"], without = modules_for_other_classes(config_dict["modules"])
                    dropped += without
                for key in dropped:
                    logger.warning(f"{key} of the stored config is for {before} classes and is dropped for {after}.")
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
        self._check_head()
        self._check_image()
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
            self._check_logit_adjustment(self.logit_adjustment)
        self.modules = complete_modules(self.modules, self)
        if self.masked_autoencoder is not None:
            self.masked_autoencoder = self.complete_masked_autoencoder_options()
        native = native_settings(self.backbone)["image_size"]
        if self.backbone_kwargs or self.image_size != native or self.global_pool is not None:
            backbone_shape(self)

    def complete_head_options(self) -> dict[str, Any]:
        """All options of the head: those of `self.head_options` and defaults for the rest."""
        known, given = HEAD_OPTIONS[self.head or "linear"], mapping("head_options", self.head_options or {})
        for name in given:
            if name not in known:
                raise unknown_name(f"option of a {self.head or 'linear'} head", name, known)
        return {**known, **given}

    def complete_masked_autoencoder_options(self) -> dict[str, Any]:
        """All options of the masked autoencoder: those of `self.masked_autoencoder` and defaults for the rest."""
        options = mapping("masked_autoencoder", self.masked_autoencoder or {})
        for name in options:
            if name not in MASKED_AUTOENCODER_DEFAULTS:
                raise unknown_name("option of the masked autoencoder", name, MASKED_AUTOENCODER_DEFAULTS)
        options = {**MASKED_AUTOENCODER_DEFAULTS, **options}
        number("mask_ratio", options["mask_ratio"], above=0, below=1)
        flag("norm_pix_loss", options["norm_pix_loss"])
        for name, most in (("decoder_dim", WIDEST), ("decoder_depth", MOST_BLOCKS), ("decoder_heads", WIDEST)):
            whole_number(name, options[name], minimum=0 if name == "decoder_depth" else 1, maximum=most)
        width, heads = options["decoder_dim"], options["decoder_heads"]
        if width % heads or width % 4:
            raise ValueError(
                f"decoder_dim ({width}) must be divisible by decoder_heads ({heads}), and by 4 for its position "
                "embedding"
            )
        check_parameters("the decoder of the masked autoencoder", 12 * options["decoder_depth"] * width**2)
        if width * self.image_size**2 > MOST_OWN_PARAMETERS:
            # Every pixel a patch of its own would be too much; how many patches there are takes a measurement.
            check_parameters("the decoder's position embedding", width * backbone_shape(self).num_tokens)
        return options

    def class_names(self, indices: Sequence[int]) -> str:
        """Names of some classes for a message: at most ten, `3 (crab)` where a name is known."""
        names = []
        for index in list(indices)[:10]:
            name = self.id2label.get(index) if self.id2label else None
            names.append(str(index) if name in (None, f"LABEL_{index}") else f"{index} ({name})")
        return ", ".join(names) + (f" and {len(indices) - 10} more" if len(indices) > 10 else "")

    def _check_classes(self) -> None:
        _checked_num_labels(self.num_labels)
        if self.class_counts is not None and len(self.class_counts) != self.num_labels:
            raise ValueError(
                f"class_counts has {len(self.class_counts)} entries but the model has {self.num_labels} labels; give "
                "the counts of all classes, in the order of the labels"
            )
        if self.group_scheme not in GROUP_SCHEMES:
            raise unknown_name("group_scheme", self.group_scheme, GROUP_SCHEMES)
        for threshold in sequence("group_thresholds", self.group_thresholds):
            number("group_thresholds", threshold, minimum=0)
        if len(self.group_thresholds) != 2 or self.group_thresholds[0] < self.group_thresholds[1]:
            raise ValueError(f"group_thresholds must be two numbers, many before few, not {self.group_thresholds}")

    def _check_head(self) -> None:
        if self.head is not None and self.head not in HEADS:
            raise unknown_name("head", self.head, HEADS)
        if self.head_scale is not None:
            if self.head not in (None, "cosine"):
                raise ValueError(
                    f"head_scale={self.head_scale} belongs to a cosine head, but head is {self.head!r}; unset one"
                )
            number("head_scale (a positive factor)", self.head_scale, above=0)
        if self.head_init_std is not None:
            number("head_init_std", self.head_init_std, minimum=0)
            if self.head in ("cosine", "centroid"):
                raise ValueError(
                    f"head_init_std belongs to a linear head, but head is {self.head!r}; unset one of them"
                )
        options = self.complete_head_options()
        if not isinstance(options.get("bias", True), bool):
            raise ValueError(f"head_options['bias'] must be true or false, not {options['bias']!r}")
        if options.get("tau") is not None:
            number("head_options['tau']", options["tau"])
        for name, known in (("transform", CENTROID_TRANSFORMS), ("metric", CENTROID_METRICS)):
            if name in options and options[name] not in known:
                raise unknown_name(f"head_options[{name!r}]", options[name], known)

    def _check_image(self) -> None:
        whole_number("image_size", self.image_size, minimum=1, maximum=LARGEST_IMAGE)
        whole_number("num_channels", self.num_channels, minimum=1, maximum=MOST_CHANNELS)
        for name in ("image_mean", "image_std"):
            values = [
                number(name, value, minimum=-LARGEST_PIXEL, maximum=LARGEST_PIXEL)
                for value in sequence(name, getattr(self, name))
            ]
            if len(values) != self.num_channels:
                raise ValueError(f"{name} has {len(values)} values but images have {self.num_channels} channels")
        if min(self.image_std) < 1 / LARGEST_PIXEL:
            raise ValueError(f"image_std must be positive (on a scale of 0..1), not {self.image_std}")
        number("crop_ratio", self.crop_ratio, minimum=SMALLEST_CROP, maximum=1)
        if self.interpolation not in INTERPOLATIONS:
            raise unknown_name("interpolation", self.interpolation, INTERPOLATIONS)

    def _check_logit_adjustment(self, adjustment: dict[str, Any]) -> None:
        for name in mapping("logit_adjustment", adjustment):
            if name not in ("tau", "remove", "add"):
                raise unknown_name("field of logit_adjustment", name, ("tau", "remove", "add"))
        number("logit_adjustment['tau']", adjustment.get("tau", 1.0), minimum=-_STRONGEST_TAU, maximum=_STRONGEST_TAU)
        for name in ("remove", "add"):
            values = adjustment.get(name)
            if values is None:
                continue
            values = sequence(f"logit_adjustment[{name!r}]", values)
            if len(values) != self.num_labels:
                raise ValueError(f"logit_adjustment[{name!r}] has {len(values)} values for {self.num_labels} labels")
            bad = [index for index, value in enumerate(values) if not _is_positive(value)]
            if bad:
                raise ValueError(
                    f"logit_adjustment[{name!r}] must be positive for every class, but is not for class "
                    f"{self.class_names(bad)}: the logarithm of its prior does not exist. Leave such classes out of "
                    "the label set, or give them a small positive prior."
                )

    def _resolve_image_size(self, image_size: Any) -> int:
        inside = self.backbone_kwargs.get("img_size")
        sizes = []
        for value in (plain(image_size), inside):
            if isinstance(value, (tuple, list)):
                if not value or any(side != value[0] for side in value):
                    raise ValueError(f"images must be square, but the image size is {shown(tuple(value))}")
                value = value[0]
            if value is not None:
                whole_number("image_size", value, minimum=1)
                sizes.append(whole_number("image_size", value, maximum=LARGEST_IMAGE))
        if len(set(sizes)) > 1:
            raise ValueError(f"image_size is {sizes[0]} but backbone_kwargs has img_size={sizes[1]}; give one of them")
        return sizes[0] if sizes else native_settings(self.backbone)["image_size"]

    def _resolve_statistics(self, mean: Any, std: Any) -> tuple[list[float], list[float]]:
        native = native_settings(self.backbone)
        published = self.backbone_pretrained or self.backbone.endswith("_cifar")
        resolved = []
        for name, given, default in (("image_mean", mean, native["mean"]), ("image_std", std, native["std"])):
            if given is None:
                given = default if published else (0.5,) * len(default)
                if len(given) != self.num_channels:
                    given = sum(given) / len(given)
            given = plain(given)
            if isinstance(given, (int, float)):
                given = [given] * self.num_channels
            resolved.append([float(number(name, value)) for value in sequence(name, given)])
        return resolved[0], resolved[1]

    def _resolve_crop_ratio(self, crop_ratio: float | None) -> float:
        if crop_ratio is not None:
            return float(number("crop_ratio", crop_ratio, minimum=SMALLEST_CROP, maximum=1))
        if self.backbone_pretrained:
            return native_settings(self.backbone)["crop_ratio"]
        return 224 / 256 if 96 < self.image_size <= 224 else 1.0

    def _resolve_interpolation(self, interpolation: str | None) -> str:
        if interpolation is not None:
            return interpolation
        return native_settings(self.backbone)["interpolation"] if self.backbone_pretrained else "bicubic"


_CLASS_FIELDS = ("num_labels", "class_counts", "id2label")
# What a stored config says about its classes and nothing else.
_FOR_CLASSES = ("class_counts", "logit_adjustment", "num_labels")
_FIELDS = frozenset(inspect.signature(LongTailConfig.__init__).parameters) - {"self", "kwargs"} | {
    "id2label",
    "label2id",
}


def _names_of(class_counts: Any) -> list[str] | None:
    """Class names of a `ClassCounts`; other objects may have a `names` that means something else (tensors do)."""
    return getattr(class_counts, "names", None) if hasattr(class_counts, "counts") else None


def _is_positive(value: Any) -> bool:
    try:
        return number("", value, above=0) > 0
    except ValueError:
        return False


def _checked_num_labels(value: Any) -> int:
    whole_number("num_labels", value, minimum=1)
    return whole_number("num_labels", value, maximum=MOST_CLASSES)


def _as_count_list(value: Any) -> list[int] | None:
    """A list of integers from a `ClassCounts`, a sequence, an array or a tensor."""
    if value is None:
        return None
    counts = []
    for index, count in enumerate(sequence("class_counts", getattr(value, "counts", value))):
        try:
            whole = isinstance(count, int | float) and not isinstance(count, bool) and int(count) == count
        except (OverflowError, ValueError):  # infinity, NaN
            whole = False
        if not whole or not 0 <= count <= _MOST_IMAGES:
            raise ValueError(f"class_counts must be non-negative integers, but class {index} has {shown(count)}")
        counts.append(int(count))
    if not counts:
        raise ValueError("class_counts is empty; give one number of training images per class")
    return counts


def _checked_names(value: Any) -> dict[int, str]:
    """
    `id2label` with integers for its keys, which are the classes `0, 1, ...`.

    Raises:
        `ValueError`: for a list, keys that are other numbers, or names that are no text.
    """
    if not hasattr(value, "items"):
        raise ValueError(
            f"id2label must be a dict of class index to name, such as {{0: 'ant', 1: 'bee'}}, not {shown(value)}; "
            "dict(enumerate(names)) makes one of a list of names"
        )
    if not 1 <= len(value) <= MOST_CLASSES:
        raise ValueError(f"id2label names {len(value):,} classes, but a model has from 1 to {MOST_CLASSES:,}")
    names: dict[int, str] = {}
    for key, name in value.items():
        # JSON has text for keys.
        key = plain(key)
        index = int(key) if isinstance(key, str) and key.isascii() and key.isdecimal() and len(key) < 10 else key
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(value) or index in names:
            raise ValueError(
                f"id2label must have the keys 0 to {len(value) - 1}, one for each class, but has {shown(key)}"
            )
        names[index] = text(f"id2label[{index}]", name)
    return names


def _checked_indices(id2label: dict[int, str], given: Any) -> dict[str, int]:
    """
    `label2id`, which `id2label` decides: names that only an older `label2id` has are left out.

    Raises:
        `ValueError`: where both have a name, of different classes.
    """
    indices: dict[str, int] = {}
    for index, name in sorted(id2label.items()):
        indices.setdefault(name, index)
    for name, index in mapping("label2id", given or {}).items():
        if name in indices and id2label.get(int(index) if str(index).isdecimal() else None) != name:
            raise ValueError(
                f"label2id says that {shown(name)} is class {shown(index)}, but id2label that it is class "
                f"{indices[name]}; leave label2id out"
            )
    return indices


def _check_other_fields(fields: dict[str, Any]) -> None:
    """
    What a config.json may say beside the fields of this class.

    Raises:
        `ValueError`: for a field that would replace a method of the config, load code, or that is unknown to torch.
    """
    for name in fields:
        own = getattr(LongTailConfig, name, None)
        if name.startswith("__") or callable(own) or (isinstance(own, property) and own.fset is None):
            raise ValueError(f"A config has no field {name!r}; that is a method. Remove it from config.json.")
    for name in ("sub_configs", "attribute_map"):
        own = getattr(LongTailConfig, name, None)
        if fields.get(name, own) != own:
            raise ValueError(f"A config of hf_ltr has no field {name!r}. Remove it from config.json.")
    if fields.get("quantization_config") is not None:
        raise ValueError("quantization_config is not supported by the models of hf_ltr; remove it from the config")
    dtype = fields.get("dtype", fields.get("torch_dtype"))
    known = [
        ("dtype", None if dtype is None else str(dtype).removeprefix("torch."), _DTYPES),
        ("problem_type", fields.get("problem_type"), _PROBLEM_TYPES),
    ]
    # Also `_attn_implementation` and its like; another value is the name of a repository with a kernel.
    known += [(name, value, _ATTENTIONS) for name, value in fields.items() if _KERNELS.fullmatch(name)]
    for name, value, valid in known:
        if value is not None and value not in valid:
            raise unknown_name(name, value, valid)


def _checked_history(value: Any) -> list[dict[str, Any]] | None:
    """`previous_class_counts`, or a `ValueError` for what is none."""
    if value is None:
        return None
    entries = []
    for entry in sequence("previous_class_counts", value):
        entry = mapping("an entry of previous_class_counts", entry)
        if not {"class_counts"} <= set(entry) <= {"class_counts", "class_names"}:
            raise ValueError(f"an entry of previous_class_counts has class_counts and class_names, not {shown(entry)}")
        counts = _as_count_list(entry["class_counts"])
        entries.append({**entry, "class_counts": counts})
    return entries


def _stored_classes(stored: dict[str, Any], replaced: dict[str, Any]) -> dict[str, Any]:
    """What a stored config says about its classes, in the order of those that replace them, and its counts as past."""
    names, own = (_names_of_fields(fields) for fields in (replaced, stored))
    order = order_of(names, own)
    changed = {} if order is None else reorder_fields(stored, order)
    number = _number_of_labels(*(replaced.get(key) for key in ("num_labels", "class_counts", "id2label")))
    if replaced.get("class_counts") is None and number == _stored_num_labels(stored):
        return changed
    counts = None if replaced.get("class_counts") is None else _as_count_list(replaced["class_counts"])
    # Without names of their own, as many classes are the old ones, and another number are others.
    names = names or (own if number == _stored_num_labels(stored) else [])
    past = counts_history(stored.get("previous_class_counts"), stored.get("class_counts"), own, counts, names)
    return changed | {"previous_class_counts": past}


def _names_of_fields(fields: dict[str, Any]) -> list[str] | None:
    names, id2label = _names_of(fields.get("class_counts")), fields.get("id2label")
    if id2label is not None:
        names = [name for _, name in sorted(_checked_names(id2label).items())]
    return None if not names or all(name == f"LABEL_{i}" for i, name in enumerate(names)) else list(names)


def _number_of_labels(num_labels: int | None, class_counts: Any, id2label: Any) -> int | None:
    """The number of classes on which all given fields agree; `None` if none is given."""
    given = {
        "num_labels": None if num_labels is None else _checked_num_labels(num_labels),
        "class_counts": None if class_counts is None else len(_as_count_list(class_counts)),
        "id2label": None if id2label is None else len(_checked_names(id2label)),
    }
    given = {name: number for name, number in given.items() if number is not None}
    if len(set(given.values())) > 1:
        described = ", ".join(f"{name}: {number}" for name, number in given.items())
        raise ValueError(f"the number of classes is not clear ({described}); they must agree, in the same class order")
    return next(iter(given.values()), None)


def _stored_num_labels(config_dict: dict[str, Any]) -> int:
    """Number of classes of a stored config, which leaves `id2label` out when it is the library's default of two."""
    number = _number_of_labels(
        config_dict.get("num_labels"), config_dict.get("class_counts"), config_dict.get("id2label")
    )
    return 2 if number is None else number


def _label_fields(
    num_labels: int | None, given: Any, counts: list[int] | None, fields: dict[str, Any]
) -> dict[str, Any]:
    """The keyword arguments of `PretrainedConfig` that describe the classes, agreeing with each other."""
    fields = dict(fields)
    names = _names_of(given)
    if fields.get("id2label") is None and names is not None:
        fields["id2label"] = dict(enumerate(names))
    id2label = fields.get("id2label")
    number = _number_of_labels(num_labels, counts, id2label)
    if id2label is not None:
        fields["id2label"] = _checked_names(id2label)
        fields["label2id"] = _checked_indices(fields["id2label"], fields.get("label2id"))
    elif number is not None:
        fields["num_labels"] = number
    return fields
