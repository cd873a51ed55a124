"""A precision belongs to a trainer: the model has none of it before, after and in between."""

from __future__ import annotations

import copy
import io
import pickle

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from transformers import TrainerCallback

from hf_ltr import LongTailConfig, LongTailForImageClassification, LongTailTrainer, class_counts
from hf_ltr.trainer.evaluation import evaluate_model

from ..contracts.builders import make_arguments, make_dataset, make_trainer, weights

PIXELS = torch.linspace(-2, 2, 2 * 64).reshape(2, 1, 8, 8)


@pytest.fixture(scope="module")
def data():
    return make_dataset()


@pytest.fixture
def model(data) -> LongTailForImageClassification:
    torch.manual_seed(0)
    config = LongTailConfig(backbone="resnet20_cifar", image_size=8, num_channels=1, class_counts=class_counts(data))
    made = LongTailForImageClassification(config)
    with torch.no_grad():
        made.classifier.weight.mul_(20)  # so that rounding shows in the loss
    return made


def loss(model, data, **arguments) -> float:
    return evaluate_model(model, data, {"mixed_precision_mode": "no", **arguments})["loss"]


def forward(model) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        return model(PIXELS.to(memory_format=torch.channels_last)).logits


def assert_untouched(model) -> None:
    assert not {"forward", "_original_forward", "_is_accelerate_prepared"} & vars(model).keys()
    assert {tensor.dtype for tensor in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("order", [("no", "bf16", "no"), ("bf16", "no", "bf16")])
def test_each_evaluation_has_the_precision_it_asks_for(model, data, order):
    alone = {mode: loss(copy.deepcopy(model), data, mixed_precision_mode=mode) for mode in ("no", "bf16")}
    assert alone["no"] != alone["bf16"]
    for mode in order:
        assert loss(model, data, mixed_precision_mode=mode) == alone[mode], mode
        assert_untouched(model)


@pytest.mark.parametrize("order", [(True, False, True), (False, True, False)])
def test_each_evaluation_has_the_memory_format_it_asks_for(model, data, order):
    alone = {wanted: loss(copy.deepcopy(model), data, channels_last=wanted) for wanted in (True, False)}
    seen = []
    weight = model.backbone.layer1[0].conv1.weight
    hook = model.register_forward_pre_hook(
        lambda *_: seen.append((weight.is_contiguous(memory_format=torch.channels_last), weight.is_contiguous()))
    )
    for wanted in order:
        assert loss(model, data, channels_last=wanted) == alone[wanted]
        assert set(seen) == {(wanted, not wanted)}
        seen.clear()
    hook.remove()


@pytest.mark.parametrize("trained", [True, False])
def test_an_evaluation_in_the_middle_of_training_leaves_the_memory_format(model, data, trained):
    formats = (torch.contiguous_format, torch.channels_last)
    model.to(memory_format=formats[trained])
    before = {name: tensor.stride() for name, tensor in model.named_parameters()}
    loss(model, data, channels_last=not trained)
    assert {name: tensor.stride() for name, tensor in model.named_parameters()} == before


def test_trainers_that_live_side_by_side_keep_their_precision(model, data, tmp_path):
    trainers = {
        mode: LongTailTrainer(model, make_arguments(tmp_path, mixed_precision_mode=mode), eval_dataset=data)
        for mode in ("bf16", "no")
    }
    for mode in ("bf16", "no", "bf16"):
        alone = loss(copy.deepcopy(model), data, mixed_precision_mode=mode)
        assert trainers[mode].evaluate()["eval_loss"] == pytest.approx(alone, rel=1e-6), mode


def test_trained_in_bfloat16_and_evaluated_in_float32_is_what_is_loaded_again(model, data, tmp_path):
    arguments = make_arguments(tmp_path / "run", mixed_precision_mode="bf16", max_steps=3)
    trainer = LongTailTrainer(model, arguments, train_dataset=data, eval_dataset=data)
    trainer.train()
    assert_untouched(model)
    mixed = trainer.evaluate()["eval_loss"]
    trainer.save_model(str(tmp_path / "saved"))
    again = LongTailForImageClassification.from_pretrained(tmp_path / "saved").to(memory_format=torch.channels_last)
    assert torch.equal(forward(model), forward(again))
    assert loss(model, data) == loss(again, data) != mixed
    assert loss(model, data, mixed_precision_mode="bf16") == pytest.approx(mixed, rel=1e-6)


@pytest.mark.parametrize(("option", "dtype"), [("bf16_full_eval", torch.bfloat16), ("fp16_full_eval", torch.float16)])
@pytest.mark.parametrize("mode", ["no", "bf16"])
def test_full_evaluation_computes_with_rounded_weights(model, data, tmp_path, option, dtype, mode):
    before = {name: (tensor, tensor.clone()) for name, tensor in model.named_parameters()}
    arguments = make_arguments(tmp_path, mixed_precision_mode=mode, **{option: True})
    found = LongTailTrainer(model, arguments).predict(data).predictions
    loader = LongTailTrainer(model, make_arguments(tmp_path)).get_eval_dataloader(data)
    pixels = torch.cat([loader.batch_loader.prepare(raw)["pixel_values"] for raw in loader])
    rounded = copy.deepcopy(model).to(dtype).eval()
    with torch.no_grad():
        expected = torch.cat([rounded(part).logits.float() for part in pixels.split(16)])
    np.testing.assert_array_equal(found, expected.numpy())
    for name, tensor in model.named_parameters():
        assert tensor is before[name][0] and torch.equal(tensor, before[name][1])
    assert_untouched(model)


def test_full_evaluation_follows_a_logit_adjustment_set_in_the_config(model, data):
    adjustment = {"tau": 1.0, "remove": [16, 10, 7, 4]}
    plain = loss(model, data)
    model.config.logit_adjustment = adjustment
    half = loss(model, data, bf16_full_eval=True)
    adjusted = loss(model, data)
    expected = copy.deepcopy(model)
    expected.set_logit_adjustment(adjustment)
    assert adjusted == loss(expected, data) != plain
    assert half == pytest.approx(adjusted, rel=0.1)


class _During(TrainerCallback):
    """Does what people do to a model in the middle of its training."""

    def __init__(self, data):
        self.data, self.found = data, []

    def on_step_end(self, args, state, control, model=None, **kwargs):
        random = torch.get_rng_state()
        assert_untouched(model)
        stored = io.BytesIO()
        pickle.dump(model, stored)
        copied, pickled = copy.deepcopy(model), pickle.loads(stored.getvalue())
        with torch.no_grad():
            for other in (copied, pickled):
                other.classifier.weight.zero_()
                other.classifier.bias.fill_(1.0)
                assert torch.equal(forward(other), torch.ones(2, 4))
        self.found.append(evaluate_model(model, self.data, {"mixed_precision_mode": "no"})["loss"])
        self.found.append(evaluate_model(model, self.data, {"bf16_full_eval": True})["loss"])
        model.train()
        torch.set_rng_state(random)


def test_what_a_callback_does_with_the_model_changes_no_training(data, tmp_path):
    """Copied, pickled and evaluated in another precision after every step."""
    settings = {"mixed_precision_mode": "bf16", "max_steps": 3}
    alone = make_trainer("cross_entropy", tmp_path / "a", **settings)
    alone.train()
    watched = make_trainer("cross_entropy", tmp_path / "b", **settings)
    callback = _During(data)
    watched.add_callback(callback)
    watched.train()
    assert len(set(callback.found)) == 6
    for name, value in weights(alone).items():
        np.testing.assert_array_equal(value, weights(watched)[name], err_msg=name)
    float32 = make_trainer("cross_entropy", tmp_path / "c", max_steps=3)
    float32.train()
    assert any(not np.array_equal(value, weights(alone)[name]) for name, value in weights(float32).items())


@pytest.mark.parametrize("options", [{}, {"mixed_precision_mode": "bf16"}, {"bf16_full_eval": True}])
def test_an_evaluation_that_fails_leaves_the_model_as_it_was(model, data, options):
    expected = loss(model, data)
    handle = model.classifier.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(RuntimeError("interrupted")))
    with pytest.raises(RuntimeError, match="interrupted"):
        loss(model, data, **options)
    handle.remove()
    assert_untouched(model)
    assert loss(model, data) == expected


def test_what_another_accelerator_left_does_not_count(model, data, tmp_path):
    """The stock Trainer leaves its patch on the model: evaluation looks through it, training takes it off."""
    expected = {mode: loss(model, data, mixed_precision_mode=mode) for mode in ("no", "bf16")}
    AcceleratorState._reset_state(reset_partial_state=True)
    for _ in range(2):
        Accelerator(cpu=True, mixed_precision="bf16").prepare_model(model)
    patched = vars(model)["forward"]
    for mode, value in expected.items():
        assert loss(model, data, mixed_precision_mode=mode) == value, mode
        assert vars(model)["forward"] is patched  # whoever put it there may still need it
    LongTailTrainer(model, make_arguments(tmp_path, max_steps=1), train_dataset=data).train()
    assert_untouched(model)


def test_a_forward_of_the_users_own_stays(model, data, tmp_path):
    plain, calls = model.forward, []
    model.forward = lambda **inputs: calls.append(1) or plain(**inputs)
    own = model.forward
    loss(model, data, mixed_precision_mode="bf16")
    LongTailTrainer(model, make_arguments(tmp_path, max_steps=1), train_dataset=data).train()
    assert model.forward is own and len(calls) >= 2
