"""Methods by name and by description."""

from __future__ import annotations

import pytest

from hf_ltr import METHODS, get_method
from hf_ltr.methods import BASELINE, PRETRAINING, all_options, all_papers, check_options, described_parts

COUNTS = [5, 40, 12]


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_method_stands_in_the_file_of_its_name(name):
    method = METHODS[name]
    assert method.name == name and method.__module__ == f"hf_ltr.methods.{name}"


def test_names_that_stand_for_a_method_are_registered():
    assert METHODS[BASELINE].published_inside and not METHODS[PRETRAINING].uses_labels


@pytest.mark.parametrize("inside", ["focal", {"name": "focal"}, {"name": "focal", "options": {"gamma": 1.0}}])
def test_a_method_inside_is_a_name_or_a_description(inside):
    method = get_method("crt", class_counts=COUNTS, representation=inside)
    assert {key: part.name for key, part in method.parts().items()} == {"representation": "focal"}
    again = get_method({"name": "crt", "representation": inside}, class_counts=COUNTS)
    assert again.describe() == method.describe()
    assert described_parts(method.describe()) == {"representation": method.representation.describe()}


@pytest.mark.parametrize("name", sorted(METHODS))
def test_what_is_inside_is_part_of_the_description(name):
    method = get_method(name, class_counts=COUNTS)
    assert described_parts(method.describe()).keys() == method.parts().keys() == set(method.part_names)
    assert not set(method.part_names) & set(method.option_names())


def test_a_method_inside_that_the_class_does_not_take_is_refused():
    with pytest.raises(ValueError, match="Unknown option of focal: 'base'"):
        check_options("focal", {"base": "ldam"})
    with pytest.raises(ValueError, match="Unknown key in a description of a method: 'base'"):
        check_options({"name": "ldam_drw", "base": {"name": "ldam"}})


def test_an_option_inside_is_checked_too():
    with pytest.raises(ValueError, match="Unknown option of ldam: 'scal'. Did you mean 'scale'"):
        check_options("deferred_reweighting", {"base": {"name": "ldam", "options": {"scal": 1}}})
    with pytest.raises(ValueError, match="base of deferred_reweighting must be a method, a name or a description"):
        check_options("deferred_reweighting", {"base": 3})


def test_what_a_card_says_of_methods_inside():
    inside = {"name": "deferred_reweighting", "options": {"beta": 0.9}, "base": {"name": "focal"}}
    description = get_method("crt", class_counts=COUNTS, representation=inside).describe()
    options = all_options(description)
    assert options["sampler"] == "class_aware" and options["representation"] == "deferred_reweighting"
    assert options["representation.beta"] == 0.9
    assert options["representation.base"] == "focal" and options["representation.base.gamma"] == 2.0
    assert [paper["year"] for paper in all_papers(description)] == [2020, 2019, 2017]
    assert all_options({"name": "somebody's"}) == {} and all_papers({"name": "somebody's"}) == []
