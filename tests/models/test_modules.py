"""Auxiliary networks as config, classifier, checkpoints and evaluation see them, whatever they are."""

import json

import pytest
import torch
from torch import nn

from hf_ltr.evaluation import StreamingMetrics
from hf_ltr.models import LongTailConfig, LongTailForImageClassification
from hf_ltr.models.auxiliary_module import AuxiliaryModule, ModuleMetrics, declared_metrics
from hf_ltr.models.backbone_sizes import backbone_shape
from hf_ltr.models.modules import MODULES, metric_names
from hf_ltr.validation import whole_number

COUNTS = [300, 50, 3]
TINY_VIT = {
    "backbone": "vit_pico_patch4_16",
    "num_channels": 1,
    "backbone_kwargs": {"depth": 2, "embed_dim": 16, "num_heads": 2},
    "class_counts": COUNTS,
}
IMAGES = torch.randn(6, 1, 16, 16, generator=torch.Generator().manual_seed(0))
# config.json as it was written when the modulator was a field of its own.
FORMER_CONFIG = """
{
  "architectures": ["LongTailForImageClassification"], "backbone": "vit_pico_patch4_16",
  "backbone_kwargs": {"depth": 2, "embed_dim": 16, "num_heads": 2}, "backbone_pretrained": false,
  "class_counts": [300, 50, 3], "crop_ratio": 1.0, "drop_path_rate": 0.0, "drop_rate": 0.0, "dtype": "float32",
  "global_pool": null, "group_scheme": "thresholds", "group_thresholds": [100, 20], "head": null,
  "head_init_std": null, "head_options": null, "head_scale": null,
  "id2label": {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}, "image_mean": [0.5], "image_size": 16,
  "image_std": [0.5], "initial_weights": null, "interpolation": "bicubic",
  "label2id": {"LABEL_0": 0, "LABEL_1": 1, "LABEL_2": 2}, "logit_adjustment": null, "masked_autoencoder": null,
  "method": null, "model_type": "long_tail",
  "modulator": {
    "activation": "softplus", "depth": 1, "detach_magnitude": false, "fusion_normalization": "layer",
    "fusion_width": 64, "group_of_class": [0, 1, 2], "heads": 1, "logit_reference": "none", "mlp_ratio": 4.0,
    "pooling": "mean", "tokens": "all", "top_k": 2, "width": 16
  },
  "num_channels": 1, "num_experts": 1, "previous_class_counts": null, "reduce_experts": true,
  "transformers_version": "5.23.0"
}
"""


class Lengths(ModuleMetrics):
    sizes = {"rows": 1, "length": 1}

    def update(self, sums, extras, predicted, labels, weight):
        sums["rows"].add_(weight.sum())
        sums["length"].add_((weight * extras["projected"].norm(dim=1)).sum())

    def compute(self, sums):
        return {"projected_length": float(sums["length"][0] / sums["rows"][0])}


class Rescaling(nn.Module):
    """Tensors that no `reset_parameters` fills, one of which is in no checkpoint."""

    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.full((1,), 3.0))
        self.register_buffer("shift", torch.full((1,), 2.0), persistent=False)

    def forward(self, values):
        return self.factor * values + self.shift


class Projection(AuxiliaryModule):
    """Reads features only, changes no logit, and adds what only training needs in training only."""

    name = "projection"
    defaults = {"width": 4}
    metric_names = ("projected_length",)

    def __init__(self, config):
        super().__init__(config)
        self.layer = nn.Linear(backbone_shape(config).feature_dim, self.options["width"])
        self.rescaling = Rescaling()

    @classmethod
    def complete_options(cls, options, config):
        complete = super().complete_options(options, config)
        whole_number("width of the projection", complete["width"], minimum=1)
        return complete

    def contribute(self, features, tokens, logits):
        projected = self.rescaling(self.layer(features))
        extras = {"projected": projected}
        if self.training:
            extras["keys"] = projected.detach()
        return logits, extras

    def metrics(self):
        return [Lengths()]


@pytest.fixture
def with_projection(monkeypatch):
    monkeypatch.setitem(MODULES, "projection", Projection)


def make_model(modules=None) -> LongTailForImageClassification:
    torch.manual_seed(0)
    model = LongTailForImageClassification(LongTailConfig(**TINY_VIT, modules=modules)).eval()
    if "modulator" in (modules or {}):
        nn.init.normal_(model.modulator.fusion[-1].weight)
    return model


def test_a_checkpoint_of_the_former_form_gives_the_same_logits_and_is_saved_in_the_new_one(tmp_path):
    model = make_model({"modulator": {"width": 16, "top_k": 2}})
    model.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(FORMER_CONFIG)
    loaded, info = LongTailForImageClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    with torch.no_grad():
        assert torch.equal(loaded(IMAGES).logits, model(IMAGES).logits)
    loaded.save_pretrained(tmp_path / "again")
    again = json.loads((tmp_path / "again" / "config.json").read_text())
    assert again == saved and "modulator" not in again
    later = {"within_group_tau": 0.0, "class_counts": None}
    assert again["modules"] == {"modulator": json.loads(FORMER_CONFIG)["modulator"] | later}


