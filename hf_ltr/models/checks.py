"""Checks of values (`hf_ltr.validation`), also where the files of this folder were copied into a model repository."""

from __future__ import annotations

try:
    from hf_ltr.validation import flag, mapping, number, plain, sequence, shown, text, whole_number
except ImportError:  # copied next to a checkpoint with `register_for_auto_class`, without the package installed

    def _unchecked(name, value, **bounds):
        """The package checked the config when it wrote it."""
        return value

    flag = number = text = whole_number = _unchecked
    shown = repr

    def plain(value):
        """The same value."""
        return value

    def mapping(name, value):
        """A dict."""
        return dict(value)

    def sequence(name, value):
        """A list."""
        return list(value)


__all__ = ["flag", "mapping", "number", "plain", "sequence", "shown", "text", "whole_number"]
