"""Sets of options by name."""

from __future__ import annotations

import pytest

from hf_ltr import METHODS, get_method
from hf_ltr.cli.main import main
from hf_ltr.methods import check_options, with_preset
from hf_ltr.methods.cross_entropy import CrossEntropy
from hf_ltr.recipe import TrainOptions
from hf_ltr.recipe.stages import build_method
from hf_ltr.table import MethodSpecification

COUNTS = [300, 50, 150, 5, 20, 3]
WITH_PRESETS = [(name, preset) for name, method in METHODS.items() for preset in method.presets]


def mem(**options):
    return get_method("mem", class_counts=COUNTS, **options)


@pytest.mark.parametrize(("name", "preset"), WITH_PRESETS)
def test_every_preset_is_a_set_of_options_that_the_method_takes(name, preset):
    written = METHODS[name].presets[preset]
    check_options(name, written)
    check_options(name, {"preset": preset})
    method = get_method(name, class_counts=COUNTS, preset=preset)
    assert method.describe() == get_method(name, class_counts=COUNTS, **written).describe()
    assert "preset" not in method.describe()["options"]
    assert get_method(method.describe(), class_counts=COUNTS).describe() == method.describe()


def test_no_option_has_the_name_that_stands_for_a_set():
    assert not any("preset" in method.option_names() for method in METHODS.values())


def test_options_beside_it_win():
    method = mem(preset="literal", activation="exp", representation="focal", width=32)
    assert (method.activation, method.representation.name, method.width) == ("exp", "focal", 32)
    assert (method.fusion_normalization, method.logit_reference) == ("none", "none")
    assert mem(preset=None).describe() == mem().describe()


def test_in_a_description_and_in_front_of_one():
    inside = {"name": "mem", "options": {"preset": "literal", "top_k": 2}, "representation": "ldam"}
    method = get_method(inside, class_counts=COUNTS)
    assert (method.activation, method.top_k, method.representation.name) == ("none", 2, "ldam")
    # Given with a description, it stands in the place of the options there.
    again = get_method(mem(activation="exp", width=32).describe(), class_counts=COUNTS, preset="literal")
    assert (again.activation, again.width) == ("none", 32)


@pytest.mark.parametrize("check", [check_options, lambda name, options: get_method(name, COUNTS, **options)])
def test_what_does_not_exist_is_refused(check):
    with pytest.raises(ValueError, match="Unknown preset of mem: 'litteral'. Did you mean 'literal'"):
        check("mem", {"preset": "litteral"})
    with pytest.raises(ValueError, match="Unknown preset of mem: 3"):
        check("mem", {"preset": 3})
    with pytest.raises(ValueError, match="cross_entropy has no presets: leave preset='literal' out"):
        check("cross_entropy", {"preset": "literal"})
    with pytest.raises(ValueError, match="focal has no presets"):
        check("crt", {"representation": {"name": "focal", "options": {"preset": "x"}}})
    with pytest.raises(ValueError, match="Unknown option of mem: 'presets'. Did you mean 'preset'"):
        check("mem", {"presets": "literal"})


def test_a_wrong_value_in_a_preset_is_found(monkeypatch):
    monkeypatch.setattr(METHODS["focal"], "presets", {"strong": {"gamma": "much"}})
    with pytest.raises(ValueError, match="gamma must be.*option of focal"):
        check_options("focal", {"preset": "strong"})


def test_a_preset_is_not_changed_by_who_takes_it():
    before = dict(METHODS["mem"].presets["literal"])
    taken = with_preset("mem", {"preset": "literal"})
    taken["width"] = 3
    assert METHODS["mem"].presets["literal"] == before and CrossEntropy.presets == {}


def test_in_a_recipe_and_as_a_row():
    options = TrainOptions("mem", method_options={"preset": "literal", "margin_positive": 20.0})
    method = build_method(options, mem().class_counts)
    assert (method.activation, method.margin_positive) == ("none", 20.0)
    started = TrainOptions("mem", method_options={"preset": "literal"}, initial_checkpoint="somewhere")
    assert build_method(started, mem().class_counts).pretraining is False
    row = MethodSpecification.parse("mem:preset=literal,top_k=3")
    assert row.label == "mem:preset=literal,top_k=3"
    built = row.build(COUNTS, {"width": 64})
    assert built.describe() == mem(preset="literal", top_k=3, width=64).describe()


def test_it_is_listed(capsys):
    assert main(["list"]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("mem "))
    assert "within_group_tau; presets: literal, original_logits  (Mutual Exclusive" in line


def test_the_paper_as_written_is_whole():
    written = METHODS["mem"].presets["literal"]
    # How large the networks are, and what their images were trained on before, is left to the run.
    left = {"pretraining", "width", "heads"}
    assert set(METHODS["mem"].option_names()) | {"representation"} == set(written) | left
    assert not left & set(written)
    method = mem(preset="literal")
    # Long et al. 2023: equation 3 with the best margins of Figures 4c and 4d, equations 7 and 8 with nothing around.
    assert (method.margin_positive, method.margin_negative, method.normalize_margin) == (100.0, 0.0, False)
    assert (method.activation, method.fusion_normalization, method.logit_reference) == ("none", "none", "none")
    assert (method.classifier, method.sampler, method.regularization_weight) == ("frozen", "class_balanced", 1.0)
