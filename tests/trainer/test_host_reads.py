"""No value is read back from the device inside a training step, and evaluation reads once however long it is."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import TrainerCallback

from hf_ltr import (
    LongTailConfig,
    LongTailForImageClassification,
    LongTailTrainer,
    LongTailTrainingArguments,
    class_counts,
    get_method,
)
from tests.contracts.builders import make_dataset, make_trainer

# What `.item()`, `float(tensor)`, `if tensor:`, `.nonzero()`, masks as indices and `.tolist()` of one element come to.
READS = {"aten::_local_scalar_dense", "aten::item", "aten::nonzero", "aten::equal", "aten::is_nonzero"}


class Reads(TorchDispatchMode):
    """Counts operators, and apart from them those that need a value on the host."""

    def __init__(self):
        super().__init__()
        self.operators: Counter[str] = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.operators[function._schema.name] += 1
        return function(*args, **(kwargs or {}))

    @property
    def reads(self) -> dict[str, int]:
        return {name: count for name, count in self.operators.items() if name in READS}


class CountSteps(TrainerCallback):
    """
    Counts from the end of step `first` to the end of step `last`: whole steps, with data, loss, optimizer, schedule
    and what the trainer does between them.
    """

    def __init__(self, first: int, last: int, read_deliberately: bool = False):
        self.first, self.last, self.read_deliberately = first, last, read_deliberately
        self.mode = Reads()
        self.steps = 0

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.last:
            self.mode.__exit__(None, None, None)
        elif state.global_step == self.first:
            self.mode.__enter__()
        elif self.first < state.global_step < self.last and self.read_deliberately:
            torch.ones(1).sum().item()
        self.steps = state.global_step


def quiet(**changes) -> dict:
    """
    No log within the steps that are counted (a log is allowed to read), and all of them in one epoch: the loader of
    torch draws a seed on the CPU at the start of each.
    """
    return {
        "logging_strategy": "no",
        "save_strategy": "no",
        "per_device_train_batch_size": 4,
        "max_steps": 8,
    } | changes


def counted(trainer, **options) -> CountSteps:
    counter = CountSteps(2, 7, **options)
    trainer.add_callback(counter)
    trainer.train()
    assert counter.steps == 8
    # The counter was on: five steps of forward and backward are hundreds of operators.
    assert counter.mode.operators.total() > 500
    assert any(name.endswith("_backward") for name in counter.mode.operators)
    return counter


def resnet_trainer(folder, **changes) -> LongTailTrainer:
    dataset = make_dataset([30, 20, 10, 6], size=32)
    counts = class_counts(dataset)
    options = {
        "warmup_epochs": 0,
        "disable_tqdm": True,
        "augmentation": ["random_crop", "horizontal_flip", "cutout"],
    }
    return LongTailTrainer(
        model=LongTailForImageClassification(
            LongTailConfig(backbone="resnet32_cifar", num_channels=1, class_counts=counts)
        ),
        args=LongTailTrainingArguments(output_dir=str(folder), **{**options, **quiet(**changes)}),
        method=get_method("cross_entropy", class_counts=counts),
        train_dataset=dataset,
        eval_dataset=dataset,
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"mixed_precision_mode": "no"},
        {"mixed_precision_mode": "bf16"},
        {"mixup_alpha": 0.8, "cutmix_alpha": 1.0, "label_smoothing": 0.1, "sampler": "class_balanced"},
        {"gradient_accumulation_steps": 2, "lr_milestones": [0.5]},
    ],
    ids=["float32", "bfloat16", "mixed", "accumulated"],
)
def test_resnet_with_sgd_reads_nothing(changes, tmp_path):
    trainer = resnet_trainer(tmp_path, **changes)
    assert counted(trainer).mode.reads == {}
    assert isinstance(trainer.optimizer.optimizer, torch.optim.SGD)


@pytest.mark.parametrize("name", ["mem", "masked_autoencoding", "ldam_drw", "balanced_softmax"])
def test_vision_transformer_with_adamw_reads_nothing(name, tmp_path):
    trainer = make_trainer(name, tmp_path, **quiet(), optim="adamw_torch_fused", layer_decay=0.75)
    assert counted(trainer).mode.reads == {}
    assert isinstance(trainer.optimizer.optimizer, torch.optim.AdamW)


def test_the_counter_sees_a_deliberate_read(tmp_path):
    trainer = make_trainer("cross_entropy", tmp_path, **quiet())
    assert counted(trainer, read_deliberately=True).mode.reads == {"aten::_local_scalar_dense": 4}


def test_the_counter_sees_what_the_stock_arguments_would_read(tmp_path):
    """Why `logging_nan_inf_filter` is off: two reads in each of the five steps."""
    trainer = make_trainer("cross_entropy", tmp_path, **quiet(), logging_nan_inf_filter=True)
    trainer.args.logging_nan_inf_filter = True
    assert sum(counted(trainer).mode.reads.values()) >= 10


def test_a_new_epoch_reads_only_the_seed_of_its_loader(tmp_path):
    trainer = make_trainer("cross_entropy", tmp_path, **quiet(per_device_train_batch_size=10))
    steps_per_epoch = 4
    assert len(trainer.get_train_dataloader()) == steps_per_epoch  # steps 3 to 7 begin one epoch
    assert sum(counted(trainer).mode.reads.values()) <= 1


def test_evaluation_reads_as_often_for_many_batches_as_for_few(tmp_path):
    trainer = make_trainer("cross_entropy", tmp_path, per_device_eval_batch_size=16)
    trainer.evaluate()
    found = []
    for batch_size, batches in ((16, 3), (2, 19)):
        trainer.args.per_device_eval_batch_size = batch_size
        loader = trainer.get_eval_dataloader()
        assert len(loader) == batches
        with Reads() as mode:
            trainer.evaluate()
        assert mode.operators["aten::addmm"] >= batches  # the classifier, in every batch
        found.append(mode.reads)
    assert found[0] == found[1]
    assert sum(found[0].values()) <= 2
