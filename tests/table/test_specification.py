"""Rows as they are written on the command line."""

from __future__ import annotations

import pytest

from hf_ltr.table import MethodSpecification

COUNTS = [500, 40, 5]


@pytest.mark.parametrize(
    ("text", "name", "options", "label"),
    [
        ("cross_entropy", "cross_entropy", {}, "cross_entropy"),
        (" cross-entropy ", "cross_entropy", {}, "cross_entropy"),
        ("ldam:scale=10,max_margin=0.3", "ldam", {"max_margin": 0.3, "scale": 10}, "ldam:max_margin=0.3,scale=10"),
        ("ldam:max_margin=3e-1", "ldam", {"max_margin": 0.3}, "ldam:max_margin=0.3"),
        ("crt:reinitialize=false", "crt", {"reinitialize": False}, "crt:reinitialize=false"),
        ("crt:sampler=square_root", "crt", {"sampler": "square_root"}, "crt:sampler=square_root"),
        (
            "crt:representation=balanced_softmax",
            "crt",
            {"representation": "balanced_softmax"},
            "crt:representation=balanced_softmax",
        ),
        (
            "crt:representation=(ldam:scale=10,max_margin=0.3),sampler=instance",
            "crt",
            {"representation": {"name": "ldam", "options": {"max_margin": 0.3, "scale": 10}}, "sampler": "instance"},
            "crt:representation=(ldam:max_margin=0.3,scale=10),sampler=instance",
        ),
        (
            "pc_softmax:target_prior=[0.2,0.3,0.5]",
            "pc_softmax",
            {"target_prior": [0.2, 0.3, 0.5]},
            "pc_softmax:target_prior=[0.2,0.3,0.5]",
        ),
    ],
)
def test_a_row_is_read_and_written_back(text, name, options, label):
    row = MethodSpecification.parse(text)
    assert (row.name, row.options, row.post_hoc, row.label) == (name, options, None, label)
    assert MethodSpecification.parse(row.label) == row
    method = row.build(COUNTS)
    assert method.name == name
    for option, value in options.items():
        if option not in ("representation", "base"):
            assert getattr(method, option) == value


def test_the_representation_is_a_method_with_its_options():
    method = MethodSpecification.parse("crt:representation=(ldam:max_margin=0.3)").build(COUNTS)
    assert method.representation.name == "ldam" and method.representation.max_margin == 0.3
    method = MethodSpecification.parse("deferred_reweighting:base=balanced_softmax,beta=0.99").build(COUNTS)
    assert method.base.name == "balanced_softmax" and method.beta == 0.99


def test_options_of_the_row_win_over_those_of_the_protocol():
    row = MethodSpecification.parse("ldam:scale=10")
    method = row.build(COUNTS, {"scale": 20, "max_margin": 0.3})
    assert (method.scale, method.max_margin) == (10, 0.3)


def test_post_hoc_adjustment_is_behind_the_row():
    row = MethodSpecification.parse("deferred_reweighting:base=(ldam:scale=10)+logit_adjustment")
    assert row.post_hoc == "logit_adjustment"
    assert row.label == "deferred_reweighting:base=(ldam:scale=10)+logit_adjustment"
    assert row.trained.label == "deferred_reweighting:base=(ldam:scale=10)"
    assert MethodSpecification.parse(row.label) == row


def test_different_rows_have_different_file_names():
    texts = ["ldam", "ldam:scale=10", "ldam:scale=1", "crt:representation=(ldam:scale=10)", "ldam+logit_adjustment"]
    names = [MethodSpecification.parse(text).file_name for text in texts]
    assert len(set(names)) == len(names)
    assert not any(set(name) & set('/\\:*?"<>|() ') for name in names)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cross_entropi", "Unknown method: 'cross_entropi'.*'cross_entropy'"),
        ("crt:representation=cross_entropi", "Unknown method: 'cross_entropi'"),
        ("ldam:scale", "'scale' is not one"),
        ("ldam:scale=1,scale=2", "gives scale twice"),
        ("cross_entropy+logit_adjustmnt", "Unknown post-hoc adjustment.*'logit_adjustment'"),
        ("crt:representation=(cross_entropy+logit_adjustment)", "belongs behind the whole row"),
    ],
)
def test_a_mistake_is_named(text, message):
    with pytest.raises(ValueError, match=message):
        MethodSpecification.parse(text)


def test_an_unknown_option_is_named_when_the_method_is_built():
    with pytest.raises(ValueError, match="Unknown option of ldam: 'margin'.*'max_margin'"):
        MethodSpecification.parse("ldam:margin=1").build(COUNTS)


def test_rows_separated_by_commas():
    with pytest.raises(ValueError, match=r"Unknown method: 'crt,lws'.*Rows are separated by spaces\."):
        MethodSpecification.parse("crt,lws")
