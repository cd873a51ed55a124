"""Masked autoencoding as a method: masks belong to the images, labels are not needed."""

from __future__ import annotations

import pytest
import torch

from hf_ltr import LongTailForImageClassification, LongTailTrainer, get_method

from ..contracts.builders import make_arguments, make_dataset, make_method, make_model, make_trainer


def test_masks_belong_to_the_images(tmp_path):
    """The same rows in another order, or in smaller batches, are masked alike."""
    trainer = make_trainer("masked_autoencoding", tmp_path, max_steps=1)
    loader = trainer.get_train_dataloader()
    trainer.method.setup(trainer)
    batches, _ = trainer.get_batch_samples(iter(loader), 1, trainer.args.device)
    batch = batches[0]
    _, whole = trainer.method.training_loss(trainer.model, batch)
    order = torch.tensor([5, 2, 7])
    part = {key: batch[key][order] for key in ("pixel_values", "keys", "weight")}
    _, small = trainer.method.training_loss(trainer.model, part)
    assert torch.equal(whole.mask[order], small.mask)
    torch.testing.assert_close(whole.loss_per_sample[order], small.loss_per_sample)
    assert len({tuple(row.tolist()) for row in whole.mask}) > 1


def test_masks_change_from_epoch_to_epoch(tmp_path):
    trainer = make_trainer("masked_autoencoding", tmp_path, max_steps=1, per_device_train_batch_size=37)
    loader = trainer.get_train_dataloader()
    trainer.method.setup(trainer)
    masks = []
    for epoch in (0, 1):
        loader.set_epoch(epoch)
        batches, _ = trainer.get_batch_samples(iter(loader), 1, trainer.args.device)
        _, outputs = trainer.method.training_loss(trainer.model, batches[0])
        masks.append(outputs.mask[batches[0]["index"].argsort()])
    assert not torch.equal(*masks)


def test_it_trains_without_a_label_column(tmp_path):
    dataset = make_dataset().remove_columns("label")
    method = make_method("masked_autoencoding", [16, 10, 7, 4])
    trainer = LongTailTrainer(
        make_model(method), make_arguments(tmp_path, max_steps=2), method=method, train_dataset=dataset
    )
    assert trainer.train().global_step == 2


def test_encoder_weights_are_the_classifiers_backbone(tmp_path):
    trainer = make_trainer("masked_autoencoding", tmp_path, max_steps=2)
    trainer.train()
    trainer.save_model(str(tmp_path / "saved"))
    from ..contracts.builders import make_config

    classifier = LongTailForImageClassification.from_pretrained(
        tmp_path / "saved", config=make_config(trainer.method.class_counts)
    )
    encoder = trainer.model.backbone.state_dict()
    shared = [name for name in classifier.backbone.state_dict() if name in encoder]
    assert {"patch_embed.proj.weight", "blocks.0.attn.qkv.weight", "pos_embed", "cls_token"} <= set(shared)
    for name in shared:
        assert torch.equal(encoder[name], classifier.backbone.state_dict()[name]), name
    assert classifier.backbone.pos_embed.requires_grad


def test_evaluation_says_why_there_is_none(tmp_path):
    trainer = make_trainer("masked_autoencoding", tmp_path, max_steps=1)
    with pytest.raises(ValueError, match="no classes to evaluate"):
        trainer.evaluate(make_dataset())


def test_a_contradicting_mask_ratio_is_refused():
    method = get_method("masked_autoencoding", class_counts=[2, 1], mask_ratio=0.5)
    from ..contracts.builders import make_config

    config = make_config([2, 1])
    config.masked_autoencoder = {"mask_ratio": 0.75}
    with pytest.raises(ValueError, match="mask_ratio=0.5 but config.masked_autoencoder says 0.75"):
        method.configure(config)
