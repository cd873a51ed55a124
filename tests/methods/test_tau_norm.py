"""Tau-normalisation: golden values, the sweep against a loop, and normalising once."""

import pytest
import torch

from hf_ltr import LongTailForImageClassification, get_method
from hf_ltr.losses.weight_norms import tau_normalize
from hf_ltr.methods.tau_norm import TAU_GRID, best_tau, sweep_tau

from ..contracts.builders import make_dataset
from .decoupled_runs import UNSORTED, features_of, make_trainer, state
from .experts_golden import CASES, assert_close, names, values

ZERO_EPOCHS = {"num_train_epochs": 0}


@pytest.mark.parametrize("case", names("tau_norm_"))
def test_equals_the_public_code(case):
    weight = tau_normalize(values(case, "inputs", "weight"), CASES[case]["params"]["p"])
    assert_close(weight, values(case, "outputs", "weight_normed"))
    assert_close(values(case, "inputs", "weight").norm(dim=1), values(case, "outputs", "row_norm"))
    assert_close(values(case, "inputs", "features") @ weight.T, values(case, "outputs", "logits"))


@pytest.mark.parametrize("keep_bias", [False, True])
def test_rows_are_divided_and_nothing_else_changes(keep_bias, tmp_path):
    options = {"tau": 0.7, "keep_bias": keep_bias}
    trainer = make_trainer(tmp_path, "tau_norm", method_options=options, **ZERO_EPOCHS)
    before = state(trainer)
    trainer.train()
    after = state(trainer)
    assert ("classifier.bias" in after) is keep_bias
    for row, (old, new) in enumerate(zip(before["classifier.weight"], after["classifier.weight"], strict=True)):
        torch.testing.assert_close(new, old / old.norm() ** 0.7, msg=f"row {row}")
    others = {name for name in after if name != "classifier.weight"}
    assert all(torch.equal(before[name], after[name]) for name in others)
    expected = {"tau": 0.7} if keep_bias else {"tau": 0.7, "bias": False}
    assert trainer.model.config.head_options == expected
    trainer.save_model(str(tmp_path / "saved"))
    loaded = LongTailForImageClassification.from_pretrained(tmp_path / "saved").eval()
    assert loaded.config.head_options == expected
    pixels = torch.randn(3, 1, 8, 8)
    torch.testing.assert_close(loaded(pixels).logits, trainer.model.eval()(pixels).logits)


@pytest.mark.parametrize("keep_bias", [False, True])
def test_the_sweep_equals_a_loop_over_tau_rows_and_classes(keep_bias, tmp_path):
    trainer = make_trainer(tmp_path, "tau_norm", per_device_eval_batch_size=5)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        trainer.model.classifier.weight.mul_(torch.tensor([[9.0], [0.3], [2.0], [1.0]]))
        trainer.model.classifier.bias.copy_(torch.randn(4, generator=generator))
    # Two classes in the validation split are enough: one without images is left out of the mean.
    validation = make_dataset([6, 9, 0, 8], seed=4)
    found = sweep_tau(trainer, validation, keep_bias=keep_bias)
    assert list(found) == list(TAU_GRID) == [pytest.approx(0.1 * step) for step in range(21)]
    features, labels = features_of(trainer, validation)
    weight, bias = (tensor.detach().double() for tensor in trainer.model.classifier.parameters())
    for tau, accuracy in found.items():
        hits = {0: [], 1: [], 3: []}
        for feature, label in zip(features, labels.tolist(), strict=True):
            scores = [
                (feature @ row) / row.norm() ** tau + (shift if keep_bias else 0.0)
                for row, shift in zip(weight, bias, strict=True)
            ]
            hits[label].append(max(range(4), key=scores.__getitem__) == label)
        expected = sum(sum(own) / len(own) for own in hits.values()) / len(hits)
        assert accuracy == pytest.approx(expected, abs=1e-12), f"tau {tau}"
    assert len(set(found.values())) > 1, "no tau makes a difference, so this test shows nothing"


def test_the_best_tau_is_the_lowest_of_equals():
    assert best_tau({0.0: 0.3, 1.0: 0.5, 0.5: 0.5, 2.0: 0.4}) == 0.5


def test_tau_is_chosen_on_the_validation_split_and_recorded(tmp_path):
    trainer = make_trainer(tmp_path, "tau_norm", **ZERO_EPOCHS)
    with torch.no_grad():
        trainer.model.classifier.weight.mul_(torch.tensor([[9.0], [0.3], [2.0], [1.0]]))
    accuracies = sweep_tau(trainer, trainer.eval_dataset)
    before = trainer.model.classifier.weight.detach().clone()
    trainer.train()
    tau = trainer.model.config.head_options["tau"]
    assert tau == best_tau(accuracies) and accuracies[tau] > accuracies[0.0]
    torch.testing.assert_close(trainer.model.classifier.weight.detach(), tau_normalize(before, tau))
    assert trainer.evaluate()["eval_balanced_accuracy"] == pytest.approx(accuracies[tau])
    assert trainer.method.describe()["options"]["tau"] is None


def test_a_second_finalize_changes_nothing(tmp_path):
    trainer = make_trainer(tmp_path, "tau_norm", method_options={"tau": 0.5}, **ZERO_EPOCHS)
    trainer.train()
    before = state(trainer)
    trainer.method.finalize(trainer)
    after = state(trainer)
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    trainer.args.output_dir = str(tmp_path / "other")
    with pytest.raises(ValueError, match=r"already tau-normalised \(tau=0.5"):
        trainer.train()


def test_without_a_validation_split_it_asks_for_one(tmp_path):
    trainer = make_trainer(tmp_path / "a", "tau_norm", validation=False, **ZERO_EPOCHS)
    with pytest.raises(ValueError, match="validation images, and there are none.*validation_per_class.*or give tau"):
        trainer.train()
    several = make_trainer(tmp_path / "b", "tau_norm", **ZERO_EPOCHS)
    several.eval_dataset = {"one": make_dataset(UNSORTED), "two": make_dataset(UNSORTED)}
    with pytest.raises(ValueError, match="parts 'one', 'two', none of them"):
        several.train()
    make_trainer(tmp_path / "c", "tau_norm", validation=False, method_options={"tau": 1.0}, **ZERO_EPOCHS).train()


def test_a_row_of_zeros_stays_zero_and_finite(tmp_path):
    trainer = make_trainer(tmp_path, "tau_norm", **ZERO_EPOCHS)
    with torch.no_grad():
        trainer.model.classifier.weight[2] = 0
    assert all(0 <= accuracy <= 1 for accuracy in sweep_tau(trainer, trainer.eval_dataset).values())
    trainer.train()
    weight = trainer.model.classifier.weight
    assert torch.isfinite(weight).all() and not weight[2].any()


def test_an_unusable_tau_is_refused():
    with pytest.raises(ValueError, match="finite"):
        get_method("tau_norm", class_counts=[2, 1], tau=float("inf"))
