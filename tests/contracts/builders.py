"""Tiny data, models and trainers on which every registered method is tested."""

from __future__ import annotations

import numpy as np
import torch
from datasets import ClassLabel, Dataset, Features, Image
from PIL import Image as PillowImage
from transformers import TrainerCallback

from hf_ltr import (
    METHODS,
    LongTailConfig,
    LongTailForImageClassification,
    LongTailTrainer,
    LongTailTrainingArguments,
    class_counts,
    get_method,
)
from hf_ltr.models import MaskedAutoencoder

COUNTS = [16, 10, 7, 4]  # 37 rows: the last batch of an epoch is uneven for every batch size used here
CLASSES = ["circle", "cross", "line", "dot"]
METHOD_NAMES = sorted(METHODS)
# What makes the tiny problem reach every branch of a method.
OPTIONS = {
    "cdb": {"tau": 1.5, "reduction": "mean_weight"},
    "class_balanced": {"beta": 0.9, "form": "focal", "gamma": 0.5},
    "equalization": {"threshold": 0.2, "gamma": 0.5},
    "label_aware_smoothing": {"shape": "exp", "power": 2.0},
    "ldam_drw": {"defer_until": 0.5},
    "mem": {"width": 16, "top_k": 2, "margin_positive": 5.0, "normalize_margin": True},
}


def make_dataset(counts: list[int] = COUNTS, seed: int = 0, size: int = 8) -> Dataset:
    """Noisy pictures with one bright quadrant per class."""
    generator = np.random.default_rng(seed)
    images, labels = [], []
    for label, count in enumerate(counts):
        for _ in range(count):
            pixels = generator.integers(0, 120, (size, size))
            row, column = divmod(label % 4, 2)
            half = size // 2
            pixels[row * half : (row + 1) * half, column * half : (column + 1) * half] += 100
            images.append(PillowImage.fromarray(pixels.astype(np.uint8), mode="L"))
            labels.append(label)
    order = generator.permutation(len(labels))
    features = Features({"image": Image(), "label": ClassLabel(names=CLASSES[: len(counts)])})
    return Dataset.from_dict(
        {"image": [images[i] for i in order], "label": [labels[i] for i in order]}, features=features
    )


def make_config(counts, method=None) -> LongTailConfig:
    """A one-block transformer: no batch norm, so that neither batch size nor processes change the network."""
    config = LongTailConfig(
        backbone="vit_pico_patch4_16",
        image_size=8,
        num_channels=1,
        class_counts=counts,
        global_pool="avg",
        backbone_kwargs={"depth": 1, "embed_dim": 16, "num_heads": 2},
    )
    if method is not None:
        method.configure(config)
        config.method = method.describe()
    return config


def make_method(name: str, counts, **options):
    return get_method(name, class_counts=counts, **{**OPTIONS.get(name, {}), **options})


def make_model(method, seed: int = 0, double: bool = False):
    torch.manual_seed(seed)
    config = make_config(method.class_counts, None)
    if not method.uses_labels:
        config.masked_autoencoder = {"decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2}
    method.configure(config)
    config.method = method.describe()
    model = (LongTailForImageClassification if method.uses_labels else MaskedAutoencoder)(config)
    return model.double() if double else model


def make_arguments(folder, **changes) -> LongTailTrainingArguments:
    options = {
        "output_dir": str(folder),
        "num_train_epochs": 2,
        "per_device_train_batch_size": 8,
        "per_device_eval_batch_size": 16,
        "learning_rate": 0.05,
        "mixed_precision_mode": "no",
        "augmentation": ["random_crop"],
        "augmentation_options": {"random_crop": {"padding": 1}},
        "save_strategy": "no",
        "logging_strategy": "steps",
        "logging_steps": 1,
        "disable_tqdm": True,
        "seed": 3,
    }
    return LongTailTrainingArguments(**{**options, **changes})


def make_trainer(
    name: str, folder, *, double: bool = False, dataset=None, method_options=None, **changes
) -> LongTailTrainer:
    dataset = make_dataset() if dataset is None else dataset
    method = make_method(name, class_counts(dataset), **(method_options or {}))
    if double:
        method = method.double()
    return LongTailTrainer(
        model=make_model(method, double=double),
        args=make_arguments(folder, **changes),
        method=method,
        train_dataset=dataset,
        eval_dataset=make_dataset(seed=1) if method.uses_labels else None,
    )


def weights(trainer) -> dict[str, np.ndarray]:
    """Everything a run leaves behind: the model's state and the method's."""
    state = {f"model.{name}": value for name, value in trainer.model.state_dict().items()}
    state |= {f"method.{name}": value for name, value in trainer.method.state_dict().items()}
    return {name: value.detach().cpu().numpy().copy() for name, value in state.items()}


def losses(trainer) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def in_format_of(trainer, model):
    """A loaded model in the memory format of the trained one: only then do both use the same kernels."""
    channels_last = torch.channels_last if trainer.args.channels_last else torch.contiguous_format
    return model.to(memory_format=channels_last)


class StopAfter(TrainerCallback):
    """Stop and save after one step, as an interruption right behind a checkpoint would."""

    def __init__(self, step: int):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = control.should_save = state.global_step == self.step


def assert_same(first: dict, second: dict, **tolerance) -> None:
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_allclose(first[name], second[name], err_msg=name, **(tolerance or {"rtol": 0, "atol": 0}))
