"""MEM: groups, the two means of the regularisation, what is frozen, the first step."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from hf_ltr import ClassCounts, LongTailConfig, LongTailForImageClassification, class_counts, get_method
from hf_ltr.models.class_groups import class_groups

from ..contracts.builders import make_dataset, make_trainer

COUNTS = [300, 50, 150, 5, 20, 3]


class FixedModel(torch.nn.Module):
    def __init__(self, logits, magnitudes):
        super().__init__()
        self.logits, self.magnitudes = torch.nn.Parameter(logits), torch.nn.Parameter(magnitudes)

    def forward(self, pixel_values):
        return SimpleNamespace(
            raw_logits=self.logits,
            extras={"magnitudes": self.magnitudes, "group_weights": self.magnitudes.detach() / 3},
        )


def step(labels, seed=0, **options):
    generator = torch.Generator().manual_seed(seed)
    rows = len(labels)
    model = FixedModel(
        torch.randn(rows, 6, generator=generator, dtype=torch.float64),
        torch.rand(rows, 3, generator=generator, dtype=torch.float64) * 8,
    )
    method = get_method("mem", class_counts=COUNTS, **options)
    batch = {"pixel_values": torch.zeros(rows, 1), "labels": torch.tensor(labels), "weight": torch.ones(rows)}
    terms, _ = method.training_loss(model, batch)
    return method, model, batch, terms


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
        rel = 1e-6 if name.startswith("log/") else 1e-9  # what is only logged is a mean in float32
        assert combined[name] / mass_of[name] == pytest.approx(value.item(), rel=rel), name


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
    group_weights = out.extras["group_weights"]
    torch.testing.assert_close(group_weights, torch.ones_like(group_weights))
    torch.testing.assert_close(out.raw_logits, out.base_logits)


def test_contradicting_config_and_margins_are_refused(tmp_path):
    counts = class_counts(make_dataset())
    from ..contracts.builders import make_config

    config = make_config(counts, get_method("mem", class_counts=counts, top_k=2))
    with pytest.raises(ValueError, match=r"top_k=3 but config.modules\['modulator'\] has 2"):
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


def test_without_pretraining_fine_tuning_comes_first():
    stages = get_method("mem", class_counts=COUNTS, pretraining=False).stages()
    assert [(stage.name, stage.start) for stage in stages] == [
        ("finetuning", None),
        ("modulator", "stage:finetuning"),
    ]


def test_every_option_of_the_network_reaches_it():
    options = {
        "width": 12,
        "depth": 2,
        "heads": 3,
        "mlp_ratio": 2.0,
        "top_k": 1,
        "fusion_width": 5,
        "fusion_normalization": "none",
        "activation": "exp",
        "logit_reference": "mean",
        "tokens": "pooled",
        "detach_magnitude": True,
    }
    from ..contracts.builders import make_config

    config = make_config(COUNTS, get_method("mem", class_counts=COUNTS, groups="random", num_groups=2, **options))
    model = LongTailForImageClassification(config)
    modulator = model.modulator
    assert modulator.num_groups == 2 and modulator.group_of_class.tolist() == class_groups(COUNTS, "random", 2)
    network = modulator.networks[0]
    assert (network.projection.in_features, network.projection.out_features) == (16, 12)
    assert len(network.blocks) == 2 and network.blocks[0].attn.num_heads == 3
    assert network.blocks[0].mlp.fc1.out_features == 24
    assert modulator.fusion[0].in_features == 2 + 2 and modulator.fusion[0].out_features == 5
    assert isinstance(modulator.fusion_norm, torch.nn.Identity)
    assert (modulator.activation, modulator.logit_reference) == ("exp", "mean") and modulator.detach_magnitude
    output = model.eval()(torch.randn(3, 1, 8, 8))
    # One token: the features the classifier reads.
    direct = modulator(output.features, output.base_logits)
    torch.testing.assert_close(direct[0], output.logits)


def test_none_is_a_word_also_where_it_was_read_as_nothing():
    from ..contracts.builders import make_config

    nothing = dict.fromkeys(("activation", "logit_reference", "fusion_normalization"))
    method = get_method("mem", class_counts=COUNTS, **nothing)
    assert method.describe()["options"]["activation"] == "none"
    modulator = LongTailForImageClassification(make_config(COUNTS, method)).modulator
    assert modulator.activation == "none" and isinstance(modulator.fusion_norm, torch.nn.Identity)


def test_groups_follow_the_strategy_and_its_own_seed():
    def groups(**options):
        return get_method("mem", class_counts=COUNTS, **options).group_of_class.tolist()

    assert groups() == groups(groups="thresholds") == [0, 1, 0, 2, 1, 2]
    assert groups(groups="cardinality", num_groups=2) == [0, 0, 0, 1, 1, 1]
    assert groups(groups="random", group_seed=3) == class_groups(COUNTS, "random", 3, seed=3)
    wide = get_method("mem", class_counts=ClassCounts(COUNTS, thresholds=(200, 10)))
    assert wide.group_of_class.tolist() == [0, 1, 1, 2, 1, 2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": "threshold"}, "Unknown group strategy.*'thresholds'"),
        ({"tokens": "alll"}, "Unknown tokens of the modulator.*'all'"),
        ({"tokens": "pooled", "pooling": "cls"}, "no class token"),
        ({"fusion_normalization": "batch"}, "Unknown fusion_normalization.*layer, none"),
        ({"width": 30, "heads": 4}, "not divisible by its 4 heads"),
        ({"top_k": 0}, "top_k must be a positive integer"),
        ({"mlp_ratio": 0}, "mlp_ratio must be a positive number"),
        ({"regularization_weight": -1.0}, "must not be negative"),
        ({"sampler": "group_balance"}, "Unknown sampler.*'group_balanced'"),
        ({"num_groups": 1}, "at least two groups"),
        ({"num_groups": 2.0}, "num_groups must be a whole number"),
        ({"margin_positive": float("nan")}, "margin_positive must be a finite number"),
        ({"margin_positive": -1.0, "margin_negative": -2.0}, "margin_positive must be above 0"),
        ({"detach_magnitude": "no"}, "detach_magnitude must be true or false"),
        ({"normalize_margin": "no"}, "normalize_margin must be true or false"),
        ({"detach_magnitude": True, "regularization_weight": 0}, "nothing would train the group networks"),
        ({"class_counts": [9]}, "at least two groups"),
    ],
)
def test_what_is_refused_before_anything_is_trained(options, message):
    with pytest.raises(ValueError, match=message):
        get_method("mem", **{"class_counts": COUNTS, **options})


def test_group_balanced_batches_use_the_groups_of_the_method():
    counts = [40, 8, 4, 2]
    labels = torch.repeat_interleave(torch.arange(4), torch.tensor(counts))
    method = get_method("mem", class_counts=counts, sampler="group_balanced", groups="cardinality", num_groups=2)
    sampler = method.train_sampler(labels, seed=0, num_epochs=1)
    probabilities = sampler.class_probabilities(0)
    assert probabilities.tolist() == pytest.approx([40 / 96, 8 / 96, 4 / 12, 2 / 12])


def test_a_class_without_images_is_in_the_last_group_and_never_drawn():
    counts = [300, 50, 0, 5]
    method = get_method("mem", class_counts=counts)
    assert method.group_of_class.tolist() == [0, 1, 2, 2]
    labels = torch.repeat_interleave(torch.arange(4), torch.tensor(counts))
    for name in ("class_balanced", "square_root", "group_balanced", "progressively_balanced", "instance"):
        method = get_method("mem", class_counts=counts, sampler=name)
        sampler = method.train_sampler(labels, seed=0, num_epochs=2)
        drawn = labels[torch.as_tensor(list(sampler))]
        assert 2 not in drawn and len(drawn) == 355
    group_balanced = get_method("mem", class_counts=counts, sampler="group_balanced")
    probabilities = group_balanced.train_sampler(labels, seed=0, num_epochs=1).class_probabilities(0)
    assert probabilities.tolist() == pytest.approx([1 / 3, 1 / 3, 0, 1 / 3])


@pytest.mark.parametrize("backbone", ["resnext50_32x4d", "resnet152"])
def test_on_the_convolutional_networks_of_the_paper(backbone):
    method = get_method("mem", class_counts=COUNTS, pretraining=False, width=16, margin_positive=5.0)
    config = LongTailConfig(backbone=backbone, image_size=64, class_counts=COUNTS)
    method.configure(config)
    torch.manual_seed(0)
    model = LongTailForImageClassification(config)
    model.freeze([r"^backbone\.", r"^classifier\."], norm="eval")
    model.train()
    running = model.backbone.bn1.running_mean.clone()
    batch = {"pixel_values": torch.randn(4, 3, 64, 64), "labels": torch.tensor([0, 1, 3, 3])}
    terms, outputs = method.training_loss(model, batch)
    # 64 pixels leave a map of 2 x 2 positions with 2,048 channels.
    assert model.modulator.networks[0].projection.in_features == 2048
    sum(value for name, value in terms.items() if not name.startswith("log/")).backward()
    gradients = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert gradients == {f"modulator.{name}" for name, _ in model.modulator.named_parameters()}
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.modulator.parameters())
    assert torch.equal(model.backbone.bn1.running_mean, running)
    torch.testing.assert_close(outputs.raw_logits, outputs.base_logits)


def test_what_is_logged_is_what_happened():
    _, model, batch, terms = step([0, 3, 1, 2, 5, 0, 4])
    group = torch.tensor([0, 1, 0, 2, 1, 2])
    truth = group[batch["labels"]]
    by_class = torch.tensor([group[row.argmax()] for row in model.logits])
    assert terms["log/group_accuracy"].item() == pytest.approx((by_class == truth).double().mean().item())
    by_magnitude = torch.tensor([row.argmax() for row in model.magnitudes])
    expected = (by_magnitude == truth).double().mean().item()
    assert terms["log/magnitude_group_accuracy"].item() == pytest.approx(expected)
    assert terms["log/group_weight_1"].item() == pytest.approx((model.magnitudes[:, 1] / 3).mean().item())


def test_a_regularization_that_is_switched_off_is_logged_as_it_is():
    labels = [0, 3, 1, 2, 5, 0, 4]
    method, _, batch, terms = step(labels, regularization_weight=0)
    _, _, _, reference = step(labels)
    masses = method.term_mass(batch)
    for group in range(3):
        for side in ("positive", "negative"):
            name = f"group_{group}_{side}"
            assert name not in terms and terms[f"log/{name}"].item() == pytest.approx(reference[name].item())
            assert masses[f"log/{name}"].item() == method.term_mass(batch)[f"log/magnitude_{group}_{side}"].item()


def test_magnitudes_are_logged_by_side():
    _, model, batch, terms = step([0, 3, 1, 2, 5, 0, 4])
    group = torch.tensor([0, 1, 0, 2, 1, 2])[batch["labels"]]
    assert terms["log/magnitude_1_positive"].item() == pytest.approx(model.magnitudes[group == 1, 1].mean().item())
    assert terms["log/magnitude_1_negative"].item() == pytest.approx(model.magnitudes[group != 1, 1].mean().item())


def test_heads_divide_the_width_by_themselves():
    config = LongTailConfig(backbone="vit_tiny_patch4_32", class_counts=COUNTS, modules={"modulator": {"width": 224}})
    assert config.modules["modulator"]["heads"] == 2
    for width, heads in ((256, 4), (352, 4), (200, 2), (48, 1)):
        config = LongTailConfig(
            backbone="vit_tiny_patch4_32", class_counts=COUNTS, modules={"modulator": {"width": width}}
        )
        assert config.modules["modulator"]["heads"] == heads


def test_a_class_token_is_asked_for_before_anything_is_built():
    with pytest.raises(ValueError, match="needs a class token, which backbone 'resnet20_cifar'"):
        LongTailConfig(backbone="resnet20_cifar", class_counts=COUNTS, modules={"modulator": {"pooling": "cls"}})


def test_modulators_are_trained_on_class_balanced_rows():
    # Long et al. 2023 (arXiv 2302.09498): the modulators see every class equally often.
    assert get_method("mem", class_counts=[500, 50, 5]).describe()["options"]["sampler"] == "class_balanced"
