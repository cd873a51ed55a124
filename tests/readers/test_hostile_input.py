"""
Input that no one would write, by hypothesis: few examples of every reader in the default suite, many of the same under
the mark `slow`. The examples are the same in every run.
"""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hf_ltr.methods import METHODS

from . import properties as p

FEW = settings(
    max_examples=25, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
MANY = settings(FEW, max_examples=500)

PUBLISHED = "method dataset imbalance_factor backbone combined_with epochs augmentation source test_shift".split()
WORDS = st.one_of(
    st.sampled_from(
        ["--learning_rate", "--dataset=digits", "--imbalance_factor", "--backbone_kwargs", "--augmentation"]
    ),
    st.sampled_from(["nan", "[1,", '{"a": NaN}', "[" * 2000, "9" * 5000, "--", "--=", "-1e999", "\ud800", "--seed.x"]),
    st.text(max_size=5),
)
# Property and its examples; a `folder` for those that read a file.
READERS = {
    "options": (p.check_options_file, [p.mutated(p.OPTIONS)], True),
    "command line": (p.check_command_line, [st.lists(WORDS, max_size=5)], False),
    "protocol": (p.check_protocol, [p.mutated(p.PROTOCOL)], True),
    "list": (p.check_list, [p.mutated(p.LIST)], True),
    "annotations": (p.check_annotations, [p.mutated(p.ANNOTATIONS)], True),
    "categories": (p.check_categories, [p.mutated(p.CATEGORIES)], True),
    "class counts": (p.check_class_counts, [p.ANYTHING] * 4, False),
    "config": (p.check_config, [p.CONFIGS], False),
    "description": (p.check_description, [p.ANYTHING], False),
    "published": (p.check_published, [p.some_of(PUBLISHED)], False),
    "arguments": (p.check_arguments, [p.some_of(p.ARGUMENTS)], True),
}


def run(reader: str, amount: settings, folder) -> None:
    check, examples, reads_file = READERS[reader]
    amount(given(st.tuples(*examples))(lambda values: check(*([folder] if reads_file else []), *values)))()


@pytest.mark.parametrize("reader", READERS)
def test_it_is_read_or_one_sentence_says_why_not(reader, tmp_path):
    run(reader, FEW, tmp_path)


@pytest.mark.parametrize("name", METHODS)
def test_options_of_every_method(name):
    settings(FEW, max_examples=10)(given(p.method_options(name))(lambda options: p.check_method(name, options)))()


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
def test_it_is_read_or_one_sentence_says_why_not_often(reader, tmp_path):
    run(reader, MANY, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_options_of_every_method_often(name):
    settings(MANY, max_examples=300)(given(p.method_options(name))(lambda options: p.check_method(name, options)))()


FILES = {
    "options": (p.check_options_file, p.OPTIONS),
    "protocol": (p.check_protocol, p.PROTOCOL),
    "list": (p.check_list, p.LIST),
    "annotations": (p.check_annotations, p.ANNOTATIONS),
    "categories": (p.check_categories, p.CATEGORIES),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_random_bytes_in_files(name, tmp_path):
    """A mutation fuzzer without any idea of a format: bytes flipped, cut, moved and doubled."""
    check, valid = FILES[name]
    generator = random.Random(name)
    for _ in range(3000):
        content = bytearray(valid)
        for _ in range(generator.randint(1, 6)):
            place, length = generator.randrange(len(content) + 1), generator.randint(0, 20)
            kind = generator.randrange(4)
            if kind == 0 and content:
                content[min(place, len(content) - 1)] = generator.randrange(256)
            elif kind == 1:
                del content[place : place + length]
            elif kind == 2:
                content[place:place] = content[length : 2 * length]
            else:
                content[place:place] = generator.randbytes(generator.randint(1, 4))
        check(tmp_path, bytes(content))
