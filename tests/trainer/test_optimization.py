"""Parameter groups and schedules, as functions and as what really reaches the steps of a run."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay
from torch import nn
from transformers import TrainerCallback

from hf_ltr import LongTailConfig, LongTailForImageClassification
from hf_ltr.trainer.optimization import cosine_factor, layer_numbers, multistep_factor, parameter_groups

from ..contracts.builders import make_trainer

RATE = 0.4
VIT = {"depth": 3, "embed_dim": 16, "num_heads": 2}


def vision_transformer(depth: int = 3) -> LongTailForImageClassification:
    torch.manual_seed(0)
    return LongTailForImageClassification(
        LongTailConfig(
            backbone="vit_pico_patch4_16",
            image_size=8,
            num_channels=1,
            num_labels=4,
            global_pool="avg",
            backbone_kwargs={**VIT, "depth": depth},
        )
    )


def groups_of(model: nn.Module, **options) -> list[dict]:
    options = {"learning_rate": RATE, "weight_decay": 0.05, "decay_all": False, **options}
    return parameter_groups(model, **options)


def by_name(groups: list[dict], key: str) -> dict[str, float]:
    return {name: group[key] for group in groups for name in group["names"]}


# ---------------------------------------------------------------------- parameter groups
def test_sgd_decays_everything_and_adamw_leaves_out_norms_biases_and_embeddings():
    model = vision_transformer()
    names = {name for name, _ in model.named_parameters()}
    everything = by_name(groups_of(model, decay_all=True), "weight_decay")
    assert set(everything) == names
    assert set(everything.values()) == {0.05}
    some = by_name(groups_of(model), "weight_decay")
    undecayed = {name for name, decay in some.items() if decay == 0.0}
    assert set(some) == names
    assert {name for name, decay in some.items() if decay} == names - undecayed
    assert undecayed == {
        name
        for name, parameter in model.named_parameters()
        if parameter.ndim < 2 or name in ("backbone.cls_token", "backbone.pos_embed")
    }
    assert {"backbone.cls_token", "backbone.pos_embed"} <= undecayed
    # 2-D and larger: projections, patch embedding, classifier.
    assert {"backbone.patch_embed.proj.weight", "classifier.weight", "backbone.blocks.0.attn.qkv.weight"} <= (
        names - undecayed
    )


@pytest.mark.parametrize("optimizer, all_decayed", [("sgd", True), ("adamw_torch", False)])
@pytest.mark.parametrize("forced", [None, True, False])
def test_the_choice_reaches_the_optimizer(tmp_path, optimizer, all_decayed, forced):
    trainer = make_trainer(
        "cross_entropy", tmp_path, optim=optimizer, weight_decay=0.03, decay_all_parameters=forced, max_steps=1
    )
    trainer.create_optimizer()
    expected = all_decayed if forced is None else forced
    decays = {group["weight_decay"] for group in trainer.optimizer.param_groups}
    assert decays == ({0.03} if expected else {0.0, 0.03})
    held = sum(parameter.numel() for group in trainer.optimizer.param_groups for parameter in group["params"])
    assert held == sum(parameter.numel() for parameter in trainer.model.parameters())


def test_sgd_takes_momentum_and_nesterov(tmp_path):
    trainer = make_trainer("cross_entropy", tmp_path, momentum=0.8, nesterov=True)
    group = trainer.create_optimizer().param_groups[0]
    assert (group["momentum"], group["nesterov"], group["lr"]) == (0.8, True, 0.05)


def test_layer_decay_is_in_the_learning_rates():
    model = vision_transformer(depth=3)
    rates = by_name(groups_of(model, layer_decay=0.5), "lr")
    expected = {
        "backbone.patch_embed.proj.weight": 0,
        "backbone.pos_embed": 0,
        "backbone.cls_token": 0,
        "backbone.blocks.0.attn.qkv.weight": 1,
        "backbone.blocks.1.mlp.fc1.bias": 2,
        "backbone.blocks.2.norm1.weight": 3,
        "backbone.fc_norm.weight": 4,
        "classifier.bias": 4,
    }
    for name, layer in expected.items():
        assert rates[name] == pytest.approx(RATE * 0.5 ** (3 + 1 - layer), rel=1e-12), name
    assert len(set(rates.values())) == 5


@pytest.mark.parametrize("pool", ["avg", "token"])
def test_layer_decay_equals_timm(pool):
    """
    timm's scales (which its groups carry as `lr_scale`) for the same network. Only the last norm differs: timm counts
    it to the last block, the MAE recipe to the head.
    """
    network = timm.create_model("vit_tiny_patch16_224", depth=4, embed_dim=24, num_heads=2, global_pool=pool)
    reference = param_groups_layer_decay(
        network, weight_decay=0.05, layer_decay=0.7, no_weight_decay_list=network.no_weight_decay()
    )
    scale_of = {id(p): (group["lr_scale"], group["weight_decay"]) for group in reference for p in group["params"]}

    class Wrapped(nn.Module):
        """The names of our models: everything but the head under `backbone`."""

        def __init__(self):
            super().__init__()
            self.backbone, self.classifier = network, network.head
            del self.backbone.head

    model = Wrapped()
    found = groups_of(model, layer_decay=0.7, learning_rate=1.0)
    assert sum(len(group["params"]) for group in found) == len(scale_of)
    for group in found:
        for name, parameter in zip(group["names"], group["params"], strict=True):
            scale, decay = scale_of[id(parameter)]
            scale = 1.0 if name.startswith("backbone.norm.") else scale
            assert group["lr"] == pytest.approx(scale, rel=1e-12), name
            assert group["weight_decay"] == decay, name


def test_layers_of_convolutional_networks():
    model = LongTailForImageClassification(LongTailConfig(backbone="resnet20_cifar", num_labels=4))
    layers = layer_numbers(model)
    assert set(layers) == {name for name, _ in model.named_parameters()}
    assert layers["backbone.conv1.weight"] == layers["backbone.bn1.bias"] == 0
    # Deeper is never a smaller number, and the classifier is above everything.
    depths = [layers[f"backbone.layer{stage}.{block}.conv1.weight"] for stage in (1, 2, 3) for block in (0, 1, 2)]
    assert depths == sorted(depths)
    assert depths[0] >= 1
    assert layers["classifier.weight"] == layers["classifier.bias"] == max(depths) + 1


def test_parameter_options_first_match_wins():
    model = vision_transformer()
    groups = groups_of(
        model,
        layer_decay=0.5,
        options={
            r"^classifier\.weight$": {"lr_scale": 10.0, "weight_decay": 0.5},
            r"^classifier": {"lr_scale": 3.0},
            r"blocks\.0\..*bias": {"weight_decay": 0.01},
        },
    )
    rates, decays = by_name(groups, "lr"), by_name(groups, "weight_decay")
    assert rates["classifier.weight"] == pytest.approx(RATE * 10.0)
    assert rates["classifier.bias"] == pytest.approx(RATE * 3.0)
    assert (decays["classifier.weight"], decays["classifier.bias"]) == (0.5, 0.0)
    assert decays["backbone.blocks.0.attn.qkv.bias"] == 0.01
    assert decays["backbone.blocks.1.attn.qkv.bias"] == 0.0
    # The scale of the option is multiplied with that of the layer.
    assert rates["backbone.blocks.0.attn.qkv.bias"] == pytest.approx(RATE * 0.5**3)


def test_parameter_options_fail_clearly():
    model = vision_transformer()
    with pytest.raises(ValueError, match="lr_scale"):
        groups_of(model, options={"classifier": {"lr_scal": 2.0}})
    with pytest.raises(ValueError, match=r"\^head.*matches no parameter.*backbone"):
        groups_of(model, options={"^head": {"lr_scale": 2.0}})
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(ValueError, match="[Ee]verything is frozen"):
        groups_of(model)


def test_frozen_parameters_are_in_no_group():
    model = vision_transformer()
    model.freeze([r"^backbone\."])
    groups = groups_of(model)
    assert set(by_name(groups, "lr")) == {"classifier.weight", "classifier.bias"}


def test_parameter_options_reach_the_run(tmp_path):
    trainer = make_trainer(
        "cross_entropy",
        tmp_path,
        learning_rate=0.01,
        max_steps=2,
        parameter_options='{"^backbone": {"lr_scale": 0.0}}',
        weight_decay=0.0,
    )
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.train()
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(value, before[name]) is name.startswith("backbone."), name


# ---------------------------------------------------------------------- schedules as functions
def test_multistep_factor():
    factors = [multistep_factor(step, warmup_steps=4, milestones=[8, 10], factor=0.1) for step in range(12)]
    np.testing.assert_allclose(factors, [0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01], rtol=1e-12)
    assert multistep_factor(0, warmup_steps=0, milestones=[], factor=0.1) == 1.0


def test_cosine_factor():
    factors = [cosine_factor(step, warmup_steps=3, total_steps=11, minimum=0.2) for step in range(12)]
    np.testing.assert_allclose(factors[:3], [1 / 3, 2 / 3, 1], rtol=1e-12)
    for step in range(3, 12):
        progress = (step - 3) / 8
        assert factors[step] == pytest.approx(0.2 + 0.8 * (1 + math.cos(math.pi * progress)) / 2, rel=1e-12)
    assert factors[3] == 1.0
    assert factors[11] == pytest.approx(0.2)
    assert cosine_factor(50, warmup_steps=3, total_steps=11, minimum=0.2) == pytest.approx(0.2)


# ---------------------------------------------------------------------- schedules in a run
class Rates(TrainerCallback):
    """The learning rates with which each step was made, one list per step."""

    def __init__(self, stop_after: int | None = None):
        self.rates: dict[int, list[float]] = {}
        self.stop_after = stop_after

    def on_pre_optimizer_step(self, args, state, control, optimizer=None, **kwargs):
        self.rates[state.global_step] = [group["lr"] for group in optimizer.param_groups]

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.stop_after:
            control.should_training_stop = control.should_save = True


def rates_of(trainer, **options) -> dict[int, list[float]]:
    rates = Rates(**options)
    trainer.add_callback(rates)
    trainer.train(resume_from_checkpoint=True)
    return rates.rates


# 37 rows in batches of 8: five steps per epoch, the last one of five rows.
STEPS_PER_EPOCH = 5
MULTISTEP = {"num_train_epochs": 4, "warmup_epochs": 1, "lr_milestones": [2, 3], "lr_milestone_factor": 0.1}
COSINE = {"num_train_epochs": 4, "warmup_epochs": 0.6, "min_learning_rate": 0.005}


def multistep_trace(step: int) -> float:
    if step < 5:
        return (step + 1) / 5
    return 1.0 if step < 10 else 0.1 if step < 15 else 0.01


def cosine_trace(step: int) -> float:
    if step < 3:
        return (step + 1) / 3
    return 0.1 + 0.9 * (1 + math.cos(math.pi * (step - 3) / 17)) / 2


def assert_trace(rates: dict[int, list[float]], trace: Callable[[int], float]) -> None:
    """Twenty steps, all groups with the rate of the trace."""
    assert sorted(rates) == list(range(20))
    for step, found in rates.items():
        assert found == pytest.approx([0.05 * trace(step)] * len(found), rel=1e-9), step


@pytest.mark.parametrize("schedule, trace", [(MULTISTEP, multistep_trace), (COSINE, cosine_trace)])
def test_every_step_of_a_run_has_the_rate_of_the_schedule(tmp_path, schedule, trace):
    rates = rates_of(make_trainer("cross_entropy", tmp_path, **schedule))
    assert_trace(rates, trace)


@pytest.mark.parametrize(
    "schedule, trace",
    [
        ({"max_steps": 20, "num_train_epochs": 1, **{k: v for k, v in s.items() if k != "num_train_epochs"}}, t)
        for s, t in ((MULTISTEP, multistep_trace), (COSINE, cosine_trace))
    ],
)
def test_epochs_of_a_schedule_mean_the_same_with_max_steps(tmp_path, schedule, trace):
    rates = rates_of(make_trainer("cross_entropy", tmp_path, **schedule))
    assert_trace(rates, trace)


def test_accumulation_counts_optimizer_steps(tmp_path):
    rates = rates_of(
        make_trainer(
            "cross_entropy",
            tmp_path,
            **MULTISTEP,
            per_device_train_batch_size=2,
            gradient_accumulation_steps=4,
        )
    )
    assert_trace(rates, multistep_trace)


def test_warmup_steps_win_over_warmup_epochs(tmp_path):
    rates = rates_of(make_trainer("cross_entropy", tmp_path, **{**MULTISTEP, "warmup_steps": 2}))
    assert [rates[step][0] for step in range(3)] == pytest.approx([0.025, 0.05, 0.05])


def test_warmup_is_a_tenth_of_a_short_run_if_nothing_is_said(tmp_path):
    rates = rates_of(make_trainer("cross_entropy", tmp_path, **{**MULTISTEP, "warmup_epochs": None}))
    # A tenth of four epochs of five steps: two steps.
    assert [rates[step][0] for step in range(3)] == pytest.approx([0.025, 0.05, 0.05])


def test_a_warmup_as_long_as_the_run_is_refused(tmp_path):
    trainer = make_trainer("cross_entropy", tmp_path, num_train_epochs=2, warmup_epochs=2)
    with pytest.raises(ValueError, match="warm-up of 10 steps is as long as the run of 10 steps"):
        trainer.train()
    # The folder was not claimed for a run that never was: with the mistake mended it is used.
    assert not (tmp_path / "run.json").exists() and not list(tmp_path.glob("*/run.json"))


def test_stock_schedules_have_the_warmup_too(tmp_path):
    options = {"num_train_epochs": 4, "warmup_epochs": 0.8, "lr_scheduler_type": "constant_with_warmup"}
    rates = rates_of(make_trainer("cross_entropy", tmp_path, **options))
    # Transformers counts from 0.
    assert [rates[step][0] for step in range(6)] == pytest.approx([0.0, 0.0125, 0.025, 0.0375, 0.05, 0.05])


@pytest.mark.parametrize("schedule", [MULTISTEP, COSINE], ids=["multistep", "cosine"])
def test_a_resumed_run_has_the_rates_of_an_uninterrupted_one(tmp_path, schedule):
    """With layer decay, so that every group has a rate of its own."""
    options = {
        **schedule,
        "optim": "adamw_torch_fused",
        "layer_decay": 0.5,
        "save_strategy": "steps",
        "save_steps": 50,
    }
    straight = rates_of(make_trainer("cross_entropy", tmp_path / "straight", **options))
    first = rates_of(make_trainer("cross_entropy", tmp_path / "resumed", **options), stop_after=8)
    second = rates_of(make_trainer("cross_entropy", tmp_path / "resumed", **options))
    assert sorted(first) == list(range(8))
    assert sorted(second) == list(range(8, 20))
    assert {**first, **second} == straight
    trace = multistep_trace if schedule is MULTISTEP else cosine_trace
    # One block: layers 0, 1 and 2, in groups with and without decay.
    for step, found in straight.items():
        scales = sorted({round(rate / (0.05 * trace(step)), 9) for rate in found})
        assert scales == [0.25, 0.5, 1.0], step
