"""Tiny checkpoints of every kind, built offline, and a dataset of images whose class shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import timm
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image
from PIL import Image as PILImage

# Neither sorted nor equal.
COUNTS = [5, 40, 12, 21]
NAMES = ["ant", "bee", "crab", "dog"]
SIZE = 16
LABELS = {"id2label": dict(enumerate(NAMES)), "label2id": {name: index for index, name in enumerate(NAMES)}}


def make_vit():
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        image_size=SIZE, patch_size=4, hidden_size=24, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, **LABELS,
    )  # fmt: skip
    return ViTForImageClassification(config)


def make_resnet():
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", **LABELS)
    return ResNetForImageClassification(config)


def make_timm():
    from transformers import TimmWrapperConfig, TimmWrapperForImageClassification

    pretrained_cfg = {
        "input_size": [3, 32, 32], "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "interpolation": "bilinear",
        "crop_pct": 1.0, "num_classes": len(NAMES),
    }  # fmt: skip
    config = TimmWrapperConfig(architecture="test_resnet", **LABELS)
    config.pretrained_cfg = pretrained_cfg
    model = TimmWrapperForImageClassification(config)
    # The initialisation of transformers makes the features of all images equal; timm's does not.
    model.timm_model.load_state_dict(timm.create_model("test_resnet", num_classes=len(NAMES)).state_dict())
    return model


def make_ours(head=None, **fields):
    from hf_ltr import LongTailConfig, LongTailForImageClassification

    config = LongTailConfig(backbone="resnet20_cifar", image_size=SIZE, head=head, **LABELS, **fields)
    return LongTailForImageClassification(config)


MAKERS = {"vit": make_vit, "resnet": make_resnet, "timm": make_timm, "ours": make_ours}


def make_processor(model):
    from transformers import TimmWrapperImageProcessor, ViTImageProcessor

    from hf_ltr import LongTailConfig, LongTailImageProcessor

    config = model.config
    if isinstance(config, LongTailConfig):
        return LongTailImageProcessor.from_config(config)
    if hasattr(config, "pretrained_cfg") and config.pretrained_cfg:
        return TimmWrapperImageProcessor(config.pretrained_cfg, architecture=config.architecture)
    return ViTImageProcessor(size={"height": SIZE, "width": SIZE})


def save(model, folder: Path) -> Path:
    """A checkpoint with its processor, with biases that are not zero and batch norms that saw something."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith("bias"):
                tensor.copy_(0.3 * torch.randn(tensor.shape, generator=generator))
            elif name.endswith("running_mean"):
                tensor.copy_(0.1 * torch.randn(tensor.shape, generator=generator))
    model.save_pretrained(folder)
    make_processor(model).save_pretrained(folder)
    return folder


def load(folder):
    from transformers import AutoModelForImageClassification

    return AutoModelForImageClassification.from_pretrained(folder, dtype=torch.float32).eval()


@torch.no_grad()
def logits_of(model, data):
    """The logits of a split, by the model's processor and nothing of the code under test."""
    processor = make_processor(model)
    images = [image.convert("RGB") for image in data["image"]]
    return model(pixel_values=processor(images=images, return_tensors="pt")["pixel_values"]).logits.float()


def make_images(counts, seed: int) -> Dataset:
    """Images of one colour and brightness per class, with noise."""
    generator = np.random.default_rng(seed)
    colours = np.asarray([[220, 40, 40], [40, 220, 40], [40, 40, 220], [200, 200, 40]])
    images, labels = [], []
    for label, count in enumerate(counts):
        for _ in range(count):
            pixels = colours[label] + generator.normal(0, 25, (SIZE, SIZE, 3))
            images.append(PILImage.fromarray(pixels.clip(0, 255).astype(np.uint8)))
            labels.append(label)
    order = generator.permutation(len(labels))
    features = Features({"image": Image(), "label": ClassLabel(names=NAMES)})
    columns = {"image": [images[i] for i in order], "label": [labels[i] for i in order]}
    return Dataset.from_dict(columns, features=features)


def make_data() -> DatasetDict:
    """Long-tailed training images, balanced validation images, no test split."""
    return DatasetDict(train=make_images(COUNTS, 0), validation=make_images([6] * 4, 1))
