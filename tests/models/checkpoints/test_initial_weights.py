"""Where initial weights come from and under which licence, from loading to what is trained from them."""

from __future__ import annotations

from functools import partial

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models import get_pretrained_cfg

from hf_ltr.models import LongTailConfig, LongTailForImageClassification, MaskedAutoencoder
from hf_ltr.models.checkpoints.initial_weights import weights_of_checkpoint, weights_of_timm

SIZES = {"depth": 1, "embed_dim": 16, "num_heads": 2}
DECODER = {"decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2}
RECORD = {"license": "cc-by-nc-4.0", "hf_hub_id": "timm/vit_pico.mae", "custom_load": False}
KNOWN = {"name": "timm/vit_pico.mae", "license": "cc-by-nc-4.0"}


@pytest.fixture
def publish(tmp_path, monkeypatch):
    """Publish weights (see `write_weights`) for the rest of a test: timm finds them in a file, not on the Hub."""
    create = timm.create_model

    def published(num_classes: int, name: str = "vit_pico_patch4_16") -> tuple[torch.nn.Module, dict]:
        model, overlay = write_weights(tmp_path, num_classes, name, create)
        monkeypatch.setattr(timm, "create_model", partial(create, pretrained_cfg_overlay=overlay))
        return model, SIZES

    return published


def write_weights(folder, num_classes: int, name: str, create) -> tuple[torch.nn.Module, dict]:
    """Weights as timm publishes them, in a file, and timm's record of them."""
    torch.manual_seed(1)
    model = create(name, num_classes=num_classes, **SIZES).eval()
    with torch.no_grad():
        model.norm.weight.uniform_(1, 2)
        model.pos_embed.normal_()
    save_file(model.state_dict(), folder / "weights.safetensors")
    overlay = {"file": str(folder / "weights.safetensors"), "num_classes": num_classes, **RECORD}
    return model, overlay


def make_config(kwargs, **fields) -> LongTailConfig:
    fields = {"backbone": "vit_pico_patch4_16", "num_labels": 3, "global_pool": "avg", **fields}
    return LongTailConfig(**fields, backbone_kwargs=kwargs, backbone_pretrained=True)


@pytest.mark.parametrize("num_classes", [0, 5, 3])
def test_weights_of_timm_with_the_pooling_of_fine_tuning(num_classes, publish):
    """
    A masked autoencoder's (no classes) and a classifier's, of other classes and of as many as wanted, where timm
    insists on a final norm that this pooling does not have.
    """
    reference, kwargs = publish(num_classes)
    config = make_config(kwargs)
    model = LongTailForImageClassification(config)
    expected = reference.state_dict()
    loaded = model.backbone.state_dict()
    assert set(expected) - set(loaded) - {"head.weight", "head.bias"} == {"norm.weight", "norm.bias"}
    assert set(loaded) - set(expected) == {"fc_norm.weight", "fc_norm.bias"}
    for name in set(loaded) & set(expected):
        assert torch.equal(loaded[name], expected[name]), name
    assert loaded["fc_norm.weight"].eq(1).all() and loaded["fc_norm.bias"].eq(0).all()
    assert model.config.initial_weights == KNOWN


def test_other_image_sizes_are_resampled_by_timm(publish):
    name = "vit_tiny_patch16_224"
    reference, kwargs = publish(0, name)
    model = LongTailForImageClassification(make_config(kwargs, backbone=name, image_size=32))
    assert reference.pos_embed.shape == (1, 197, 16) and model.backbone.pos_embed.shape == (1, 5, 16)
    assert torch.equal(model.backbone.pos_embed[:, 0], reference.pos_embed[:, 0])
    images = torch.randn(2, 3, 32, 32)
    assert model(images).logits.isfinite().all()


def test_other_strict_errors_of_timm_are_raised(publish):
    _, kwargs = publish(3)
    with pytest.raises(RuntimeError, match="size mismatch|Missing key"):
        LongTailForImageClassification(make_config({**kwargs, "depth": 2}, global_pool=None))


def test_a_masked_autoencoder_starts_from_them(publish, tmp_path):
    reference, kwargs = publish(0)
    model = MaskedAutoencoder(make_config(kwargs, masked_autoencoder=DECODER))
    assert torch.equal(model.backbone.norm.weight, reference.norm.weight)
    assert model.config.initial_weights == KNOWN
    model.save_pretrained(tmp_path / "pretrained")
    # The file is not needed any more, and the record stays.
    (tmp_path / "weights.safetensors").unlink()
    again = MaskedAutoencoder.from_pretrained(tmp_path / "pretrained")
    assert again.config.initial_weights == KNOWN
    classifier = LongTailForImageClassification.from_pretrained(tmp_path / "pretrained", num_labels=7)
    assert classifier.config.initial_weights == KNOWN


def test_the_record_follows_the_weights_and_not_the_config(publish, tmp_path):
    _, kwargs = publish(0)
    LongTailForImageClassification(make_config(kwargs)).save_pretrained(tmp_path / "published")
    scratch = LongTailConfig(backbone="vit_pico_patch4_16", num_labels=3, global_pool="avg", backbone_kwargs=SIZES)
    model = LongTailForImageClassification(scratch)
    assert model.config.initial_weights is None
    model.save_pretrained(tmp_path / "scratch")
    # A config without a record, weights with one.
    loaded = LongTailForImageClassification.from_pretrained(tmp_path / "published", config=scratch)
    assert loaded.config.initial_weights == KNOWN and scratch.initial_weights is None
    # And the other way round: a config that would load published weights, and a start that has none of them.
    loaded = LongTailForImageClassification.from_pretrained(tmp_path / "scratch", config=make_config(kwargs))
    assert loaded.config.initial_weights is None
    # A model built from the config of published weights, but from scratch.
    config = LongTailConfig.from_pretrained(tmp_path / "published", backbone_pretrained=False)
    assert config.initial_weights == KNOWN
    assert LongTailForImageClassification(config).config.initial_weights is None


def test_records_of_timm():
    class Backbone(torch.nn.Module):
        def __init__(self, record):
            super().__init__()
            self.pretrained_cfg = record

    for size in ("base_patch16", "large_patch16", "huge_patch14"):
        name = f"vit_{size}_224.mae"
        record = get_pretrained_cfg(name).to_dict()
        assert weights_of_timm(Backbone(record)) == {"name": f"timm/{name}", "license": "cc-by-nc-4.0"}
    record = {"architecture": "resnet50", "hf_hub_id": "timm/resnet50.a1_in1k", "license": "apache-2.0"}
    assert weights_of_timm(Backbone(record)) == {"name": "timm/resnet50.a1_in1k", "license": "apache-2.0"}
    assert weights_of_timm(Backbone({"architecture": "net", "tag": "v1"})) == {"name": "net.v1", "license": None}
    assert weights_of_timm(Backbone({"architecture": "net"})) == {"name": "net", "license": None}


@pytest.mark.parametrize(
    "source, stored, name, license",
    [
        ("facebook/vit-mae-base", {}, "facebook/vit-mae-base", "cc-by-nc-4.0"),
        ("facebook/vit-mae-huge", {"license": "apache-2.0"}, "facebook/vit-mae-huge", "cc-by-nc-4.0"),
        ("somebody/vit-mae-base", {}, "somebody/vit-mae-base", None),
        ("somebody/tuned", {"_name_or_path": "facebook/vit-mae-large"}, "somebody/tuned", "cc-by-nc-4.0"),
        ("google/vit-base-patch16-224", {}, "google/vit-base-patch16-224", None),
    ],
)
def test_licences_of_checkpoints_on_the_hub(source, stored, name, license):
    assert weights_of_checkpoint(source, stored) == {"name": name, "license": license}


def test_licences_of_folders(tmp_path):
    folder = tmp_path / "my-weights"
    folder.mkdir()
    assert weights_of_checkpoint(str(folder), {}) == {"name": "my-weights", "license": None}
    made_from = {"_name_or_path": "facebook/vit-mae-base"}
    released = {"name": "facebook/vit-mae-base", "license": "cc-by-nc-4.0"}
    assert weights_of_checkpoint(str(folder), made_from) == released
    cached = tmp_path / "hub" / "models--facebook--vit-mae-base" / "snapshots" / "0123abcd"
    cached.mkdir(parents=True)
    assert weights_of_checkpoint(str(cached), {}) == released


@pytest.mark.parametrize("value", ["timm/x", {"name": "x"}, {"name": 1, "license": None}, {"name": "x", "license": 4}])
def test_other_records_are_refused(value):
    with pytest.raises(ValueError, match="initial_weights must be None or"):
        LongTailConfig(initial_weights=value)
