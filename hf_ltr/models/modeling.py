"""The classifier: a timm backbone, a head, and what inference adds to it."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from .auxiliary_module import AuxiliaryModule
from .backbone import backbone_arguments, backbone_shape, create_backbone, extract_features
from .class_order import counts_history, match_head, names_in_config, order_of, reorder_fields, reorder_head
from .code_files import SavesCode
from .configuration import HUB_ARGUMENTS, LongTailConfig
from .freezing import FreezableMixin
from .heads import DEFAULT_COSINE_SCALE, CentroidHead, CosineHead, ScaledHead, initialize_linear_head
from .initial_weights import weights_of_timm
from .initialization import building_on_meta, copy_tensors, is_loaded, missing_tensors, needs_random_numbers
from .mae.checkpoint_conversion import check_same_encoder, convert_checkpoint
from .mae.vit_checkpoints import knows_no_classes
from .modules import MODULES
from .prior_offset import prior_offset

# Fields of the config that have one part per class.
_CLASSWISE = ("class_counts", "previous_class_counts", "logit_adjustment", "modules")
# Standard deviation of a linear head on a backbone whose timm classifier is not one linear layer.
_FALLBACK_HEAD_STD = 0.02


@dataclass
class LongTailOutput(ModelOutput):
    """
    Output of [`LongTailForImageClassification`]; the same fields in training and evaluation.

    Args:
        loss (`Tensor` of shape `()`, *optional*): Cross-entropy of `logits`, if labels were given.
        logits (`Tensor` of shape `(B, C)`): What inference uses, with the config's logit adjustment applied.
        raw_logits (`Tensor` of shape `(B, C)`): Before the adjustment; what training losses take.
        features (`Tensor` of shape `(B, D)`): Pooled features that the classifier reads.
        base_logits (`Tensor` of shape `(B, C)`, *optional*): Of the head, before the auxiliary modules, if there are
            any.
        expert_logits (`Tensor` of shape `(B, E, C)`, *optional*): Per expert, where experts exist.
        extras (`dict[str, Tensor]`, *optional*): What the auxiliary modules add, each tensor with one part per row.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    raw_logits: Tensor | None = None
    features: Tensor | None = None
    base_logits: Tensor | None = None
    expert_logits: Tensor | None = None
    extras: dict[str, Tensor] | None = None


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
    input_modalities = ("image",)
    supports_gradient_checkpointing = True
    # timm calls scaled_dot_product_attention by itself.
    _supports_sdpa = True
    # Trainer would otherwise pass the number of items to the loss.
    accepts_loss_kwargs = False
    _no_split_modules: list[str] = []
    # Whether a trainer has trained the weights since they were made or loaded.
    trained_here: bool = False

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
        known = None
        if isinstance(config, LongTailConfig) or not kwargs.keys().isdisjoint(("id2label", "class_counts")):
            known = None if source is None else _stored_config(cls, source, kwargs)
        if isinstance(config, LongTailConfig) and source is not None and config.name_or_path != str(source):
            if known is not None:
                check_same_encoder(known, config, str(source))
                config = copy.deepcopy(config)
                config.initial_weights = known.initial_weights
                config.previous_class_counts = counts_history(
                    known.previous_class_counts,
                    known.class_counts,
                    names_in_config(known),
                    config.class_counts,
                    names_in_config(config),
                )
        elif config is None and source is not None and not kwargs.keys().isdisjoint(("backbone", "backbone_kwargs")):
            stored = _stored_config(cls, source, kwargs)
            if stored is not None:
                given = copy.deepcopy(stored)
                given.backbone = kwargs.get("backbone", stored.backbone)
                given.backbone_kwargs = kwargs.get("backbone_kwargs", stored.backbone_kwargs)
                check_same_encoder(stored, given, str(source))
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
        if known is not None and getattr(model, "classifier", None) is not None and not knows_no_classes(known):
            match_head(model, known, str(source))
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
            self.backbone.set_grad_checkpointing(enable)
        except (AttributeError, AssertionError) as error:
            raise ValueError(
                f"backbone {self.config.backbone!r} has no gradient checkpointing in timm; leave it off or use "
                "another backbone"
            ) from error
        self.gradient_checkpointing = enable

    def get_input_embeddings(self) -> None:
        """Images have no token embeddings."""
        return None

    def set_input_embeddings(self, value: Any) -> None:
        """Images have no token embeddings."""
        raise ValueError(f"{type(self).__name__} has no token embeddings to set")


