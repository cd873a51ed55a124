"""Docstrings are read into paragraphs and arguments."""

from __future__ import annotations

import pytest

from docs.docstrings import read_docstring, undocumented


class Documented:
    """
    First line
    goes on, see [`~hf_ltr.models.CentroidHead`].

    Second paragraph with `code`.

    Args:
        class_counts ([`ClassCounts`] or sequence of `int`): Counts.
        width (`int`, *optional*, defaults to 3): A meaning that
            goes on (with brackets): and a colon.
        low, high (`tuple[int, int]` of shape `(2,)`): Two at once.

    Raises:
        `ValueError`: for nothing.
    """

    def __init__(self, class_counts, width=3, low=0, high=1):
        pass


class Referring(Documented):
    """
    Args:
        width (`int`): See [`Documented`].
        gone (`int`): Not an option.
    """

    def __init__(self, width=3, new=1):
        pass


def test_docstrings_are_read():
    found = read_docstring(Documented)
    assert found.paragraphs == ["First line goes on, see `CentroidHead`.", "Second paragraph with `code`."]
    assert found.arguments == {
        "class_counts": "Counts.",
        "width": "A meaning that goes on (with brackets): and a colon.",
        "low": "Two at once.",
        "high": "Two at once.",
    }
    assert read_docstring(Referring, [Documented]).arguments["width"] == found.arguments["width"]
    assert undocumented(Documented) == []
    assert undocumented(Referring) == ["new", "-gone"]

    class Broken:
        """
        Args:
            width: no type.
        """

    with pytest.raises(ValueError, match="Broken.*width"):
        read_docstring(Broken)
