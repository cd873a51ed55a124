"""The classifier: a timm backbone, a head, and what inference adds to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.utils import ModelOutput

from .auxiliary_module import AuxiliaryModule
from .backbone import Backbone, backbone_arguments, create_backbone, extract_features
from .backbone_sizes import backbone_shape
from .checkpoints.initialization import (
    building_on_meta,
    copy_tensors,
    is_loaded,
    missing_tensors,
    needs_random_numbers,
)
from .class_order import names_in_config, order_of, reorder_fields, reorder_head
from .configuration import LongTailConfig
from .freezing import FreezableMixin
from .heads import DEFAULT_COSINE_SCALE, CentroidHead, CosineHead, Head, ScaledHead
from .modules import MODULES, modules_for_inference
from .pretrained_model import LongTailPreTrainedModel
from .prior_offset import prior_offset

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

    backbone: Backbone
    classifier: Head
    logit_offset: Tensor

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
        modules = [module for module in self.auxiliary_modules if self.training or not module.training_only]
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

    def drop_training_modules(self) -> None:
        """Take off, here and in the config, the auxiliary networks that only training needs."""
        self.config.modules = modules_for_inference(self.config.modules)
        for name in set(self._auxiliary_names).difference(self.config.modules or ()):
            delattr(self, name)
        self._auxiliary_names = tuple(self.config.modules or ())

    def reset_classifier(self) -> None:
        """
        Begin with a new head, as for a new model: `head_init_std`, timm's initial values or cosine's, scales of one; a
        centroid head forgets its centroids.
        """
        self.forget_normalization()
        self.has_new_classifier = True
        self._renew_head(self._create_twin()[1] if self._has_timm_head() else None)

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
        for name, value in reorder_fields(vars(self.config), order).items():
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

    def _create_head(self, timm_head: nn.Linear | None) -> Head:
        config = self.config
        options = config.complete_head_options()
        in_features = backbone_shape(config).feature_dim if timm_head is None else timm_head.in_features
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
            head.register_parameter("bias", None)
        if (timm_head is None or config.head_init_std is not None) and not self._is_being_loaded:
            self._initialize_head(head)
        return ScaledHead(head) if config.head == "scaled" else head

    def _has_timm_head(self) -> bool:
        """Whether the head begins with the values that timm gives the backbone's own."""
        return isinstance(self.classifier, nn.Linear | ScaledHead) and self.config.head_init_std is None

    @torch.no_grad()
    def _initialize_head(self, head: Head) -> None:
        if isinstance(head, CosineHead | CentroidHead):
            head.reset_parameters()
            return
        nn.init.trunc_normal_(head.weight, std=self.config.head_init_std or _FALLBACK_HEAD_STD)
        if head.bias is not None:
            nn.init.zeros_(head.bias)
        if isinstance(head, ScaledHead):
            head.scale.fill_(1.0)

    def _create_twin(self) -> tuple[Backbone, nn.Linear | None]:
        """Backbone and timm head built again on the CPU, with initial values."""
        with torch.device("cpu"):
            return create_backbone(self.config.backbone, backbone_arguments(self.config), self.config.num_labels)

    @torch.no_grad()
    def _renew_head(self, twin_head: nn.Linear | None) -> None:
        """Initial values: timm's own, if given."""
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
        # Called last for the model: children come before their parent. Not for every child: transformers leaves out
        # those without tensors of their own, whatever is missing inside of them.
        if not self._is_being_loaded or module is not self:
            return
        for auxiliary in self.auxiliary_modules:
            if missing_tensors(auxiliary):
                auxiliary.initialize(self.config)
        self._fill_what_loading_left()
        self._apply_logit_adjustment()
        self._is_being_loaded = False

    def _fill_what_loading_left(self) -> None:
        missing = missing_tensors(self.backbone)
        head_is_missing = not is_loaded(self.classifier.weight)
        use_timm_head = self._has_timm_head()
        twin_head = None
        if missing or (head_is_missing and use_timm_head):
            random = head_is_missing or needs_random_numbers(self.backbone, missing)
            with torch.random.fork_rng(devices=[], enabled=not random):
                twin, twin_head = self._create_twin()
            copy_tensors(missing, twin)
        self.has_new_classifier = head_is_missing
        if head_is_missing:
            self._renew_head(twin_head if use_timm_head else None)
        else:
            # What a checkpoint with these weights does not have is what it did without.
            with torch.no_grad():
                for name, tensor in missing_tensors(self.classifier).items():
                    tensor.fill_(1.0 if name == "scale" else 0.0)
