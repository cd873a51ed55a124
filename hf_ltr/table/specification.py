"""How a row of the table is written: a method, its options, and what is done to its logits after training."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from ..naming import unknown_name
from ..validation import number, shown

POST_HOC = ("logit_adjustment",)
_ROLES = ("base", "representation")
# Of a row; also bounds how deep its parentheses are nested.
_LONGEST = 1_000


@dataclass(frozen=True)
class MethodSpecification:
    """
    One row: `name`, `name:option=value,option=value`, each with `+logit_adjustment` behind it if wanted.

    The values of `base` and `representation` are names, or specifications in parentheses:
    `crt:representation=(focal:gamma=1)`.

    Args:
        name (`str`): In `METHODS`.
        options (`dict`): As given, with JSON types; a nested specification is a description for `get_method`.
        post_hoc (`str`, *optional*): What is done to the logits of the trained model, a name in `POST_HOC`.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    post_hoc: str | None = None

    @classmethod
    def parse(cls, text: str) -> MethodSpecification:
        """
        Raises:
            `ValueError`: for an unknown method, option or form, with the nearest valid ones.
        """
        from ..methods import METHODS

        if not isinstance(text, str) or len(text) > _LONGEST:
            raise ValueError(
                f"A row is written name:option=value in at most {_LONGEST:,} characters, not {shown(text)}"
            )
        body, plus, post_hoc = text.strip().rpartition("+") if "+" in _outside(text) else (text.strip(), "", "")
        if plus and post_hoc not in POST_HOC:
            raise unknown_name(f"post-hoc adjustment of {text!r}", post_hoc, POST_HOC)
        name, _, rest = body.partition(":")
        name = name.strip().replace("-", "_")
        if name not in METHODS:
            hint = "Rows are separated by spaces. " if name.partition(",")[0] in METHODS else ""
            raise unknown_name("method", name, METHODS, f"{hint}See `hf-ltr list`.")
        options: dict[str, Any] = {}
        for part in _split(rest):
            option, equals, value = part.partition("=")
            if not equals or not option.strip():
                raise ValueError(f"{text!r}: options are written name:option=value,option=value; {part!r} is not one")
            option = option.strip()
            if option in options:
                raise ValueError(f"{text!r} gives {option} twice")
            options[option] = _value(option, value.strip())
        return cls(name, dict(sorted(options.items())), post_hoc or None)

    @property
    def trained(self) -> MethodSpecification:
        """The row whose weights this one uses: itself without what is done after training."""
        return MethodSpecification(self.name, self.options)

    @property
    def label(self) -> str:
        """The one way this row is written; names results and folders."""
        options = ",".join(f"{name}={_text(value)}" for name, value in self.options.items())
        return f"{self.name}{f':{options}' if options else ''}{f'+{self.post_hoc}' if self.post_hoc else ''}"

    @property
    def file_name(self) -> str:
        """`label` as part of a file name on any system."""
        return re.sub(r"[^A-Za-z0-9_.=,+-]", "-", self.label)

    def build(self, class_counts: Any, defaults: dict[str, Any] | None = None) -> Any:
        """
        The method, through `get_method`.

        Args:
            class_counts ([`ClassCounts`]): Of the training split.
            defaults (`dict`, *optional*): Options of the protocol for this method; the row's own win.
        """
        from ..methods import get_method

        return get_method(self.name, class_counts=class_counts, **{**(defaults or {}), **self.options})


def _outside(text: str) -> str:
    """`text` without what stands in parentheses, brackets and braces."""
    depth, kept = 0, []
    for character in text:
        depth += character in "([{"
        kept.append(character if depth == 0 else " ")
        depth -= character in ")]}"
    return "".join(kept)


def _split(text: str) -> list[str]:
    """At commas that stand outside parentheses, brackets and braces."""
    outside, parts, start = _outside(text), [], 0
    for position, character in enumerate(outside):
        if character == ",":
            parts.append(text[start:position])
            start = position + 1
    parts.append(text[start:])
    return [part.strip() for part in parts if part.strip()]


def _value(option: str, text: str) -> Any:
    if option in _ROLES:
        nested = text[1:-1] if text.startswith("(") and text.endswith(")") else text
        inner = MethodSpecification.parse(nested)
        if inner.post_hoc:
            raise ValueError(f"{option}={text}: what is done after training belongs behind the whole row")
        return inner.name if not inner.options else {"name": inner.name, "options": inner.options}
    if text.lower() in ("none", "null"):
        return None
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if isinstance(value, float):
        number(option, value)
    return value


def _text(value: Any) -> str:
    if isinstance(value, dict) and "name" in value:
        return f"({MethodSpecification(value['name'], value.get('options', {})).label})"
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