def test_a_module_may_be_written_as_a_field_of_its_own(tmp_path, with_projection):
    config = LongTailConfig(**TINY_VIT, modules={"projection": {}}, modulator={"width": 16})
    # In the order of the registry, in memory as in the file, because the logits go from one to the next.
    assert list(config.modules) == ["modulator", "projection"] and config.modules["modulator"]["width"] == 16
    config.save_pretrained(tmp_path)
    changed = LongTailConfig.from_pretrained(tmp_path, modulator={"width": 32})
    assert changed.modules["modulator"]["width"] == 32 and "projection" in changed.modules
    assert list(LongTailConfig.from_pretrained(tmp_path, modulator=None).modules) == ["projection"]
    assert LongTailConfig(**TINY_VIT, modulator=None).modules is LongTailConfig(**TINY_VIT, modules={}).modules is None
    with pytest.raises(AttributeError, match="set config.modules"):
        config.modulator = {"width": 64}


@pytest.mark.parametrize(
    "modules, message",
    [
        ({"modulater": {}}, "Unknown module: 'modulater'.*modulator"),
        ({"modulator": {"widht": 8}}, "Unknown option of the modulator: 'widht'"),
        ({"modulator": 3}, "modulator must hold"),
        ({"projection": {"widht": 8}}, "Unknown option of the projection: 'widht'.*width"),
        ({"projection": {"width": 0}}, "width of the projection must be a positive integer"),
        (["modulator"], "modules must hold"),
    ],
)
def test_unknown_modules_and_options_are_refused(modules, message, with_projection):
    with pytest.raises(ValueError, match=message):
        LongTailConfig(**TINY_VIT, modules=modules)


def test_a_module_of_one_class_and_one_line(tmp_path, with_projection):
    plain, model = make_model(), make_model({"projection": {"width": 5}})
    output = model(IMAGES)
    assert torch.equal(output.logits, plain(IMAGES).logits) and output.raw_logits is output.base_logits
    assert output.extras["projected"].shape == (6, 5) and set(output.extras) == {"projected"}
    assert set(model.train()(IMAGES).extras) == {"projected", "keys"}
    assert plain(IMAGES).extras is None
    model.freeze(r"^projection\.")
    assert not model.projection.layer.weight.requires_grad

    model.eval().save_pretrained(tmp_path / "with")
    loaded = LongTailForImageClassification.from_pretrained(tmp_path / "with")
    assert torch.equal(loaded(IMAGES).extras["projected"], output.extras["projected"])
    # Other classes do not concern it.
    other = LongTailForImageClassification.from_pretrained(
        tmp_path / "with", num_labels=7, ignore_mismatched_sizes=True
    )
    assert torch.equal(other.projection.layer.weight, loaded.projection.layer.weight)
    # Added to a checkpoint without it, it begins as a new one does.
    plain.save_pretrained(tmp_path / "without")
    added = LongTailForImageClassification.from_pretrained(tmp_path / "without", modules={"projection": {}})
    assert added.projection.rescaling.factor == 3 and added.projection.rescaling.shift == 2
    assert 0 < added.projection.layer.weight.abs().max() <= 0.25
    assert torch.equal(added(IMAGES).logits, plain(IMAGES).logits)


def test_modules_see_the_logits_one_after_another(with_projection):
    alone, both = make_model({"modulator": {}}), make_model({"modulator": {}, "projection": {}})
    both.load_state_dict(alone.state_dict(), strict=False)
    output = both(IMAGES)
    assert torch.equal(output.logits, alone(IMAGES).logits) and not torch.equal(output.logits, output.base_logits)
    assert set(output.extras) == {"magnitudes", "group_weights", "projected"}


@pytest.mark.parametrize("name", [*MODULES, "projection"])
def test_evaluation_measures_what_a_module_declares(name, with_projection):
    assert MODULES[name].name == name
    model = make_model({name: {}})
    labels = torch.arange(6) % 3
    metrics, plain = StreamingMetrics(COUNTS, None, declared_metrics(model)), StreamingMetrics(COUNTS)
    for rows in (slice(0, 4), slice(4, 6)):
        output = model(IMAGES[rows])
        metrics.update(output.logits, labels[rows], extras=output.extras)
        plain.update(output.logits, labels[rows])
    computed, expected = metrics.compute(), plain.compute()
    assert {key: computed[key] for key in expected} == expected
    assert sorted(computed.keys() - expected.keys()) == sorted(metric_names(model.config.modules))
    if name == "projection":
        length = model(IMAGES).extras["projected"].norm(dim=1).mean().item()
        assert computed["projected_length"] == pytest.approx(length)
