"""Nearest class mean: the centroids against a loop, what they are made of, and the finished model."""

import pytest
import torch
import torch.nn.functional as F

from hf_ltr import LongTailForImageClassification, LongTailTrainer, class_counts, get_method
from hf_ltr.models import CentroidHead, as_linear

from ..contracts.builders import make_arguments, make_dataset
from .decoupled_runs import features_of, make_trainer, state

ZERO_EPOCHS = {"num_train_epochs": 0}


@pytest.mark.parametrize("metric", ["l2", "cos"])
@pytest.mark.parametrize("transform", ["un", "l2n", "cl2n"])
def test_centroids_equal_a_loop_over_the_training_images(transform, metric, tmp_path):
    options = {"transform": transform, "metric": metric}
    # Augmentation would move the centroids; batches of 5 leave an uneven last one.
    trainer = make_trainer(tmp_path, "ncm", method_options=options, per_device_eval_batch_size=5, **ZERO_EPOCHS)
    features, labels = features_of(trainer, trainer.train_dataset)
    before = state(trainer)
    trainer.train()
    head = trainer.model.classifier
    assert type(head) is CentroidHead and (head.transform, head.metric) == (transform, metric)
    mean = features.mean(dim=0)
    rows = features - mean if transform == "cl2n" else features
    if transform != "un":
        rows = F.normalize(rows, dim=1)
    for label in range(4):
        own = torch.stack([row for row, its in zip(rows, labels.tolist(), strict=True) if its == label])
        torch.testing.assert_close(head.centroids[label].double(), own.mean(dim=0), rtol=1e-5, atol=1e-6)
    expected = mean if transform == "cl2n" else torch.zeros_like(mean)
    torch.testing.assert_close(head.mean.double(), expected, rtol=1e-5, atol=1e-6)
    after = state(trainer)
    assert all(torch.equal(before[name], after[name]) for name in before if not name.startswith("classifier."))


def test_the_finished_model_is_described_saved_and_evaluated_alone(tmp_path):
    trainer = make_trainer(tmp_path / "run", "ncm", **ZERO_EPOCHS)
    trainer.train()
    config = trainer.model.config
    assert (config.head, config.head_options) == ("centroid", {"transform": "cl2n", "metric": "l2"})
    metrics = trainer.evaluate()
    trainer.save_model(str(tmp_path / "saved"))
    loaded = LongTailForImageClassification.from_pretrained(tmp_path / "saved")
    for method in ("ncm", "cross_entropy"):
        alone = LongTailTrainer(
            loaded, make_arguments(tmp_path / method), method=method, eval_dataset=trainer.eval_dataset
        )
        assert alone.evaluate()["eval_balanced_accuracy"] == metrics["eval_balanced_accuracy"]
    other = get_method("ncm", class_counts=class_counts(trainer.train_dataset), metric="cos")
    with pytest.raises(ValueError, match="asked for .*'cos'.*centroids are for .*'l2'"):
        LongTailTrainer(loaded, make_arguments(tmp_path / "o"), method=other, eval_dataset=trainer.eval_dataset)


def test_the_scores_are_the_distances_of_the_features(tmp_path):
    trainer = make_trainer(tmp_path, "ncm", method_options={"transform": "un"}, **ZERO_EPOCHS)
    trainer.train()
    head = trainer.model.classifier
    features, _ = features_of(trainer, trainer.eval_dataset)
    distances = torch.cdist(features, head.centroids.double()).square()
    torch.testing.assert_close(head.double()(features), -distances, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(as_linear(head)(features).argmax(1), distances.argmin(1))


def test_it_replaces_any_head(tmp_path):
    """The features of a cosine classifier have class means too."""
    trainer = make_trainer(tmp_path, "ncm", method_options={"representation": "ldam"}, **ZERO_EPOCHS)
    assert trainer.model.config.head == "cosine"
    trainer.train()
    config = trainer.model.config
    assert (config.head, config.head_scale) == ("centroid", None)
    assert trainer.evaluate()["eval_accuracy"] >= 0


def test_a_second_finalize_gives_the_same_centroids(tmp_path):
    trainer = make_trainer(tmp_path, "ncm", **ZERO_EPOCHS)
    trainer.train()
    before = state(trainer)
    trainer.method.finalize(trainer)
    after = state(trainer)
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


def test_a_class_without_images_is_refused(tmp_path):
    with pytest.raises(ValueError, match="ncm needs at least one training image of every class"):
        get_method("ncm", class_counts=[5, 0, 3])
    # A training set that lost a class behind the trainer's back.
    trainer = make_trainer(tmp_path, "ncm", **ZERO_EPOCHS)
    trainer.train_dataset = make_dataset([7, 16, 0, 10])
    with pytest.raises(ValueError, match=r"there is none of class 2 \(line\)"):
        trainer.method.finalize(trainer)


def test_features_that_are_not_finite_are_refused(tmp_path):
    trainer = make_trainer(tmp_path, "ncm", **ZERO_EPOCHS)
    with torch.no_grad():
        trainer.model.backbone.conv1.weight[0] = float("inf")
    with pytest.raises(FloatingPointError, match="no class mean"):
        trainer.train()


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="cl2n"):
        get_method("ncm", class_counts=[2, 1], transform="cl2")
    with pytest.raises(ValueError, match="cos"):
        get_method("ncm", class_counts=[2, 1], metric="cosine")
