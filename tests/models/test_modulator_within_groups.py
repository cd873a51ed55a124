"""The class prior inside each group, removed before anything reads the logits."""

from __future__ import annotations

import json
import math

import pytest
import torch

from hf_ltr import LongTailForImageClassification, get_method
from hf_ltr.models import LongTailConfig, MutualExclusiveModulator
from hf_ltr.trainer.run_facts import config_defaults, default_paths, run_facts
from hf_ltr.trainer.run_folder import fact_differences

from ..contracts.builders import make_arguments, make_dataset
from .test_modulator import COUNTS, TINY_VIT, make_config, make_inputs, make_modulator, slow_reference

GROUPS = [[0, 1, 2], [3, 4, 5], [6, 7]]


def slow_offset(logits, tau, groups, counts=COUNTS):
    """One image, one group and one class at a time."""
    expected = logits.clone()
    for row in range(len(logits)):
        for classes in groups:
            of_group = sum(counts[index] for index in classes)
            for index in classes:
                expected[row, index] = logits[row, index].item() - tau * math.log(counts[index] / of_group)
    return expected


@pytest.mark.parametrize("tau", [0.3, 1.0, 2])
def test_equals_the_formula_in_float64(tau):
    modulator = make_modulator(within_group_tau=tau)
    tokens, logits = make_inputs()
    changed = slow_offset(logits, tau, GROUPS)
    torch.testing.assert_close(modulator.without_prior_inside_groups(logits), changed, rtol=1e-9, atol=1e-9)
    # What the fusion network sees is what is weighted.
    expected = slow_reference(make_modulator(), tokens, changed, GROUPS, top_k=2)
    for value, other in zip(modulator(tokens, logits), expected, strict=True):
        torch.testing.assert_close(value, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("reference", ["min", "mean", "log_softmax"])
def test_before_the_reference_is_subtracted(reference):
    modulator, plain = (make_modulator(logit_reference=reference, within_group_tau=tau) for tau in (0.7, 0.0))
    tokens, logits = make_inputs()
    expected = plain(tokens, slow_offset(logits, 0.7, GROUPS))
    for value, other in zip(modulator(tokens, logits), expected, strict=True):
        torch.testing.assert_close(value, other, rtol=1e-9, atol=1e-9)


def test_equal_classes_of_a_group_and_the_prior_between_groups_stay():
    modulator = make_modulator(within_group_tau=1.0, class_counts=[500, 500, 500, 30, 30, 30, 4, 4])
    _, logits = make_inputs()
    offset = modulator.without_prior_inside_groups(logits) - logits
    expected = torch.tensor([math.log(3)] * 6 + [math.log(2)] * 2, dtype=torch.float64).expand_as(offset)
    torch.testing.assert_close(offset, expected, rtol=1e-9, atol=1e-9)


def test_off_it_is_not_there():
    modulator = make_modulator()
    tokens, logits = make_inputs()
    assert modulator.without_prior_inside_groups(logits) is logits
    assert not any("images" in name for name, _ in modulator.named_buffers())
    for value, other in zip(
        modulator(tokens, logits), make_modulator(within_group_tau=0)(tokens, logits), strict=True
    ):
        assert value.equal(other)


def test_a_config_of_an_earlier_version_loads(tmp_path):
    torch.manual_seed(0)
    model = LongTailForImageClassification(make_config()).eval()
    model.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    written = json.loads(path.read_text())
    for name in ("within_group_tau", "class_counts"):
        del written["modules"]["modulator"][name]
    path.write_text(json.dumps(written))
    loaded = LongTailForImageClassification.from_pretrained(tmp_path).eval()
    images = torch.randn(3, 1, 16, 16)
    with torch.no_grad():
        assert loaded(images).logits.equal(model(images).logits)
    assert loaded.config.modules["modulator"]["within_group_tau"] == 0


def test_runs_of_an_earlier_version_are_continued(tmp_path):
    dataset = make_dataset()
    method = get_method("mem", class_counts=[16, 10, 7, 4], width=16, pretraining=False)
    config = LongTailConfig(**TINY_VIT, image_size=8, class_counts=[16, 10, 7, 4])
    method.configure(config)
    config.validate()
    assert "modules.modulator.within_group_tau" in default_paths(config.to_dict(), config_defaults(config))
    here = run_facts(config, method, make_arguments(tmp_path), dataset)
    there = json.loads(json.dumps(here))
    del there["method"]["options"]["within_group_tau"]
    for name in ("within_group_tau", "class_counts"):
        del there["model"]["modules"]["modulator"][name]
    there["at_default"] = [path for path in there["at_default"] if "within_group" not in path]
    assert fact_differences(there, here) == []
    here["model"]["modules"]["modulator"]["within_group_tau"] = 0.5
    here["at_default"].remove("model.modules.modulator.within_group_tau")
    assert "within_group_tau" in fact_differences(there, here)[0]


def test_the_checkpoint_alone_knows_the_images(tmp_path):
    torch.manual_seed(0)
    model = LongTailForImageClassification(make_config(within_group_tau=1.0)).eval()
    assert model.config.modules["modulator"]["class_counts"] == COUNTS
    torch.nn.init.normal_(model.modulator.fusion[-1].weight)
    model.save_pretrained(tmp_path)
    loaded, info = LongTailForImageClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    images = torch.randn(3, 1, 16, 16)
    with torch.no_grad():
        output = model(images)
        assert loaded.eval()(images).logits.equal(output.logits)
        # Other counts in the config (of other rows to train on) are not what the logits were trained under.
        other = LongTailForImageClassification.from_pretrained(tmp_path, class_counts=COUNTS[::-1]).eval()
        assert other(images).logits.equal(output.logits)
    assert loaded.modulator.class_images.tolist() == COUNTS
    assert loaded.modulator.group_images.tolist() == [551] * 3 + [180] * 3 + [22] * 2


def test_classes_in_another_order_keep_their_images():
    torch.manual_seed(0)
    names = list("abcdefgh")
    fields = {"id2label": dict(enumerate(names)), "label2id": {name: index for index, name in enumerate(names)}}
    model = LongTailForImageClassification(make_config(fields, within_group_tau=1.0)).eval()
    torch.nn.init.normal_(model.modulator.fusion[-1].weight)
    images, order = torch.randn(3, 1, 16, 16), [5, 0, 7, 2, 1, 6, 3, 4]
    with torch.no_grad():
        before = model(images).logits
        model.reorder_classes([names[index] for index in order])
        torch.testing.assert_close(model(images).logits, before[:, order])
    assert model.config.modules["modulator"]["class_counts"] == [COUNTS[index] for index in order]
    assert model.modulator.class_images.tolist() == [COUNTS[index] for index in order]


def test_a_cast_model_counts_exactly():
    modulator = MutualExclusiveModulator(make_config(within_group_tau=1.0)).bfloat16()
    assert modulator.class_images.tolist() == COUNTS
    logits = torch.zeros(1, len(COUNTS), dtype=torch.bfloat16)
    expected = slow_offset(logits.double(), 1.0, GROUPS).bfloat16()
    assert modulator.without_prior_inside_groups(logits).equal(expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"within_group_tau": -1}, "within_group_tau must be"),
        ({"within_group_tau": float("nan")}, "within_group_tau must be a finite number"),
        ({"within_group_tau": True}, "within_group_tau must be a finite number"),
        ({"within_group_tau": 1.0, "class_counts": [3, 2]}, "class_counts of the modulator has 2 entries for 8"),
        ({"within_group_tau": 1.0, "class_counts": [3, 2, 0, 1, 1, 1, 0, 1]}, "class 2, 6 has none"),
        ({"class_counts": [3.5] * 8}, r"class_counts of the modulator\[0\] must be"),
    ],
)
def test_what_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make_config(**options)


def test_counts_are_asked_for():
    options = {"modulator": {"within_group_tau": 1.0, "group_of_class": [0, 0, 1]}}
    with pytest.raises(ValueError, match="needs the training images of every class: set class_counts"):
        LongTailConfig(**TINY_VIT, num_labels=3, modules=options)


def test_the_method_hands_over_its_counts():
    config = LongTailConfig(**TINY_VIT, class_counts=COUNTS)
    method = get_method("mem", class_counts=COUNTS, within_group_tau=0.5, width=16)
    method.configure(config)
    config.validate()
    options = config.modules["modulator"]
    assert (options["within_group_tau"], options["class_counts"]) == (0.5, COUNTS)
    method.configure(config)  # again, of the finished model
    assert get_method(method.describe(), class_counts=COUNTS).within_group_tau == 0.5
    with pytest.raises(ValueError, match="within_group_tau of mem needs at least one training image of every class"):
        get_method("mem", class_counts=[300, 50, 0, 5], within_group_tau=0.5)
    assert "class_counts" not in get_method("mem", class_counts=[300, 50, 0, 5])._network_options()
