"""A small network with batch norm on which the decoupled methods' second stages are tried."""

from __future__ import annotations

import torch

from hf_ltr import LongTailConfig, LongTailForImageClassification, LongTailTrainer, class_counts, get_method

from ..contracts.builders import make_arguments, make_dataset

# Not in descending order: a class's place in the labels says nothing about its size.
UNSORTED = [7, 16, 4, 10]
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def make_trainer(folder, name, *, dataset=None, validation=True, method_options=None, **changes) -> LongTailTrainer:
    """A trainer of method `name` on a ResNet-20 with random weights, without any stage before."""
    dataset = make_dataset(UNSORTED) if dataset is None else dataset
    counts = class_counts(dataset)
    method = get_method(name, class_counts=counts, **(method_options or {}))
    torch.manual_seed(0)
    config = LongTailConfig(backbone="resnet20_cifar", image_size=8, num_channels=1, class_counts=counts)
    method.configure(config)
    return LongTailTrainer(
        LongTailForImageClassification(config),
        make_arguments(folder, **changes),
        method=method,
        train_dataset=dataset,
        eval_dataset=make_dataset(UNSORTED, seed=1) if validation else None,
    )


def state(trainer) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in trainer.model.state_dict().items()}


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> tuple[set[str], bool]:
    """Names of the weights that changed, and whether batch-norm statistics did."""
    names = {name for name in before if not torch.equal(before[name], after[name])}
    statistics = {name for name in names if name.endswith(STATISTICS)}
    return names - statistics, bool(statistics)


def features_of(trainer, dataset) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of all rows as evaluation sees them, through the image processor instead of the batch loader."""
    pixels = trainer.processing_class(images=dataset["image"][:], return_tensors="pt")["pixel_values"]
    trainer.model.eval()
    with torch.no_grad():
        return trainer.model(pixels).features.double(), torch.tensor(dataset["label"][:])
