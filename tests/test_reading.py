"""YAML and JSON that somebody wrote: read as data, within bounds, or refused in one sentence that names the file."""

from __future__ import annotations

import math

import pytest

from hf_ltr.reading import json_form, parse_json, parse_yaml, read_json, read_yaml
from hf_ltr.recipe import DataOptions, parse_options


def anchors(levels: int) -> str:
    """A few bytes whose values multiply ninefold with every level."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    "text, message",
    [
        (anchors(9), "aliases that stand for more than 100,000 values"),
        (anchors(40), "aliases that stand for more than 100,000 values"),
        ("a: &a [*a]", "alias inside of what it stands for"),
        ("a: &a {b: *a}", "alias inside of what it stands for"),
        ("[" * 100 + "]" * 100, "50 levels"),
        ("[" * 10_000, "50 levels"),
        ("{a: " * 3000, "50 levels"),
        ("- " * 3000, "50 levels"),
        ("a: 1\nb: 2\na: 3", "the key 'a' twice"),
        ("a: {b: 1, b: 2}", "the key 'b' twice"),
        ("a: !!set {x, y}", "set"),
        ("a: !!binary aGk=", "binary"),
        ("a: !!python/object/apply:os.system [x]", "python"),
        ("a: !!timestamp 2001-99-99", "timestamp"),
        (f"a: {'9' * 5000}", "not YAML"),
        ("? [a, b]\n: c", "not YAML|hashable"),
        ("a: b: c", "not YAML"),
        ("\x00", "not YAML"),
        ("x" * 1_000_001, "1,000,001 characters"),
    ],
    ids=range(19),
)
def test_yaml_is_bounded(tmp_path, text, message):
    with pytest.raises(ValueError, match=f"file.*({message})"):
        parse_yaml(text, "file")
    path = tmp_path / "options.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match="options.yaml"):
        read_yaml(path)
    with pytest.raises(ValueError, match="options.yaml"):
        parse_options(["--config", str(path)], [DataOptions])


def test_yaml_that_is_used_is_read():
    text = "base: &b {x: 1, y: 2}\nrow: {<<: *b, y: 3}\nday: 2026-01-01\nword: no\nflag: true\nnothing: ~"
    assert parse_yaml(text, "file") == {
        "base": {"x": 1, "y": 2},
        "row": {"x": 1, "y": 3},
        "day": "2026-01-01",
        "word": "no",
        "flag": True,
        "nothing": None,
    }


def test_numbers_of_yaml_are_those_of_version_1_2():
    numbers = {"1e-3": 1e-3, "1E5": 1e5, "-.5": -0.5, "1.": 1.0, "+5": 5, "0": 0, "1.5e+3": 1500.0, ".inf": math.inf}
    words = ("010", "007", "1:30", "12:30:00", "1_000", "0x1F", "0o17", "1e", "e5", "-.", ".", "1.2.3", "nan")
    text = "\n".join([f"- {word}" for word in (*numbers, *words)])
    assert parse_yaml(text, "file") == [*numbers.values(), *words]


@pytest.mark.parametrize(
    "text, message",
    [
        ("[" * 100_000, "nested too deeply|no JSON"),
        ('{"a": 1, "a": 2}', "the key 'a' is there twice"),
        ('{"a": NaN}', "NaN is no number"),
        ("[Infinity]", "Infinity is no number"),
        ("9" * 5000, "cannot be read"),
        ("", "no JSON: .* in line 1"),
    ],
)
def test_json_is_bounded(text, message):
    with pytest.raises(ValueError, match=f"file.*({message})"):
        parse_json(text, "file")


def test_what_other_programs_write_may_hold_numbers_that_json_does_not_have(tmp_path):
    (tmp_path / "a.json").write_text('{"a": NaN, "b": 1, "b": 2}')
    content = read_json(tmp_path / "a.json", strict=False)
    assert math.isnan(content["a"]) and content["b"] == 2
    with pytest.raises(ValueError, match="a.json cannot be read: (NaN|the key 'b')"):
        read_json(tmp_path / "a.json")
    with pytest.raises(ValueError, match="file is no JSON: .* in line 1, column 2"):
        parse_json("[", "file", strict=False)


def test_values_as_they_come_back_from_a_file():
    assert json_form({1: (2, "x")}) == {"1": [2, "x"]}
    assert json_form([{1}], default=sorted) == [[1]]
