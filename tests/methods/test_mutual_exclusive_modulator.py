"""MEM: groups, the two means of the regularisation, what is frozen, the first step."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from hf_ltr import ClassCounts, class_counts, get_method
from hf_ltr.methods.mutual_exclusive_modulator import modulator_groups

from ..contracts.builders import make_dataset, make_trainer

COUNTS = [300, 50, 150, 5, 20, 3]


class FixedModel(torch.nn.Module):
    def __init__(self, logits, magnitudes):
        super().__init__()
        self.logits, self.magnitudes = torch.nn.Parameter(logits), torch.nn.Parameter(magnitudes)

    def forward(self, pixel_values):
        return SimpleNamespace(raw_logits=self.logits, magnitudes=self.magnitudes)


def step(labels, seed=0, **options):
    generator = torch.Generator().manual_seed(seed)
    rows = len(labels)
    model = FixedModel(
        torch.randn(rows, 6, generator=generator, dtype=torch.float64),
        torch.rand(rows, 3, generator=generator, dtype=torch.float64) * 8,
    )
    method = get_method("mem", class_counts=COUNTS, **options)
    batch = {"pixel_values": torch.zeros(rows, 1), "labels": torch.tensor(labels), "mass": torch.ones(rows)}
    terms, _ = method.training_loss(model, batch)
    return method, model, batch, terms


def test_groups_are_many_medium_few_or_even_thirds():
    assert modulator_groups(ClassCounts(COUNTS)) == [0, 1, 0, 2, 1, 2]
    # CIFAR-100-LT IF 10 has no few-shot class: even thirds by cardinality
    assert modulator_groups(ClassCounts([50, 500, 400, 60, 200, 100])) == [2, 0, 0, 2, 1, 1]
    assert modulator_groups(ClassCounts([5, 9])) == [1, 0]
    with pytest.raises(ValueError, match="at least two groups"):
        modulator_groups(ClassCounts([5]))


def test_terms_are_the_equations_of_the_paper():
    labels = [0, 3, 1, 2, 5, 0, 4]
    group = [0, 1, 0, 2, 1, 2]
    xi, mu, weight = 5.0, 0.5, 0.3
    method, model, _, terms = step(labels, margin_positive=xi, margin_negative=mu, regularization_weight=weight)
    cross_entropy = 0.0
    for row, label in zip(model.logits, labels, strict=True):
        cross_entropy -= (row[label] - torch.log(sum(torch.exp(v) for v in row))) / len(labels)
    assert terms["data_aware"].item() == pytest.approx(cross_entropy.item(), rel=1e-9)
    for g in range(3):
        positive = [
            max(xi - q[g].item(), 0) ** 2 for q, y in zip(model.magnitudes, labels, strict=True) if group[y] == g
        ]
        negative = [
            max(q[g].item() - mu, 0) ** 2 for q, y in zip(model.magnitudes, labels, strict=True) if group[y] != g
        ]
        assert terms[f"group_{g}_positive"].item() == pytest.approx(weight * sum(positive) / len(positive), rel=1e-9)
        assert terms[f"group_{g}_negative"].item() == pytest.approx(weight * sum(negative) / len(negative), rel=1e-9)


def test_an_absent_group_contributes_zero_and_keeps_its_graph():
    method, model, batch, terms = step([0, 2, 0, 1])  # no few-shot image
    assert terms["group_2_positive"].item() == 0.0
    assert method.term_mass(batch)["group_2_positive"].item() == 0
    assert method.term_mass(batch)["group_2_negative"].item() == 4
    sum(terms.values()).backward()
    assert torch.isfinite(model.magnitudes.grad).all()


def test_micro_batches_combine_to_the_means_of_the_whole():
    labels = [0, 3, 1, 2, 5, 0, 4, 2]
    method, model, _, whole = step(labels)
    combined, mass_of = {}, {}
    for part in (slice(0, 3), slice(3, 8)):
        batch = {"pixel_values": torch.zeros(8)[part, None], "labels": torch.tensor(labels)[part]}
        small = FixedModel(model.logits.detach()[part], model.magnitudes.detach()[part])
        terms, _ = method.training_loss(small, batch)
        masses = method.term_mass(batch)
        for name, term in terms.items():
            mass = masses.get(name, torch.tensor(float(len(batch["labels"]))))
            combined[name] = combined.get(name, 0.0) + term.item() * mass.item()
            mass_of[name] = mass_of.get(name, 0.0) + mass.item()
    for name, value in whole.items():
        assert combined[name] / mass_of[name] == pytest.approx(value.item(), rel=1e-9), name


def test_only_the_modulator_is_trained_and_the_rest_is_in_evaluation_mode(tmp_path):
    trainer = make_trainer("mem", tmp_path, max_steps=1)
    trainer.train()
    trained = {name.split(".")[0] for name, p in trainer.model.named_parameters() if p.requires_grad}
    assert trained == {"modulator"}
    trainer.model.train()
    assert not trainer.model.backbone.training
    assert trainer.model.modulator.training


@pytest.mark.parametrize(
    "mode,expected", [("finetune", {"modulator", "classifier"}), ("reinitialize", {"modulator", "classifier"})]
)
def test_classifier_modes(tmp_path, mode, expected):
    trainer = make_trainer("mem", tmp_path, max_steps=1, method_options={"classifier": mode})
    before = trainer.model.classifier.weight.detach().clone()
    trainer.method.setup(trainer)
    trained = {name.split(".")[0] for name, p in trainer.model.named_parameters() if p.requires_grad}
    assert trained == expected
    assert torch.equal(before, trainer.model.classifier.weight) is (mode == "finetune")


def test_the_first_prediction_is_the_classifiers_own(tmp_path):
    trainer = make_trainer("mem", tmp_path, max_steps=1)
    trainer.model.eval()
    with torch.no_grad():
        out = trainer.model(pixel_values=torch.randn(5, 1, 8, 8))
    torch.testing.assert_close(out.group_weights, torch.ones_like(out.group_weights))
    torch.testing.assert_close(out.raw_logits, out.base_logits)


def test_contradicting_config_and_margins_are_refused(tmp_path):
    counts = class_counts(make_dataset())
    from ..contracts.builders import make_config

    config = make_config(counts, get_method("mem", class_counts=counts, top_k=2))
    with pytest.raises(ValueError, match="top_k=3 but config.modulator has 2"):
        get_method("mem", class_counts=counts, top_k=3).configure(config)
    with pytest.raises(ValueError, match="margin_positive .1.0. must exceed margin_negative .2.0."):
        get_method("mem", class_counts=counts, margin_positive=1.0, margin_negative=2.0)


def test_stages_are_the_three_of_the_paper():
    stages = get_method("mem", class_counts=COUNTS, representation="balanced_softmax").stages()
    assert [(stage.name, stage.method.name, stage.start) for stage in stages] == [
        ("pretraining", "masked_autoencoding", None),
        ("finetuning", "balanced_softmax", "stage:pretraining"),
        ("modulator", "mem", "stage:finetuning"),
    ]
