"""Gradient checkpointing, memory format and mixed precision reach the model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hf_ltr import LongTailConfig, LongTailForImageClassification, LongTailTrainer, class_counts

from ..contracts.builders import losses, make_arguments, make_dataset, make_trainer, weights


def test_gradient_checkpointing_changes_memory_not_results(tmp_path):
    plain = make_trainer("cross_entropy", tmp_path / "plain")
    plain.train()
    saving = make_trainer("cross_entropy", tmp_path / "saving", gradient_checkpointing=True)
    saving.train()
    assert saving.model.backbone.grad_checkpointing
    for key, value in weights(plain).items():
        np.testing.assert_allclose(value, weights(saving)[key], rtol=1e-5, atol=1e-7, err_msg=key)


def convolutional(tmp_path, **changes) -> LongTailTrainer:
    dataset = make_dataset()
    torch.manual_seed(0)
    config = LongTailConfig(
        backbone="resnet20_cifar", image_size=8, num_channels=1, class_counts=class_counts(dataset)
    )
    model = LongTailForImageClassification(config)
    return LongTailTrainer(model, make_arguments(tmp_path, **changes), train_dataset=dataset, eval_dataset=dataset)


@pytest.mark.parametrize("wanted", [True, False])
def test_memory_format_of_weights_and_batches(tmp_path, wanted):
    trainer = convolutional(tmp_path, channels_last=wanted, max_steps=1)
    layouts = []
    convolutions = [module for module in trainer.model.modules() if isinstance(module, torch.nn.Conv2d)]
    # The second one: a single input channel is contiguous in both formats.
    convolutions[1].register_forward_pre_hook(
        lambda module, args: layouts.append(args[0].is_contiguous(memory_format=torch.channels_last))
    )
    trainer.train()
    assert convolutions[1].weight.is_contiguous(memory_format=torch.channels_last) is wanted
    assert layouts == [wanted]


def test_bfloat16_keeps_float32_weights_and_losses(tmp_path):
    full = convolutional(tmp_path / "full")
    full.train()
    mixed = convolutional(tmp_path / "mixed", mixed_precision_mode="bf16")
    dtypes = set()
    convolution = next(m for m in mixed.model.modules() if isinstance(m, torch.nn.Conv2d))
    convolution.register_forward_hook(lambda module, args, output: dtypes.add(output.dtype))
    mixed.train()
    assert dtypes == {torch.bfloat16}
    assert {p.dtype for p in mixed.model.parameters()} == {torch.float32}
    np.testing.assert_allclose(losses(full)[0], losses(mixed)[0], rtol=0.05)
    assert np.isfinite(list(mixed.evaluate()[key] for key in ("eval_loss", "eval_accuracy"))).all()


def test_soft_targets_reach_the_loss(tmp_path):
    """Mixup changes the loss of a step; with a method that needs hard labels it is refused before training."""
    mixed = make_trainer("cross_entropy", tmp_path / "m", mixup_alpha=1.0, cutmix_alpha=1.0, label_smoothing=0.1)
    loader = mixed.get_train_dataloader()
    batches, _ = mixed.get_batch_samples(iter(loader), 1, mixed.args.device)
    assert batches[0]["targets"].shape == (8, 4)
    torch.testing.assert_close(batches[0]["targets"].sum(1), torch.ones(8))
    assert batches[0]["labels"].dtype == torch.int64
    mixed.train()
    with pytest.raises(ValueError, match="ldam needs hard labels"):
        make_trainer("ldam", tmp_path / "l", mixup_alpha=1.0)
