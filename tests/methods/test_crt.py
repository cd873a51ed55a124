"""cRT: what is trained, what is drawn anew, and what happens to batch norm."""

from __future__ import annotations

import pytest
import torch

from hf_ltr import LongTailConfig, LongTailForImageClassification, LongTailTrainer, class_counts, get_method
from hf_ltr.data.samplers import ClassAwareSampler

from ..contracts.builders import make_arguments, make_dataset


def train(tmp_path, **options):
    dataset = make_dataset()
    counts = class_counts(dataset)
    torch.manual_seed(0)
    config = LongTailConfig(backbone="resnet20_cifar", image_size=8, num_channels=1, class_counts=counts)
    model = LongTailForImageClassification(config)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    method = get_method("crt", class_counts=counts, **options)
    trainer = LongTailTrainer(model, make_arguments(tmp_path), method=method, train_dataset=dataset)
    trainer.train()
    return trainer, before, model.state_dict()


def changed(before: dict, after: dict) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_only_classifier_and_batch_norm_statistics_move(tmp_path):
    trainer, before, after = train(tmp_path)
    moved = changed(before, after)
    statistics = {name for name in before if name.endswith(("running_mean", "running_var", "num_batches_tracked"))}
    assert moved == {"classifier.weight", "classifier.bias"} | statistics
    assert isinstance(trainer.train_sampler(torch.tensor([0, 1])), ClassAwareSampler)


def test_statistics_stay_where_asked(tmp_path):
    _, before, after = train(tmp_path, norm="eval")
    assert changed(before, after) == {"classifier.weight", "classifier.bias"}


def test_classifier_is_drawn_anew_or_kept(tmp_path):
    dataset = make_dataset()
    counts = class_counts(dataset)
    for reinitialize in (True, False):
        config = LongTailConfig(backbone="resnet20_cifar", image_size=8, num_channels=1, class_counts=counts)
        model = LongTailForImageClassification(config)
        weight = model.classifier.weight.detach().clone()
        method = get_method("crt", class_counts=counts, reinitialize=reinitialize)
        trainer = LongTailTrainer(
            model, make_arguments(tmp_path / str(reinitialize)), method=method, train_dataset=dataset
        )
        method.setup(trainer)
        assert torch.equal(weight, model.classifier.weight) is not reinitialize


def test_stages_follow_the_representation():
    method = get_method("crt", class_counts=[9, 4, 2], representation="balanced_softmax")
    stages = method.stages()
    assert [stage.name for stage in stages] == ["representation", "classifier"]
    assert stages[0].method.name == "balanced_softmax"
    assert stages[1].start == "stage:representation"
    assert method.describe()["representation"]["name"] == "balanced_softmax"


def test_unknown_sampler_names_the_nearest():
    with pytest.raises(ValueError, match="class_balanced"):
        get_method("crt", class_counts=[2, 1], sampler="class_balance")
