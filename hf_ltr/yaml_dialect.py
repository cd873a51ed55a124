"""
YAML as this package reads and writes it: the words of version 1.2, plain values alone, and bounds for what a few bytes
may become. [`~hf_ltr.reading`] imports it when there is a file to read, because importing yaml takes a while.
"""

from __future__ import annotations

import re
from typing import Any

import yaml
from yaml.composer import ComposerError

# Deeper than any option; Python's own readers end in a RecursionError near a thousand.
DEEPEST = 50
# Values of a file after its aliases (`*name`) are written out. Each level of anchors can multiply them.
MOST_VALUES = 100_000

_TAG = "tag:yaml.org,2002:"
# A tag that is not among them, such as `!!set`, has no constructor here and is refused.
_KEPT = {None, *(_TAG + name for name in ("null", "bool", "int", "float", "str", "seq", "map"))}
# Words of YAML 1.2 that are no text, and the letters they begin with. PyYAML reads YAML 1.1, where `010` is 8, `1:30`
# is 90 and `1e-3` is text; there are no dates here.
_WORDS = {
    "bool": (r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    "int": (r"^[-+]?(?:0|[1-9][0-9]*)$", "-+0123456789"),
    "float": (
        r"^[-+]?(?:(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.(?:inf|Inf|INF))$"
        r"|^\.(?:nan|NaN|NAN)$",
        "-+.0123456789",
    ),
}
_REPLACED = {_TAG + name for name in (*_WORDS, "timestamp")}


class Loader(yaml.SafeLoader):
    """`yaml.SafeLoader` with bounds."""

    yaml_constructors = {tag: made for tag, made in yaml.SafeLoader.yaml_constructors.items() if tag in _KEPT}
    yaml_implicit_resolvers = {
        letter: [(tag, pattern) for tag, pattern in resolvers if tag not in _REPLACED]
        for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, stream: Any):
        super().__init__(stream)
        self.depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.depth += 1
        if self.depth > DEEPEST:
            mark = self.peek_event().start_mark
            raise ComposerError(None, None, f"found more than {DEEPEST} levels of nesting", mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def get_single_node(self) -> Any:
        node = super().get_single_node()
        if node is not None:
            _count_values(node, {})
        return node


for _name, (_pattern, _letters) in _WORDS.items():
    Loader.add_implicit_resolver(_TAG + _name, re.compile(_pattern), list(_letters))


class Dumper(yaml.SafeDumper):
    """Quotes what [`Loader`] would take for something else than text."""

    yaml_implicit_resolvers = Loader.yaml_implicit_resolvers

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, data: str) -> Any:
        # Line breaks of Unicode are kept between double quotes alone.
        return self.represent_scalar(f"{_TAG}str", data, style=None if data.isprintable() else '"')


Dumper.add_representer(str, Dumper.represent_str)


def _count_values(node: Any, known: dict[int, int | None]) -> int:
    """How many values a node of YAML stands for, aliases written out; also refuses keys that are there twice."""
    number = known.get(id(node), 0)
    if number is None:
        raise ComposerError(None, None, "found an alias inside of what it stands for", node.start_mark)
    if number:
        return number
    known[id(node)], total = None, 1
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != f"{_TAG}merge":
                if key.value in seen:
                    problem = f"found the key {key.value!r} twice in the same place"
                    raise ComposerError(None, None, problem, key.start_mark)
                seen.add(key.value)
            total += _count_values(key, known) + _count_values(value, known)
    elif isinstance(node, yaml.SequenceNode):
        total += sum(_count_values(item, known) for item in node.value)
    if total > MOST_VALUES:
        problem = f"found aliases that stand for more than {MOST_VALUES:,} values"
        raise ComposerError(None, None, problem, node.start_mark)
    known[id(node)] = total
    return total
