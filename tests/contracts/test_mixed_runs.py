"""Runs with mixup and cutmix: the same for every cut of a step, resumed bit for bit, and two classes in a row."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from .builders import StopAfter, assert_same, losses, make_trainer, weights

MIXED = {"mixup_alpha": 0.8, "cutmix_alpha": 1.0, "sampler": "class_aware"}


def test_cut_into_micro_batches_and_processes(tmp_path, two_processes):
    settings = {**MIXED, "per_device_train_batch_size": 8, "gradient_accumulation_steps": 1}
    whole = make_trainer("cross_entropy", tmp_path / "a", double=True, **settings)
    whole.train()
    plain = make_trainer("cross_entropy", tmp_path / "p", double=True, sampler="class_aware")
    plain.train()
    assert any(not np.array_equal(value, weights(plain)[name]) for name, value in weights(whole).items())
    parts = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    cut = make_trainer("cross_entropy", tmp_path / "b", double=True, **{**settings, **parts})
    cut.train()
    assert_same(weights(whole), weights(cut), rtol=1e-8, atol=1e-10)
    parts = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
    folder = str(tmp_path / "two")
    first, second = two_processes.run("train", name="cross_entropy", folder=folder, double=True, **settings | parts)
    assert_same(first["weights"], second["weights"])
    assert_same(weights(whole), first["weights"], rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(losses(whole), first["losses"], rtol=1e-5)


def test_resumed_in_mid_epoch(tmp_path):
    settings = {**MIXED, "save_strategy": "steps", "save_steps": 7, "save_total_limit": 2}
    straight = make_trainer("cross_entropy", tmp_path / "straight", **settings)
    straight.train()
    stopped = make_trainer("cross_entropy", tmp_path / "stopped", **settings)
    stopped.add_callback(StopAfter(7))
    stopped.train()
    torch.manual_seed(12345)
    resumed = make_trainer("cross_entropy", tmp_path / "stopped", **settings)
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.global_step == 10
    assert_same(weights(straight), weights(resumed))


@pytest.mark.parametrize(("size", "steps"), [(8, 1), (2, 4), (4, 4)])
def test_a_class_aware_batch_mixes_two_classes(tmp_path, size, steps):
    trainer = make_trainer(
        "cross_entropy",
        tmp_path,
        **MIXED,
        per_device_train_batch_size=size,
        gradient_accumulation_steps=steps,
    )
    batches, _ = trainer.get_batch_samples(iter(trainer.get_train_dataloader()), steps, trainer.args.device)
    classes = torch.cat([(batch["targets"] > 0).sum(1) for batch in batches])
    assert (classes == 2).float().mean() > 0.5
    if size * steps == 8:
        assert (classes == 2).all()  # two runs of four
