"""
Models: the classifier over any timm backbone, the masked autoencoder over the same encoder, and auxiliary networks.

Importing this package registers the config, the model and the image processors with the Auto classes of transformers,
a pipeline that leaves the decoding of images to our processors, and the CIFAR residual networks, small vision
transformers and ConvMAE's encoder with timm.
"""

from __future__ import annotations

from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageClassification

from .backbone_sizes import BackboneShape, backbone_shape
from .backbones.convolutional_vision_transformer import CONVOLUTIONAL_VISION_TRANSFORMERS
from .backbones.resnet_cifar import CIFAR_RESNETS
from .backbones.vision_transformers import SMALL_VISION_TRANSFORMERS
from .configuration import LongTailConfig
from .heads import CentroidHead, CosineHead, ScaledHead, as_linear
from .image_processor import LongTailImageProcessor, LongTailImageProcessorPil
from .mae.masked_autoencoder import MaskedAutoencoder, MaskedAutoencoderOutput
from .modeling import LongTailForImageClassification, LongTailOutput
from .modulator import MutualExclusiveModulator
from .pipeline import register_pipeline
from .position_embedding import resample_position_embedding, sine_cosine_position_embedding

AutoConfig.register(LongTailConfig.model_type, LongTailConfig)
AutoModelForImageClassification.register(LongTailConfig, LongTailForImageClassification)
AutoImageProcessor.register(
    LongTailConfig, image_processor_classes={"torchvision": LongTailImageProcessor, "pil": LongTailImageProcessorPil}
)
register_pipeline()

# Networks this package adds to timm.
OWN_BACKBONES = (*CIFAR_RESNETS, *SMALL_VISION_TRANSFORMERS, *CONVOLUTIONAL_VISION_TRANSFORMERS)

__all__ = [
    "OWN_BACKBONES",
    "BackboneShape",
    "CentroidHead",
    "CosineHead",
    "LongTailConfig",
    "LongTailForImageClassification",
    "LongTailImageProcessor",
    "LongTailImageProcessorPil",
    "LongTailOutput",
    "MaskedAutoencoder",
    "MaskedAutoencoderOutput",
    "MutualExclusiveModulator",
    "ScaledHead",
    "as_linear",
    "backbone_shape",
    "resample_position_embedding",
    "sine_cosine_position_embedding",
]
