"""PC softmax: trains on raw logits, and inference is in the model's config."""

from __future__ import annotations

import pytest
import torch

from hf_ltr import LongTailConfig, LongTailForImageClassification, class_counts, get_method

from ..contracts.builders import LongTailTrainer, make_arguments, make_config, make_dataset, make_trainer
from .fixtures import COUNTS, outputs_of, slow_cross_entropy, some_labels, some_logits

TARGET = [0.1, 0.2, 0.3, 0.15, 0.25]


def config(**fields) -> LongTailConfig:
    return LongTailConfig(backbone="resnet20_cifar", class_counts=COUNTS, **fields)


def test_the_loss_is_cross_entropy_of_the_raw_logits():
    logits, labels = some_logits(), some_labels()
    rows = torch.stack([slow_cross_entropy(r, int(y)) for r, y in zip(logits, labels, strict=True)])
    method = get_method("pc_softmax", class_counts=COUNTS, target_prior=TARGET)
    torch.testing.assert_close(method.sample_loss(outputs_of(logits), labels), rows, rtol=1e-9, atol=0)
    assert not method.adds_prior


@pytest.mark.parametrize("target", [None, TARGET, [value * 8 for value in TARGET]])
def test_logits_are_compensated_and_raw_logits_are_not(target):
    method = get_method("pc_softmax", class_counts=COUNTS, target_prior=target)
    model_config = config()
    method.configure(model_config)
    torch.manual_seed(0)
    model = LongTailForImageClassification(model_config).eval()
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        out = model(images)
    source = torch.tensor(COUNTS, dtype=torch.float64) / sum(COUNTS)
    goal = torch.full((5,), 0.2, dtype=torch.float64)
    if target is not None:
        goal = torch.tensor(target, dtype=torch.float64) / sum(target)
    shift = (out.logits - out.raw_logits).double()
    expected = goal.log() - source.log()
    # Up to a constant, which no softmax sees.
    torch.testing.assert_close(shift - shift[:, :1], (expected - expected[0]).expand(4, -1), rtol=1e-4, atol=1e-4)


def test_the_same_adjustment_is_accepted_and_another_refused():
    method = get_method("pc_softmax", class_counts=COUNTS)
    same = config(logit_adjustment={"remove": [count / sum(COUNTS) for count in COUNTS], "add": None})
    method.configure(same)
    method.configure(same)  # as a check in the trainer, on what it wrote
    for other in (
        {"tau": 0.5, "remove": COUNTS, "add": None},
        {"tau": 1.0, "remove": COUNTS[::-1], "add": None},
        {"tau": 1.0, "remove": COUNTS, "add": TARGET},
        {"tau": 1.0, "remove": None, "add": None},
    ):
        with pytest.raises(ValueError, match="config.logit_adjustment is another one"):
            method.configure(config(logit_adjustment=other))


@pytest.mark.parametrize(
    ("target", "message"),
    [([0.5, 0.5], "2 values but there are 5 classes"), ([0.1, 0.0, 0.3, 0.3, 0.3], "class 1 has 0.0")],
)
def test_wrong_target_priors_are_refused(target, message):
    with pytest.raises(ValueError, match=message):
        get_method("pc_softmax", class_counts=COUNTS, target_prior=target)


def test_a_class_without_images_is_refused():
    with pytest.raises(ValueError, match="pc_softmax needs at least one training image.*2"):
        get_method("pc_softmax", class_counts=[5, 3, 0, 2])


def test_a_model_built_without_configure_is_compensated_too(tmp_path):
    dataset = make_dataset()
    counts = class_counts(dataset)
    torch.manual_seed(0)
    trainer = LongTailTrainer(
        model=LongTailForImageClassification(make_config(counts)),
        args=make_arguments(tmp_path, max_steps=1),
        method="pc_softmax",
        train_dataset=dataset,
    )
    trainer.train()
    assert trainer.model.config.logit_adjustment == {"tau": 1.0, "remove": counts.counts, "add": None}
    trainer.model.eval()
    with torch.no_grad():
        out = trainer.model(torch.zeros(1, 1, 8, 8))
    offset = -torch.tensor([count / counts.total for count in counts]).log()
    torch.testing.assert_close(out.logits - out.raw_logits, offset[None], rtol=1e-4, atol=1e-5)


def test_training_is_that_of_cross_entropy(tmp_path):
    """The compensation must not leak into the loss."""
    compensated = make_trainer("pc_softmax", tmp_path / "a", max_steps=3)
    plain = make_trainer("cross_entropy", tmp_path / "b", max_steps=3)
    compensated.train()
    plain.train()
    for one, other in zip(compensated.model.parameters(), plain.model.parameters(), strict=True):
        assert torch.equal(one, other)
