"""Stages that start from checkpoints of others: what fits, what is refused, and the licence up to the card."""

from __future__ import annotations

import logging

import pytest
import torch
from huggingface_hub import ModelCard
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from hf_ltr import LongTailConfig, LongTailForImageClassification, class_counts
from hf_ltr.methods import Stage
from hf_ltr.models import MaskedAutoencoder
from hf_ltr.reporting import RunReport
from hf_ltr.trainer import run_stages
from hf_ltr.trainer.stage_model import build_stage_model, check_initial_classes

from ..contracts.builders import make_config, make_dataset, make_method
from .test_stages import ARGUMENTS, InterruptAt, Interrupted, assert_same_weights, stored

RELEASED = {"name": "facebook/vit-mae-tiny", "license": "cc-by-nc-4.0"}
STATISTICS = {"image_mean": [0.5], "image_std": [0.5]}


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A small masked autoencoder of transformers for grey images of 16 pixels, where the Hub's cache would have it."""
    folder = tmp_path_factory.mktemp("hub") / "models--facebook--vit-mae-tiny" / "snapshots" / "0123abcd"
    torch.manual_seed(0)
    config = ViTMAEConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=16,
        patch_size=4,
        num_channels=1,
        decoder_hidden_size=16,
        decoder_num_hidden_layers=1,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=64,
    )
    ViTMAEForPreTraining(config).save_pretrained(folder)
    return str(folder)


def make_stages(start: str) -> tuple[list[Stage], LongTailConfig, object]:
    """Further pretraining and two stages on top of it, on grey images of 8 pixels."""
    dataset = make_dataset()
    counts = class_counts(dataset)
    pretraining, finetuning, _ = make_method("mem", counts).stages()
    pretraining.start = start
    pretraining.config["masked_autoencoder"] = {"decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2}
    crt = make_method("crt", counts)
    return [pretraining, finetuning, Stage("classifier", crt, start="stage:finetuning")], make_config(counts), dataset


def run(folder, start, *callbacks):
    stages, config, dataset = make_stages(start)
    return stages, run_stages(
        stages,
        config=config,
        arguments={**ARGUMENTS, "max_steps": 6},
        train_dataset=dataset,
        test_dataset=make_dataset(seed=1),
        output_dir=folder,
        callbacks=list(callbacks),
    )


def test_the_licence_goes_through_all_stages_into_the_card(released, tmp_path):
    stages, results = run(tmp_path, released)
    for name in ("pretraining", "finetuning", "classifier"):
        assert LongTailConfig.from_pretrained(results[name].folder).initial_weights == RELEASED, name
    report = RunReport(
        tmp_path, data={"train": make_dataset(), "test": make_dataset(seed=1)}, dataset="shapes", arguments={"seed": 3}
    )
    report.add("cRT", results["classifier"])
    report.finish(results["classifier"], method=stages[-1].method, stages=list(results.values()))
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.license == "cc-by-nc-4.0" and card.data.base_model == "facebook/vit-mae-tiny"
    limitations = card.content.split("## Limitations")[1].split("##")[0]
    sentence = (
        "Trained from the weights `facebook/vit-mae-tiny`, which are under CC-BY-NC 4.0: not for commercial use."
    )
    assert f"- {sentence}" in limitations.splitlines()
    assert LongTailForImageClassification.from_pretrained(tmp_path).config.initial_weights == RELEASED


def test_own_pretraining_has_no_licence_to_respect(tmp_path):
    stages, results = run(tmp_path, None)
    assert LongTailConfig.from_pretrained(results["classifier"].folder).initial_weights is None
    report = RunReport(
        tmp_path, data={"train": make_dataset(), "test": make_dataset(seed=1)}, dataset="shapes", arguments={"seed": 3}
    )
    report.add("cRT", results["classifier"])
    report.finish(results["classifier"], method=stages[-1].method, stages=list(results.values()))
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.license is None and card.data.base_model is None
    assert "Trained from" not in card.content and "licence" not in card.content


def test_an_interrupted_run_from_such_a_checkpoint_goes_on(released, tmp_path):
    """What the config records about its start is no fact in which the two calls may differ."""
    run(tmp_path / "straight", released)
    for stage in ("pretraining", "finetuning"):
        with pytest.raises(Interrupted):
            run(tmp_path / "broken", released, InterruptAt(stage))
    run(tmp_path / "broken", released)
    for name in ("pretraining", "finetuning", "classifier"):
        assert_same_weights(stored(tmp_path / "straight", name), stored(tmp_path / "broken", name))


def test_a_stage_begins_with_the_encoder_at_its_own_image_size(released):
    config = make_config(class_counts(make_dataset()))
    stage = Stage("finetuning", make_method("cross_entropy", class_counts(make_dataset())), start=released)
    model = build_stage_model(stage, config, released, seed=0)
    reference = ViTMAEForPreTraining.from_pretrained(released).vit
    assert torch.equal(model.backbone.cls_token, reference.embeddings.cls_token)
    assert model.backbone.pos_embed.shape[1] == 5 and model.config.initial_weights == RELEASED
    assert config.initial_weights is None
    autoencoder = Stage("pretraining", stage.method, start=released, model_class=MaskedAutoencoder)
    config.masked_autoencoder = {"decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2}
    model = build_stage_model(autoencoder, config, released, seed=0)
    assert isinstance(model, MaskedAutoencoder) and not model.backbone.pos_embed.requires_grad


def test_another_encoder_is_refused_before_anything_is_trained(released, tmp_path):
    stages, config, dataset = make_stages(released)
    config.backbone_kwargs = {**config.backbone_kwargs, "depth": 2}
    with pytest.raises(ValueError, match=r"blocks 1 \(the config: 2\)"):
        run_stages(stages, config=config, arguments=ARGUMENTS, train_dataset=dataset, output_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_other_normalisation_is_said(released, caplog):
    config = make_config(class_counts(make_dataset()))
    with caplog.at_level(logging.WARNING):
        check_initial_classes(released, config)
    assert not caplog.records
    config.image_mean = [0.1]
    check_initial_classes(released, config)
    assert "normalised with mean [0.5] and standard deviation [0.5], this run uses [0.1]" in caplog.text


def test_checkpoints_of_other_models_are_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "resnet"}')
    with pytest.raises(ValueError, match="is a checkpoint of type 'resnet'"):
        check_initial_classes(str(tmp_path), make_config(class_counts(make_dataset())))
