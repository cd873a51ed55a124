"""Masked autoencoding over a timm vision transformer."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from timm.models import checkpoint_seq
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from transformers.utils import ModelOutput

from ..backbone import backbone_arguments, create_backbone
from ..backbones.convolutional_patch_embedding import ConvolutionalPatchEmbed
from ..checkpoints.initialization import building_on_meta, copy_tensors, missing_tensors
from ..configuration import LongTailConfig
from ..modules import MODULES
from ..position_embedding import sine_cosine_position_embedding
from ..pretrained_model import LongTailPreTrainedModel
from .decoder import MaskedAutoencoderDecoder, MultiScaleFusion, gather_tokens

# Under the square root of a patch's standard deviation (facebookresearch/mae).
_PIXEL_EPSILON = 1e-6
# What fine-tuning may drop. Pretraining drops patches and nothing else (facebookresearch/mae).
_DROP_RATES = ("drop_rate", "pos_drop_rate", "patch_drop_rate", "proj_drop_rate", "attn_drop_rate", "drop_path_rate")


@dataclass
class MaskedAutoencoderOutput(ModelOutput):
    """
    Output of [`MaskedAutoencoder`].

    Args:
        loss (`Tensor` of shape `()`): Mean of `loss_per_sample`.
        loss_per_sample (`Tensor` of shape `(B,)`): Mean squared error over the masked patches of each image.
        prediction (`Tensor` of shape `(B, N, p * p * C)`): Predicted pixels of every patch, rows, columns, channels.
        mask (`Tensor` of shape `(B, N)`): 1 where a patch was hidden from the encoder.
    """

    loss: Tensor | None = None
    loss_per_sample: Tensor | None = None
    prediction: Tensor | None = None
    mask: Tensor | None = None


class MaskedAutoencoder(LongTailPreTrainedModel):
    """
    Masked autoencoder (He et al. 2022, arXiv 2111.06377) over a plain timm vision transformer, or over a
    [`ConvolutionalVisionTransformer`] (ConvMAE, Gao et al. 2022, arXiv 2205.03892).

    The encoder is the attribute `backbone`, under the same parameter names as in [`LongTailForImageClassification`]:
    `LongTailForImageClassification.from_pretrained(folder, num_labels=..., global_pool="avg")` continues with its
    weights without conversion (with that pooling, the encoder's final norm is left behind and `fc_norm` starts at 1
    and 0, as in the published fine-tuning).

    Initialisation and details follow facebookresearch/mae: Xavier-uniform weights for linear layers and for the patch
    projection seen as a matrix, N(0, 0.02) for class and mask token, fixed sine-cosine position embeddings, the final
    norm applied to what the decoder reads. (transformers' own `ViTMAEForPreTraining` built from a config leaves both
    position embeddings and both tokens zero in 5.23: every masked patch then gets the same prediction.) With
    `config.backbone_pretrained`, the encoder starts from timm's published weights instead, its position embeddings
    frozen as they are, and only the decoder is new.

    The config's drop rates are those of the classifier: nothing but patches is dropped here. Its `image_size` is the
    one of pretraining; the classifier may be loaded at another.

    Over a ConvMAE encoder (details from Alpha-VL/ConvMAE), the mask is drawn on the grid of the transformer and
    enlarged to those of the convolutional stages, whose depthwise convolutions read zeros at hidden positions; only
    visible tokens enter the transformer; the stages' maps, embedded by convolutions with the stride of a token, are
    added to its output before the final norm (`decoder.fusion`, which the classifier leaves behind, as in the
    published fine-tuning).

    Args:
        config ([`LongTailConfig`]): `config.backbone` names a timm `VisionTransformer` or an encoder of ConvMAE;
            `config.masked_autoencoder` holds the options, all of them optional:

            - `mask_ratio` (0.75): `int(N * (1 - mask_ratio))` of the N patches stay visible;
            - `norm_pix_loss` (`True`): normalise every target patch by its own mean and (unbiased) variance;
            - `decoder_dim` (512), `decoder_depth` (8), `decoder_heads` (16): sizes for ViT-B and larger.

    Raises:
        `ValueError`: if the backbone is not a plain vision transformer with a learned table of position embeddings.
    """

    _keys_to_ignore_on_load_unexpected = [
        r"^classifier\.",
        r"^backbone\.fc_norm\.",
        *(rf"^{name}\." for name in MODULES),
    ]

    backbone: VisionTransformer

    def __init__(self, config: LongTailConfig):
        super().__init__(config)
        config.validate()
        config.masked_autoencoder = options = config.complete_masked_autoencoder_options()
        self.mask_ratio, self.norm_pix_loss = options["mask_ratio"], options["norm_pix_loss"]
        self._is_being_loaded = building_on_meta()
        self.gradient_checkpointing = False
        arguments = {key: value for key, value in backbone_arguments(config).items() if key not in _DROP_RATES}
        # Whatever pooling the classifier will use, the encoder ends with its own norm here.
        arguments |= {"global_pool": "avg", "fc_norm": False}
        pretrained = config.backbone_pretrained and not self._is_being_loaded
        try:
            backbone, _ = create_backbone(config.backbone, arguments, config.num_labels, pretrained=pretrained)
        except ValueError as error:
            if "fc_norm" in str(error.__cause__):
                raise self._unsuitable("it is not one") from error
            raise
        self.backbone = self._suitable(backbone)
        patch_size = self.backbone.patch_embed.patch_size
        self.patch_size = int(patch_size[0])
        self.num_patches = self.backbone.patch_embed.num_patches
        self.num_visible = int(self.num_patches * (1 - self.mask_ratio))
        if not 0 < self.num_visible < self.num_patches:
            raise ValueError(
                f"mask_ratio {self.mask_ratio} leaves {self.num_visible} of {self.num_patches} patches visible; "
                "choose a ratio that leaves at least one visible and one masked"
            )
        self._positions.requires_grad_(False)
        self.decoder = MaskedAutoencoderDecoder(
            self.backbone.embed_dim,
            options["decoder_dim"],
            options["decoder_depth"],
            options["decoder_heads"],
            self.backbone.patch_embed.grid_size,
            self.backbone.num_prefix_tokens,
            self.patch_size**2 * config.num_channels,
            self._create_fusion(),
        )
        if not self._is_being_loaded:
            self._initialize(encoder=not pretrained)
        self.post_init()

    def forward(
        self, pixel_values: Tensor, noise: Tensor | None = None, return_dict: bool | None = None
    ) -> MaskedAutoencoderOutput | tuple[Tensor, ...]:
        """
        Hide patches, encode the rest, and predict the hidden pixels.

        Args:
            pixel_values (`Tensor` of shape `(B, C, H, W)`): Normalised images.
            noise (`Tensor` of shape `(B, N)`, *optional*): The patches with the smallest values stay visible; drawn
                uniformly if not given.
            return_dict (`bool`, *optional*): `False` returns a tuple.

        Returns:
            [`MaskedAutoencoderOutput`] or `tuple`.
        """
        batch = pixel_values.shape[0]
        expected = tuple(size * self.patch_size for size in self.backbone.patch_embed.grid_size)
        if tuple(pixel_values.shape[2:]) != expected:
            raise ValueError(
                f"images of {tuple(pixel_values.shape[2:])} pixels do not fit this masked autoencoder, which is for "
                f"{expected}: resize them, or load it with another image_size"
            )
        if noise is None:
            noise = torch.rand(batch, self.num_patches, device=pixel_values.device)
        elif noise.shape != (batch, self.num_patches):
            raise ValueError(f"noise must have shape {(batch, self.num_patches)}, not {tuple(noise.shape)}")
        order = noise.argsort(dim=1, stable=True)
        restore = order.argsort(dim=1, stable=True)
        mask = (restore >= self.num_visible).to(torch.float32)

        checkpointing = bool(self.backbone.grad_checkpointing) and self.training and torch.is_grad_enabled()
        encoded = self.encode(pixel_values, order[:, : self.num_visible], checkpointing)
        prediction = self.decoder(encoded, restore, checkpointing)

        target = self.patchify(pixel_values)
        dtype = torch.promote_types(prediction.dtype, torch.float32)
        target = target.to(dtype)
        if self.norm_pix_loss:
            target = (target - target.mean(dim=-1, keepdim=True)) / (
                target.var(dim=-1, keepdim=True) + _PIXEL_EPSILON
            ).sqrt()
        loss_per_patch = (prediction.to(dtype) - target).square().mean(dim=-1)
        loss_per_sample = (loss_per_patch * mask).sum(dim=1) / (self.num_patches - self.num_visible)
        output = MaskedAutoencoderOutput(
            loss=loss_per_sample.mean(), loss_per_sample=loss_per_sample, prediction=prediction, mask=mask
        )
        return_dict = self.config.return_dict if return_dict is None else return_dict
        return output if return_dict else output.to_tuple()

    def patchify(self, images: Tensor) -> Tensor:
        """Images `(B, C, H, W)` to patches `(B, N, p * p * C)`: rows, then columns, then channels within a patch."""
        batch, channels, height, width = images.shape
        size = self.patch_size
        patches = images.reshape(batch, channels, height // size, size, width // size, size)
        return patches.permute(0, 2, 4, 3, 5, 1).reshape(batch, -1, size * size * channels)

    def unpatchify(self, patches: Tensor) -> Tensor:
        """The inverse of `patchify`, for pictures of reconstructions."""
        batch, _, length = patches.shape
        size = self.patch_size
        rows, columns = self.backbone.patch_embed.grid_size
        patches = patches.reshape(batch, rows, columns, size, size, length // size**2)
        return patches.permute(0, 5, 1, 3, 2, 4).reshape(batch, -1, rows * size, columns * size)

    def encode(self, pixel_values: Tensor, visible: Tensor, checkpointing: bool = False) -> Tensor:
        """
        What the decoder reads of some patches.

        Args:
            pixel_values (`Tensor` of shape `(B, C, H, W)`): Normalised images.
            visible (`Tensor` of shape `(B, V)`): Indices of the patches that are not hidden.
            checkpointing (`bool`, *optional*, defaults to `False`): Compute the blocks again in the backward pass.

        Returns:
            `Tensor`: prefix and visible tokens after the encoder's final norm, `(B, P + V, D)`.
        """
        pixel_values = pixel_values.to(self.decoder.norm.weight.dtype)
        encoder = self.backbone
        positions = self._positions
        prefix_positions = positions.shape[1] - self.num_patches
        maps: list[Tensor] = []
        if isinstance(encoder.patch_embed, ConvolutionalPatchEmbed):
            keep = torch.zeros(visible.shape[0], self.num_patches, device=visible.device).scatter(1, visible, 1.0)
            tokens, maps = encoder.patch_embed.forward_stages(pixel_values, keep)
        else:
            tokens = encoder.patch_embed(pixel_values)
        tokens = gather_tokens(tokens + positions[:, prefix_positions:], visible)
        if encoder.cls_token is not None:
            class_token: Tensor = encoder.cls_token
            if prefix_positions:
                class_token = class_token + positions[:, :prefix_positions]
            tokens = torch.cat([class_token.to(tokens.dtype).expand(tokens.shape[0], -1, -1), tokens], dim=1)
        tokens = encoder.norm_pre(encoder.pos_drop(tokens))
        tokens = checkpoint_seq(encoder.blocks, tokens) if checkpointing else encoder.blocks(tokens)
        if self.decoder.fusion is not None:
            tokens = tokens + self.decoder.fusion(maps, visible)
        return encoder.norm(tokens)

    @property
    def _positions(self) -> nn.Parameter:
        """The encoder's table of position embeddings."""
        table = self.backbone.pos_embed
        assert table is not None  # or the encoder would not have been suitable
        return table

    def _create_fusion(self) -> MultiScaleFusion | None:
        embedding = self.backbone.patch_embed
        if not isinstance(embedding, ConvolutionalPatchEmbed):
            return None
        return MultiScaleFusion(embedding.stage_dims, embedding.reductions, self.backbone.embed_dim)

    def _unsuitable(self, reason: str) -> ValueError:
        return ValueError(
            "MaskedAutoencoder needs a plain timm VisionTransformer with one table of position embeddings and square "
            "patches (vit_tiny_patch4_32, vit_base_patch16_224, convvit_base_patch16_224, ...), but backbone "
            f"{self.config.backbone!r} does not fit: {reason}"
        )

    def _suitable(self, encoder: nn.Module) -> VisionTransformer:
        if not isinstance(encoder, VisionTransformer):
            raise self._unsuitable(f"it is a {type(encoder).__name__}")
        if getattr(encoder, "pos_embed", None) is None:
            raise self._unsuitable("it has no position embeddings")
        if getattr(encoder, "reg_token", None) is not None:
            raise self._unsuitable("it has register tokens")
        if encoder.dynamic_img_size:
            raise self._unsuitable("dynamic_img_size is set")
        if encoder.patch_embed.patch_size[0] != encoder.patch_embed.patch_size[1]:
            raise self._unsuitable("its patches are not square")
        return encoder

    @torch.no_grad()
    def _initialize(self, encoder: bool) -> None:
        """The initialisation of the released code, over timm's, of decoder and (unless pretrained) encoder."""
        for module in (self if encoder else self.decoder).modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.LayerNorm):
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)
        if encoder:
            # ConvMAE treats its last embedding so too, and leaves all other convolutions to torch.
            projection = self.backbone.patch_embed.proj.weight
            nn.init.xavier_uniform_(projection.view(projection.shape[0], -1))
            if self.backbone.cls_token is not None:
                nn.init.normal_(self.backbone.cls_token, std=0.02)
        nn.init.normal_(self.decoder.mask_token, std=0.02)
        if encoder:
            positions = self._positions
            prefix_positions = positions.shape[1] - self.num_patches
            table = sine_cosine_position_embedding(positions.shape[2], *self.decoder.grid, prefix_positions)
            positions.copy_(table)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        # The decoder always has a buffer that loading does not fill, so this is reached in every load, after the
        # encoder's modules.
        if self._is_being_loaded and module is self.decoder:
            self.decoder.fill_buffers()
            # Loading replaces parameters by new ones, which want gradients.
            self._positions.requires_grad_(False)
            missing = missing_tensors(self)
            missing.pop("decoder.position_embedding")
            if missing:
                config = copy.deepcopy(self.config)
                config.backbone_pretrained = False
                with torch.device("cpu"):
                    copy_tensors(missing, type(self)(config))
            self._is_being_loaded = False
