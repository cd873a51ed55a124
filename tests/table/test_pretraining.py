"""Masked autoencoding in front of every row of a table, trained once for all of them."""

from __future__ import annotations

import json
import shutil

import pytest
import yaml

from hf_ltr.methods import METHODS
from hf_ltr.table import MethodSpecification, load_protocol
from hf_ltr.table.cost import TrainingMeasures
from hf_ltr.table.plans import Plan

from .conftest import PROTOCOL, quiet, result

ROWS = ["cross_entropy", "crt", "mem"]
TINY = {
    "model": {
        "backbone": "vit_pico_patch4_16",
        "image_size": 8,
        "num_channels": 1,
        "backbone_kwargs": {"depth": 1, "embed_dim": 16, "num_heads": 2},
        "global_pool": "avg",
        "masked_autoencoder": {"decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2},
    },
    "arguments": {**PROTOCOL["arguments"], "num_train_epochs": 1, "learning_rate": 1e-3, "augmentation": "none"},
    "stages": {"pretraining": {"num_train_epochs": 2}},
    "methods": {"mem": {"options": {"width": 16, "top_k": 2}}},
    "pretraining": {"mask_ratio": 0.5},
}
TINY["arguments"].pop("augmentation_options")


@pytest.fixture(scope="module")
def protocol_path(write_protocol):
    return write_protocol(**TINY)


@pytest.fixture
def protocol(protocol_path):
    return load_protocol(protocol_path)


@pytest.fixture(scope="module")
def finished(protocol_path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrained")
    quiet(load_protocol(protocol_path), ROWS, folder).run()
    return folder


def plan(protocol, row: str, seed: int = 0) -> Plan:
    return Plan.make(protocol, MethodSpecification.parse(row), seed, [500, 40, 5])


def stage_folders(folder, row) -> list:
    return [folder / stage["folder"] for stage in result(folder, row)["stages"]]


def test_every_method_begins_with_pretraining(protocol):
    for name in METHODS:
        if not METHODS[name].uses_labels:
            continue
        stages = plan(protocol, name).stages
        assert [stage.name for stage in stages].count("pretraining") == 1 and stages[0].name == "pretraining"
        assert stages[0].method.mask_ratio == 0.5 and stages[0].start is None
        assert stages[1].start == "stage:pretraining"
        assert stages[0].config["masked_autoencoder"] == TINY["model"]["masked_autoencoder"]
        compared = plan(protocol, name).compared(stages[0]), plan(protocol, name).compared(stages[1])
        assert [arguments["num_train_epochs"] for arguments in compared] == [2, 1]


def test_rows_share_what_is_equal(protocol, write_protocol):
    def names(row, protocol=protocol, seed=0, row_hash="a"):
        return plan(protocol, row, seed).shared_stages(row_hash)

    assert names("cross_entropy") == names("crt") == names("mem") == names("mem:pretraining=false")
    assert len(names("mem")) == 2 and names("mem")[0].startswith("masked_autoencoding-")
    # Another representation behind the same pretraining.
    other = names("balanced_softmax")
    assert other[0] == names("mem")[0] and other[1] != names("mem")[1]
    # Other pretraining, and everything behind it.
    masked = load_protocol(write_protocol(**{**TINY, "pretraining": {"mask_ratio": 0.75}}))
    longer = load_protocol(write_protocol(**{**TINY, "stages": {"pretraining": {"num_train_epochs": 3}}}))
    decoder = {**TINY["model"], "masked_autoencoder": {**TINY["model"]["masked_autoencoder"], "decoder_depth": 2}}
    deeper = load_protocol(write_protocol(**{**TINY, "model": decoder}))
    for changed in (
        names("mem", masked),
        names("mem", longer),
        names("mem", deeper),
        names("mem", seed=1),
        names("mem", row_hash="b"),
    ):
        assert not set(changed) & set(names("mem"))
    # The classifier's own arguments leave pretraining alone.
    faster = load_protocol(write_protocol(**{**TINY, "stages": {**TINY["stages"], "train": {"learning_rate": 0.1}}}))
    assert names("cross_entropy", faster)[0] == names("mem")[0]
    assert names("cross_entropy", faster)[1] != names("mem")[1]
    # Without pretraining, mem has its own, with its defaults, and other rows have none.
    without = load_protocol(write_protocol(**{**TINY, "pretraining": None, "stages": {}}))
    assert len(names("cross_entropy", without)) == 1 and len(names("mem", without)) == 2
    assert names("mem", without)[0] not in names("mem")


def test_pretraining_is_trained_once_for_all_rows(protocol, tmp_path, trainings):
    quiet(protocol, ROWS, tmp_path).run()
    assert trainings == ["masked_autoencoding", "cross_entropy", "crt", "mem"]
    weights = {}
    for row in ROWS:
        record = result(tmp_path, row)
        assert record["settings"]["stages"]["pretraining"]["num_train_epochs"] == 2
        assert [stage["method"] for stage in record["stages"]][:2] == ["masked_autoencoding", "cross_entropy"]
        # 342 rows in batches of 128: three steps an epoch.
        assert [stage["steps"] for stage in record["stages"]] == [6, 3, 3][: len(record["stages"])]
        weights[row] = [(path / "model.safetensors").read_bytes() for path in stage_folders(tmp_path, row)]
    for number in (0, 1):
        assert weights["cross_entropy"][number] == weights["crt"][number] == weights["mem"][number]
    assert weights["crt"][2] != weights["mem"][2]
    # The plain row is the fine-tuned model itself; the others' stages lie under their own names.
    assert [path.name for path in stage_folders(tmp_path, "crt")] == ["pretraining", "representation", "classifier"]
    assert [path.name for path in stage_folders(tmp_path, "mem")] == ["pretraining", "finetuning", "modulator"]
    assert quiet(protocol, ROWS, tmp_path).run() == [] and len(trainings) == 4


def test_fine_tuning_starts_from_the_pretrained_encoder(finished):
    from safetensors.torch import load_file

    first, second = (load_file(path / "model.safetensors") for path in stage_folders(finished, "cross_entropy"))
    name = "backbone.blocks.0.attn.qkv.weight"
    assert any(key.startswith("decoder") for key in first) and not any(key.startswith("decoder") for key in second)
    # Three small steps away from where it started, and far from another initialisation.
    moved, scale = (second[name] - first[name]).abs().max(), first[name].abs().max()
    assert 0 < moved < 0.1 * scale


def test_other_masks_are_trained_beside_and_their_results_refused(finished, write_protocol, tmp_path, trainings):
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    masked = load_protocol(write_protocol(**{**TINY, "pretraining": {"mask_ratio": 0.75}}))
    with pytest.raises(ValueError, match="pretraining.mask_ratio: 0.5 there, 0.75 here"):
        quiet(masked, ["cross_entropy"], folder).run()
    with pytest.raises(ValueError, match="pretraining.mask_ratio: 0.5 there, 0.75 here"):
        quiet(masked, ["cross_entropy"], folder).report(resamples=10).markdown()
    assert trainings == []
    (folder / "results" / "cross_entropy_seed0.json").unlink()
    before = set((folder / "first_stages").iterdir())
    quiet(masked, ["cross_entropy"], folder).run()
    assert trainings == ["masked_autoencoding", "cross_entropy"]
    assert len(set((folder / "first_stages").iterdir()) - before) == 2


def test_results_that_do_not_say_how_they_were_pretrained_are_read(finished, protocol, write_protocol, tmp_path):
    content = result(finished, "cross_entropy")
    assert content["settings"].pop("pretraining") == {"mask_ratio": 0.5}
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "cross_entropy_seed0.json").write_text(json.dumps(content))
    shutil.copy(finished / "test_set.json", tmp_path)
    report = quiet(protocol, ["cross_entropy"], tmp_path).report(resamples=10)
    assert report.rows[0].values["accuracy"]["mean"] == content["metrics"]["accuracy"]
    without = load_protocol(write_protocol(**{**TINY, "pretraining": None, "stages": {}}))
    with pytest.raises(ValueError, match="other settings"):
        quiet(without, ["cross_entropy"], tmp_path).report(resamples=10).markdown()


def test_an_interrupted_table_does_not_pretrain_again(finished, protocol, tmp_path, monkeypatch, trainings):
    steps = []

    def stop(self, args, state, control, **kwargs):
        steps.append(state.global_step)
        if len(steps) in (5, 9):  # in the second epoch of pretraining, then in fine-tuning
            raise KeyboardInterrupt

    monkeypatch.setattr(TrainingMeasures, "on_step_end", stop, raising=False)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            quiet(protocol, ["mem"], tmp_path).run()
    quiet(protocol, ["mem"], tmp_path).run()
    # Pretraining: 1 to 5, again from the end of its first epoch; fine-tuning: 1, again; the modulator.
    assert steps == [1, 2, 3, 4, 5, 4, 5, 6, 1, 1, 2, 3, 1, 2, 3]
    assert trainings == ["masked_autoencoding"] * 2 + ["cross_entropy"] * 2 + ["mem"]
    assert result(tmp_path, "mem")["predictions"] == result(finished, "mem")["predictions"]
    assert result(tmp_path, "mem")["metrics"] == result(finished, "mem")["metrics"]


@pytest.mark.parametrize(
    ("pretraining", "message"),
    [
        (["mask_ratio"], "pretraining must hold `key: value` pairs"),
        ({"mask_ration": 0.5}, "Unknown option of masked_autoencoding: 'mask_ration'.*'mask_ratio'"),
        ({"mask_ratio": 1.5}, "mask_ratio must be a finite number above 0 and below 1, got 1.5"),
    ],
)
def test_mistakes_of_pretraining_are_found_before_the_first_run(
    write_protocol, tmp_path, trainings, pretraining, message
):
    with pytest.raises(ValueError, match=message):
        quiet(load_protocol(write_protocol(**{**TINY, "pretraining": pretraining})), ROWS, tmp_path / "t").run()
    assert trainings == [] and not (tmp_path / "t").exists()


@pytest.mark.parametrize("pretraining", [{"mask_ratio": 0.5}, {}, None])
def test_the_page_shows_pretraining(write_protocol, tmp_path, pretraining):
    """Without options it is pretraining all the same."""
    stages = TINY["stages"] if pretraining is not None else {}
    changed = load_protocol(write_protocol(**{**TINY, "pretraining": pretraining, "stages": stages}))
    page = quiet(changed, ROWS, tmp_path).report().page()
    shown = yaml.safe_load(page.split("```yaml\n")[1].split("```")[0])
    assert shown.get("pretraining") == pretraining and ("pretraining" in shown) == (pretraining is not None)
    assert shown.get("stages", {}) == stages
