"""
YAML and JSON files that somebody wrote, read as data: one `ValueError` that names the file for whatever is wrong with
them, and bounds for what a few bytes may become.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Options and protocols have a few thousand characters.
LARGEST_YAML = 1_000_000
LARGEST_JSON = 200_000_000


def read_text(path: str | Path, largest: int = LARGEST_YAML) -> str:
    """
    The text of a UTF-8 file.

    Raises:
        `ValueError`: for a file that is too large, or with the line whose bytes are no UTF-8.
    """
    path = Path(path)
    size = path.stat().st_size
    if size > largest:
        raise ValueError(
            f"{path} has {size:,} bytes, and at most {largest:,} are read of such a file; is it another one?"
        )
    return decoded(path.read_bytes(), str(path))


def decoded(content: bytes | bytearray, where: str) -> str:
    """UTF-8 as text; a `ValueError` says in which line of `where` bytes are none."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = bytes(content).count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{where}, line {line}: byte {content[error.start]:#04x} is no UTF-8 text; save the file as UTF-8"
        ) from None


def parse_json(text: str, where: str, *, strict: bool = True) -> Any:
    """
    Args:
        text (`str`).
        where (`str`): What the text is of, for messages.
        strict (`bool`, defaults to `True`): Refuse NaN and infinity, which JSON does not have, and a key that is there
            twice; what other programs write may hold them where nobody looks.

    Raises:
        `ValueError`: naming `where`, for what is no JSON, or lists in lists deeper than Python reads.
    """
    hooks: dict[str, Any] = {"parse_constant": _no_number, "object_pairs_hook": _distinct} if strict else {}
    try:
        return json.loads(text, **hooks)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where} is no JSON: {error.msg} in line {error.lineno}, column {error.colno}") from None
    except ValueError as error:
        raise ValueError(f"{where} cannot be read: {error}") from None
    except RecursionError:
        raise ValueError(f"{where} cannot be read: its lists and objects are nested too deeply") from None


def read_json(path: str | Path, where: str | None = None, *, strict: bool = True) -> Any:
    """A JSON file, see [`parse_json`]; in messages about its content it is called by its path."""
    return parse_json(read_text(path, LARGEST_JSON), where or str(path), strict=strict)


def read_yaml(path: str | Path) -> Any:
    """A YAML file, see [`parse_yaml`]."""
    return parse_yaml(read_text(path), str(path))


def json_form(value: Any, default: Callable[[Any], Any] | None = None) -> Any:
    """`value` as it comes back from a file of JSON; `default` says what other types than JSON's are written as."""
    return json.loads(json.dumps(value, default=default))


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no number")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {twice!r} is there twice")
    return content


def parse_yaml(text: str, where: str) -> Any:
    """
    YAML 1.2 in what matters here: only `true` and `false` are booleans, so that `no` stays a word; `1e-3` is a number;
    dates, times (`12:30`) and digits behind a zero (`007`) are words.

    Args:
        text (`str`).
        where (`str`): What the text is of, for messages.

    Returns:
        Plain values: dicts, lists, text, numbers, booleans, `None`.

    Raises:
        `ValueError`: naming `where`, for what is no YAML, a key that is there twice, tags (`!!set`), and aliases that
            name themselves or stand for more than `MOST_VALUES` values.
    """
    import yaml

    from .yaml_dialect import Loader

    if len(text) > LARGEST_YAML:
        raise ValueError(f"{where} has {len(text):,} characters, and at most {LARGEST_YAML:,} are read of such a file")
    try:
        return yaml.load(text, Loader=Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"{where} is not YAML: {' '.join(str(error).split())}") from error
    except (ValueError, OverflowError, TypeError, AttributeError, LookupError, RecursionError) as error:
        # Of its constructors: numbers with thousands of digits, dates that do not exist.
        raise ValueError(f"{where} is not YAML: {' '.join(str(error).split()) or type(error).__name__}") from None


def yaml_text(content: Any) -> str:
    """Plain values as YAML that [`parse_yaml`] reads as the same values."""
    import yaml

    from .yaml_dialect import Dumper

    return yaml.dump(content, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=119)
