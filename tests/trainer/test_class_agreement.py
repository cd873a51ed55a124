"""Counts of config, method and data are compared where two of them meet, and the config says what was trained on."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import ConcatDataset, Subset

from hf_ltr import LongTailConfig, LongTailForImageClassification, LongTailTrainer, class_counts, get_method
from hf_ltr.methods import Stage
from hf_ltr.trainer import run_stages

from ..contracts.builders import CLASSES, COUNTS, make_arguments, make_config, make_dataset, make_method, make_model

HALF = [10, 6, 3, 1]  # of the first 20 rows


class OnlyItems(torch.utils.data.Dataset):
    """Labels that nobody knows who has not read the items."""

    def __init__(self, rows=None):
        self.data, self.read = make_dataset() if rows is None else rows, 0

    def __len__(self):
        return len(self.data)

    def __getitem__(self, row):
        self.read += 1
        return self.data[row]["image"], self.data[row]["label"]


def half():
    return Subset(make_dataset(), list(range(20)))


def trainer_for(data, folder, counts=COUNTS, method="balanced_softmax", model=None, **changes):
    model = make_model(make_method("cross_entropy", counts)) if model is None else model
    arguments = make_arguments(folder, max_steps=1, logging_strategy="no", **changes)
    return LongTailTrainer(model, arguments, method=method, train_dataset=data)


def test_the_whole_datas_counts_beside_a_subset(tmp_path):
    """The input of the issue: groups and priors of 37 images, training on 20."""
    assert class_counts(half()).counts == HALF and class_counts(half()).names == CLASSES
    assert class_counts(ConcatDataset([make_dataset(), half()])).counts == [26, 16, 10, 5]
    with pytest.raises(ValueError, match=r"class 0 \(circle\) has 10 images but the method was told 16 \(4 of 4"):
        trainer_for(half(), tmp_path, method=get_method("balanced_softmax", class_counts=COUNTS))
    with pytest.warns(
        UserWarning, match=r"Class 0 \(circle\) has 16 images in the model's config and 10 in the train"
    ):
        trainer = trainer_for(half(), tmp_path)
    assert trainer.method.class_counts.counts == trainer.model.config.class_counts == HALF
    trainer.train()
    trainer.save_model(str(tmp_path / "model"))
    saved = LongTailConfig.from_pretrained(tmp_path / "model")
    assert saved.class_counts == HALF and saved.previous_class_counts is None


@pytest.mark.parametrize("wrap", [OnlyItems, lambda: Subset(OnlyItems(), range(37))])
def test_labels_that_only_items_know_are_read_once_and_compared(tmp_path, wrap):
    other = get_method("balanced_softmax", class_counts=COUNTS[::-1])
    with pytest.raises(ValueError, match="class 0 has 16 images but the method was told 4.*same numbers in another"):
        trainer_for(wrap(), tmp_path, method=other)
    data = wrap()
    trainer = trainer_for(data, tmp_path)
    assert trainer.method.class_counts.counts == COUNTS
    trainer.get_train_dataloader()
    items = getattr(data, "dataset", data)
    assert items.read < 4 * 37  # labels, sizes and pixels
    assert trainer.train_batch_loader.labels.tolist() == make_dataset()["label"][:]


def test_a_config_with_many_and_few_exchanged_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"Class 0 \(circle\) has 4 images in the model's config and 16 in the trai"):
        trainer_for(make_dataset(), tmp_path, counts=COUNTS[::-1])
    model = make_model(make_method("cross_entropy", COUNTS))
    model.config.logit_adjustment = {"tau": 1.0, "remove": COUNTS[::-1], "add": None}
    with pytest.raises(ValueError, match=r"removes another prior.*\(4 and 16\); they are the same numbers in another"):
        trainer_for(make_dataset(), tmp_path, model=model)
    named = class_counts(make_dataset())
    named.names = [CLASSES[1], CLASSES[0], *CLASSES[2:]]
    with pytest.raises(ValueError, match="class 0 is 'cross' in its class_counts and 'circle' in the training set"):
        trainer_for(make_dataset(), tmp_path, method=get_method("balanced_softmax", class_counts=named))


def test_a_checkpoint_that_is_trained_on_other_data(tmp_path):
    model = make_model(make_method("pc_softmax", COUNTS))
    first = trainer_for(make_dataset(), tmp_path / "1", method="pc_softmax", model=model)
    first.train()
    first.save_model(str(tmp_path / "one"))
    model = LongTailForImageClassification.from_pretrained(tmp_path / "one")
    assert model.config.logit_adjustment["remove"] == COUNTS
    with pytest.warns(UserWarning, match="16 images in the model's config and 10 in the training set.*are kept in"):
        second = trainer_for(half(), tmp_path / "2", model=model, method="pc_softmax")
    # It was not trained on them yet.
    assert model.config.class_counts == COUNTS
    second.train()
    assert model.config.class_counts == model.config.logit_adjustment["remove"] == HALF
    second.save_model(str(tmp_path / "two"))
    saved = LongTailConfig.from_pretrained(tmp_path / "two")
    assert saved.class_counts == HALF and saved.previous_class_counts == [{"class_counts": COUNTS}]
    # A third run keeps both, also when the model is given the new config by hand.
    reverse = make_dataset(COUNTS[::-1])
    config = make_config(class_counts(reverse))
    third = LongTailForImageClassification.from_pretrained(tmp_path / "two", config=config)
    assert third.config.class_counts == COUNTS[::-1]
    assert third.config.previous_class_counts == [{"class_counts": COUNTS}, {"class_counts": HALF}]


def test_groups_of_the_counts_are_those_of_the_config(tmp_path):
    counts = class_counts(make_dataset())
    counts.thresholds = (12, 6)
    assert LongTailConfig(class_counts=counts).group_thresholds == [12, 6]
    model = LongTailForImageClassification(LongTailConfig(backbone="resnet20_cifar", num_labels=4, num_channels=1))
    method = get_method("cross_entropy", class_counts=counts)
    trainer = trainer_for(make_dataset(), tmp_path, model=model, method=method)
    assert trainer.model.config.group_thresholds == [12, 6] and trainer.model.config.class_counts == COUNTS


def test_all_stages_are_compared_before_the_first(tmp_path):
    right, wrong = (get_method("cross_entropy", class_counts=counts) for counts in (COUNTS, HALF))
    with pytest.raises(ValueError, match=r"class 0 \(circle\) has 16 images but the method was told 10"):
        run_stages(
            [Stage("first", right), Stage("second", wrong, start="stage:first")],
            config=make_config(class_counts(make_dataset())),
            arguments={"max_steps": 1},
            train_dataset=make_dataset(),
            output_dir=tmp_path / "run",
        )
    assert not (tmp_path / "run").exists()