def _stored_config(cls: type, source: str | os.PathLike, options: dict[str, Any]) -> LongTailConfig | None:
    """The config that lies beside the weights, if one does."""
    options = {name: options[name] for name in HUB_ARGUMENTS if options.get(name) is not None}
    try:
        return cls.config_class.from_pretrained(source, **options)
    except OSError:
        # Weights without a config; where there is nothing at all, loading says so.
        return None


class LongTailForImageClassification(FreezableMixin, LongTailPreTrainedModel):
    """
    Image classifier over any timm backbone, for the long-tailed methods of this package.

    Built from a config, all weights equal those of `timm.create_model(backbone, num_classes=num_labels)` under the
    same random seed, those of a linear head included.

    Args:
        config ([`LongTailConfig`]): Architecture and inference.

    Attributes:
        backbone (`nn.Module`): The timm model without its classifier.
        classifier (`nn.Module`): The head: `nn.Linear`, [`CosineHead`], [`ScaledHead`] or [`CentroidHead`].

    Each auxiliary network of `config.modules` is the attribute of its name.

    Example:

    ```python
    >>> model = LongTailForImageClassification(LongTailConfig(backbone="resnet32_cifar", num_labels=100))
    >>> model(torch.zeros(2, 3, 32, 32)).logits.shape
    torch.Size([2, 100])
    ```
    """

    # A masked autoencoder's checkpoint loads without conversion; its decoder stays behind.
    _keys_to_ignore_on_load_unexpected = [r"^decoder\."]

    def __init__(self, config: LongTailConfig):
        super().__init__(config)
        config.validate()
        if config.num_experts != 1:
            raise ValueError(
                f"num_experts is {config.num_experts}, but LongTailForImageClassification builds single networks; "
                "leave it 1"
            )
        self.num_labels = config.num_labels
        # From here to the end of loading, weights are on the meta device and initial values have to wait.
        self._is_being_loaded = building_on_meta()
        self.gradient_checkpointing = False
        # Whether nobody has trained the head: it was built or began anew, whatever the other weights are.
        self.has_new_classifier = not self._is_being_loaded
        pretrained = config.backbone_pretrained and not self._is_being_loaded
        self.backbone, timm_head = create_backbone(
            config.backbone, backbone_arguments(config), config.num_labels, pretrained=pretrained
        )
        self.classifier = self._create_head(timm_head)
        self._auxiliary_names = tuple(config.modules or ())
        for name in self._auxiliary_names:
            self.add_module(name, MODULES[name](config))
        if isinstance(self.classifier, ScaledHead):
            # One is what a linear checkpoint means by the factors it does not have.
            self._keys_to_ignore_on_load_missing = [r"^classifier\.scale$"]
        self.register_buffer("logit_offset", torch.zeros(config.num_labels), persistent=False)
        self._applied_adjustment: dict[str, Any] | None = None
        self._apply_logit_adjustment()
        if isinstance(getattr(self.backbone, "fc_norm", None), nn.LayerNorm):
            # A transformer that pools before its norm, loaded from a masked autoencoder, which has a norm before
            # pooling.
            self._keys_to_ignore_on_load_unexpected = [r"^decoder\.", r"^backbone\.norm\."]
            if config.masked_autoencoder is not None:
                ignored = self._keys_to_ignore_on_load_missing or []
                self._keys_to_ignore_on_load_missing = [*ignored, r"^backbone\.fc_norm\."]
        self.post_init()

    def forward(
        self, pixel_values: Tensor, labels: Tensor | None = None, return_dict: bool | None = None
    ) -> LongTailOutput | tuple[Tensor, ...]:
        """
        Classify images.

        Args:
            pixel_values (`Tensor` of shape `(B, C, H, W)`): Normalised images.
            labels (`Tensor`, *optional*): Class indices `(B,)` or probabilities `(B, num_labels)`; adds the loss.
            return_dict (`bool`, *optional*): `False` returns the fields that are not `None` as a tuple.

        Returns:
            [`LongTailOutput`] or `tuple`.
        """
        if self.config.logit_adjustment is not self._applied_adjustment:
            self._apply_logit_adjustment()
        pixel_values = pixel_values.to(self.classifier.weight.dtype)
        modules = self.auxiliary_modules
        reads_tokens = any(module.reads_tokens for module in modules)
        features, tokens = extract_features(self.backbone, pixel_values, with_tokens=reads_tokens)
        raw_logits = base_logits = self.classifier(features)
        extras: dict[str, Tensor] = {}
        for module in modules:
            raw_logits, added = module.contribute(features, tokens, raw_logits)
            extras.update(added)
        logits = raw_logits if self._applied_adjustment is None else raw_logits + self.logit_offset
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits.to(torch.promote_types(logits.dtype, torch.float32)), labels)
        output = LongTailOutput(
            loss=loss,
            logits=logits,
            raw_logits=raw_logits,
            features=features,
            base_logits=base_logits if modules else None,
            extras=extras or None,
        )
        return_dict = self.config.return_dict if return_dict is None else return_dict
        return output if return_dict else output.to_tuple()

    @property
    def auxiliary_modules(self) -> list[AuxiliaryModule]:
        """The networks that `config.modules` asks for, in the order in which they see the logits."""
        return [getattr(self, name) for name in self._auxiliary_names]

    def reset_classifier(self) -> None:
        """
        Begin with a new head, as for a new model: `head_init_std`, timm's initial values or cosine's, scales of one; a
        centroid head forgets its centroids.
        """
        self.forget_normalization()
        self.has_new_classifier = True
        if self._has_timm_head():
            self._copy_head(self._create_twin()[1])
        else:
            self._initialize_head(self.classifier)

    @torch.no_grad()
    def reorder_classes(self, names: Sequence[str]) -> None:
        """
        Bring the classes into the order of `names`, in place: the head, and everything the config says class by class.

        Args:
            names (sequence of `str`): The model's own class names in another order.

        Raises:
            `ValueError`: if they are not the model's.
        """
        order = order_of(list(names), names_in_config(self.config))
        if order is None:
            if list(names) == names_in_config(self.config):
                return
            raise ValueError(
                f"{list(names)[:5]} ... are not the classes of this model, {self.config.class_names([0])}"
            )
        fields = {name: getattr(self.config, name) for name in _CLASSWISE}
        for name, value in reorder_fields(fields, order).items():
            setattr(self.config, name, value)
        self.config.id2label = dict(enumerate(names))
        self.config.label2id = {name: index for index, name in enumerate(names)}
        reorder_head(self.classifier, order)
        for module in self.auxiliary_modules:
            module.reorder_classes(self.config.modules[module.name], order)
        self._apply_logit_adjustment()

    def forget_normalization(self) -> None:
        """Drop the record that the head's rows were tau-normalised, which new or trained weights are not."""
        options = {name: value for name, value in (self.config.head_options or {}).items() if name != "tau"}
        self.config.head_options = options or None

    def _apply(self, *args: Any, **kwargs: Any) -> Any:
        """Moves and converts; the offset of a logit adjustment is computed again, exact in the new type."""
        converted = super()._apply(*args, **kwargs)
        if self.logit_offset.is_floating_point() and not self.logit_offset.is_meta:
            self._apply_logit_adjustment()
        return converted

    def set_logit_adjustment(self, adjustment: dict[str, Any] | None) -> None:
        """
        Change what inference adds to the raw logits, here and in the config.

        Args:
            adjustment (`dict` or `None`): `{"tau", "remove", "add"}` as in [`LongTailConfig`]; `None` for nothing.

        Raises:
            `ValueError`: naming the classes whose prior is not positive.
        """
        previous = self.config.logit_adjustment
        self.config.logit_adjustment = adjustment
        try:
            self.config.validate()
        except ValueError:
            self.config.logit_adjustment = previous
            raise
        self._apply_logit_adjustment()

    @torch.no_grad()
    def _apply_logit_adjustment(self) -> None:
        adjustment = self.config.logit_adjustment
        self._applied_adjustment = adjustment
        if self.logit_offset.is_meta:
            return
        self.logit_offset.copy_(prior_offset(**(adjustment or {})))

    def _create_head(self, timm_head: nn.Linear | None) -> nn.Module:
        config = self.config
        options = config.complete_head_options()
        if timm_head is None or config.head in ("cosine", "centroid"):
            in_features = timm_head.in_features if timm_head is not None else backbone_shape(config).feature_dim
        if config.head == "centroid":
            return CentroidHead(in_features, config.num_labels, **options)
        if config.head == "cosine":
            scale = DEFAULT_COSINE_SCALE if config.head_scale is None else config.head_scale
            return CosineHead(in_features, config.num_labels, scale=scale)
        if config.head_scale is not None:
            raise ValueError(
                f"head_scale={config.head_scale} belongs to a cosine head; set head='cosine' or unset the scale"
            )
        head = timm_head if timm_head is not None else nn.Linear(in_features, config.num_labels)
        if not options["bias"]:
            head.bias = None
        if (timm_head is None or config.head_init_std is not None) and not self._is_being_loaded:
            self._initialize_head(head)
        return ScaledHead(head) if config.head == "scaled" else head

    def _has_timm_head(self) -> bool:
        """Whether the head begins with the values that timm gives the backbone's own."""
        return isinstance(self.classifier, nn.Linear | ScaledHead) and self.config.head_init_std is None

    @torch.no_grad()
    def _initialize_head(self, head: nn.Module) -> None:
        if isinstance(head, CosineHead | CentroidHead):
            head.reset_parameters()
            return
        initialize_linear_head(head, self.config.head_init_std or _FALLBACK_HEAD_STD)
        if isinstance(head, ScaledHead):
            head.scale.fill_(1.0)

    def _create_twin(self) -> tuple[nn.Module, nn.Linear | None]:
        """Backbone and timm head built again on the CPU, with initial values."""
        with torch.device("cpu"):
            return create_backbone(self.config.backbone, backbone_arguments(self.config), self.config.num_labels)

    @torch.no_grad()
    def _copy_head(self, twin_head: nn.Linear | None) -> None:
        if twin_head is None:
            self._initialize_head(self.classifier)
            return
        for name, parameter in self.classifier.named_parameters():
            if name == "scale":
                parameter.fill_(1.0)
            else:
                parameter.copy_(twin_head.get_parameter(name))

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if not self._is_being_loaded:
            return
        if isinstance(module, AuxiliaryModule):
            module.initialize()
        elif module is self:
            # Called last: children come before their parent.
            self._fill_what_loading_left()
            self._apply_logit_adjustment()
            self._is_being_loaded = False

    def _fill_what_loading_left(self) -> None:
        missing = missing_tensors(self.backbone)
        head_is_missing = not is_loaded(self.classifier.weight)
        use_timm_head = self._has_timm_head()
        twin_head = None
        if missing or (head_is_missing and use_timm_head):
            random = head_is_missing or needs_random_numbers(self.backbone, list(missing))
            with torch.random.fork_rng(devices=[], enabled=not random):
                twin, twin_head = self._create_twin()
            copy_tensors(missing, twin)
        self.has_new_classifier = head_is_missing
        if head_is_missing:
            if use_timm_head:
                self._copy_head(twin_head)
            else:
                self._initialize_head(self.classifier)
        else:
            # What a checkpoint with these weights does not have is what it did without.
            with torch.no_grad():
                for name, tensor in missing_tensors(self.classifier).items():
                    tensor.fill_(1.0 if name == "scale" else 0.0)
