"""Auxiliary networks that only training needs: a projection head, as contrastive losses have one."""

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from hf_ltr import METHODS, LongTailForImageClassification, LongTailTrainer, class_counts, get_method
from hf_ltr.losses import CrossEntropyLoss
from hf_ltr.methods import LossMethod
from hf_ltr.methods.batch import sample_weights, weighted_mean
from hf_ltr.methods.network import require_module
from hf_ltr.models.auxiliary_module import AuxiliaryModule
from hf_ltr.models.backbone_sizes import backbone_shape
from hf_ltr.models.modules import MODULES

from ..contracts import test_every_method as contract
from ..contracts.builders import make_arguments, make_config, make_dataset, make_trainer


class Projection(AuxiliaryModule):
    name, training_only = "projection", True

    def __init__(self, config):
        super().__init__(config)
        self.layer = nn.Linear(backbone_shape(config).feature_dim, 4)

    def contribute(self, features, tokens, logits):
        return logits, {"projection": nn.functional.normalize(self.layer(features), dim=1)}


class Contrast(LossMethod):
    """Draws projections to fixed keys of their classes."""

    name, loss_class, accepts_soft_targets = "contrast", CrossEntropyLoss, False

    def __init__(self, class_counts):
        super().__init__(class_counts)
        self.register_buffer("keys", torch.eye(4))

    def configure(self, config):
        require_module(config, "projection", {}, self.name)

    def training_loss(self, model, batch):
        terms, outputs = super().training_loss(model, batch)
        similarity = (outputs.extras["projection"] * self.keys[batch["labels"]]).sum(dim=1)
        return {**terms, "contrast": -weighted_mean(similarity, sample_weights(batch))}, outputs


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(METHODS, "contrast", Contrast)
    monkeypatch.setitem(MODULES, "projection", Projection)


def test_it_is_trained_and_left_behind(tmp_path):
    trainer = make_trainer("contrast", tmp_path, max_steps=2, save_strategy="steps", save_steps=2)
    before = trainer.model.projection.layer.weight.detach().clone()
    trainer.train()
    trained = load_file(tmp_path / "checkpoint-2" / "model.safetensors")["projection.layer.weight"]
    assert not torch.equal(before, trained)
    model = trainer.model
    assert model.config.modules is None and not hasattr(model, "projection") and model.auxiliary_modules == []
    metrics = trainer.evaluate()
    trainer.save_model(str(tmp_path / "saved"))
    loaded, info = LongTailForImageClassification.from_pretrained(tmp_path / "saved", output_loading_info=True)
    assert not any(info.values()) and loaded.config.modules is None
    # Its method evaluates it, but does not train it again without the network.
    again = {"model": loaded, "args": make_arguments(tmp_path / "again"), "method": trainer.method}
    assert LongTailTrainer(**again, eval_dataset=make_dataset(seed=1)).evaluate()["eval_loss"] == metrics["eval_loss"]
    with pytest.raises(ValueError, match="contrast needs config.modules=.*built with None"):
        LongTailTrainer(**again, train_dataset=make_dataset())


def test_a_run_is_resumed_with_it(tmp_path):
    contract.test_resume_in_mid_epoch_is_bit_exact("contrast", tmp_path)


def test_a_stage_behind_it_does_without():
    counts = class_counts(make_dataset())
    config = make_config(counts)
    representation, classifier = get_method("crt", class_counts=counts, representation="contrast").stages()
    classifier.method.configure(config)
    assert config.modules is None
    representation.method.configure(config)
    assert list(config.modules) == ["projection"]


def test_it_contributes_in_training_mode_alone():
    model = LongTailForImageClassification(make_config([5, 3], Contrast([5, 3])))
    images = torch.zeros(2, 1, 8, 8)
    assert set(model.train()(images).extras) == {"projection"}
    assert model.eval()(images).extras is None
