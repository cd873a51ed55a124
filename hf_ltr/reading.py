"""
YAML and JSON files that somebody wrote, read as data: one `ValueError` that names the file for whatever is wrong with
them, and bounds for what a few bytes may become.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

# Options and protocols have a few thousand characters.
LARGEST_YAML = 1_000_000
LARGEST_JSON = 200_000_000
# Deeper than any option; Python's own readers end in a RecursionError near a thousand.
DEEPEST = 50
# Values of a file after its aliases (`*name`) are written out. Each level of anchors can multiply them.
MOST_VALUES = 100_000

_TAG = "tag:yaml.org,2002:"
# Words of YAML 1.2 that are no text, and the letters they begin with. PyYAML reads YAML 1.1, where `010` is 8, `1:30`
# is 90 and `1e-3` is text.
_WORDS = {
    "bool": (r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    "int": (r"^[-+]?(?:0|[1-9][0-9]*)$", "-+0123456789"),
    "float": (
        r"^[-+]?(?:(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.(?:inf|Inf|INF))$"
        r"|^\.(?:nan|NaN|NAN)$",
        "-+.0123456789",
    ),
}


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
    """
    Raises:
        `ValueError`: with the line whose bytes are no UTF-8.
    """
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
    """
    `value` as it comes back from a file of JSON.

    Args:
        value: Of types that JSON has, tuples among them.
        default (`Callable`, *optional*): What others are written as.
    """
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

    if len(text) > LARGEST_YAML:
        raise ValueError(f"{where} has {len(text):,} characters, and at most {LARGEST_YAML:,} are read of such a file")
    try:
        content = yaml.load(text, Loader=_loader())
    except yaml.YAMLError as error:
        raise ValueError(f"{where} is not YAML: {' '.join(str(error).split())}") from error
    except (ValueError, OverflowError, TypeError, AttributeError, LookupError, RecursionError) as error:
        # Of its constructors: numbers with thousands of digits, dates that do not exist.
        raise ValueError(f"{where} is not YAML: {' '.join(str(error).split()) or type(error).__name__}") from None
    return content


def yaml_text(content: Any) -> str:
    """Plain values as YAML that [`parse_yaml`] reads as the same values."""
    import yaml

    return yaml.dump(content, Dumper=_dumper(), sort_keys=False, allow_unicode=True, width=119)


@cache
def _loader() -> Any:
    """Made when it is needed: importing yaml takes a while."""
    import re

    import yaml

    class Loader(yaml.SafeLoader):
        """`yaml.SafeLoader` with bounds."""

        def __init__(self, stream: Any):
            super().__init__(stream)
            self.depth = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            self.depth += 1
            if self.depth > DEEPEST:
                mark = self.peek_event().start_mark
                raise yaml.composer.ComposerError(None, None, f"found more than {DEEPEST} levels of nesting", mark)
            node = super().compose_node(parent, index)
            self.depth -= 1
            return node

        def get_single_node(self) -> Any:
            node = super().get_single_node()
            if node is not None:
                _values(node, {})
            return node

    # A tag that is left, such as `!!set`, has no constructor here and is refused.
    kept = ("null", "bool", "int", "float", "str", "seq", "map")
    tags = {_TAG + name for name in kept} | {None}
    Loader.yaml_constructors = {tag: made for tag, made in yaml.SafeLoader.yaml_constructors.items() if tag in tags}
    Loader.yaml_implicit_resolvers = {
        letter: [
            (tag, pattern)
            for tag, pattern in resolvers
            if tag.removeprefix(_TAG) not in ("bool", "int", "float", "timestamp")
        ]
        for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    for name, (pattern, first) in _WORDS.items():
        Loader.add_implicit_resolver(_TAG + name, re.compile(pattern), list(first))
    return Loader


@cache
def _dumper() -> Any:
    import yaml

    class Dumper(yaml.SafeDumper):
        """Quotes what the reader would take for something else than text."""

        yaml_implicit_resolvers = _loader().yaml_implicit_resolvers

        def ignore_aliases(self, data: Any) -> bool:
            return True

        def represent_str(self, data: str) -> Any:
            # Line breaks of Unicode are kept between double quotes alone.
            return self.represent_scalar(f"{_TAG}str", data, style=None if data.isprintable() else '"')

    Dumper.add_representer(str, Dumper.represent_str)
    return Dumper


def _values(node: Any, known: dict[int, int | None]) -> int:
    """How many values a node of YAML stands for, aliases written out; also refuses keys that are there twice."""
    import yaml

    number = known.get(id(node), 0)
    if number is None:
        raise yaml.composer.ComposerError(None, None, "found an alias inside of what it stands for", node.start_mark)
    if number:
        return number
    known[id(node)], total = None, 1
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != f"{_TAG}merge":
                if key.value in seen:
                    raise yaml.composer.ComposerError(
                        None, None, f"found the key {key.value!r} twice in the same place", key.start_mark
                    )
                seen.add(key.value)
            total += _values(key, known) + _values(value, known)
    elif isinstance(node, yaml.SequenceNode):
        total += sum(_values(item, known) for item in node.value)
    if total > MOST_VALUES:
        raise yaml.composer.ComposerError(
            None, None, f"found aliases that stand for more than {MOST_VALUES:,} values", node.start_mark
        )
    known[id(node)] = total
    return total
