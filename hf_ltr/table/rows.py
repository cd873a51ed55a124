"""
Which rows a table has: how one is written (a method, its options, what is done to its logits after training), several
written as one (the values of an option in braces), and sets of rows that a protocol names.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..methods import BASELINE, METHODS, LongTailMethod, get_method, with_preset
from ..naming import unknown_name
from ..validation import number, shown

POST_HOC = ("logit_adjustment",)
SET_PREFIX = "@"
# Of a row; also bounds how deep its parentheses are nested.
_LONGEST = 1_000
# Alternatives multiply: six pairs of ten would be a million rows.
_MOST_ROWS = 1_000
# A value in JSON's own braces is left alone: `{"a": 1}` and `{}`.
_ALTERNATIVES = re.compile(r'\{(?!\s*["}])')


@dataclass(frozen=True)
class MethodSpecification:
    """
    One row: `name`, `name:option=value,option=value`, each with `+logit_adjustment` or `+logit_adjustment:tau=1.5`
    behind it if wanted.

    The values of options that are methods themselves are names, or specifications in parentheses:
    `crt:representation=(focal:gamma=1)`. A name with a point is a training argument of one of the method's stages:
    `crt:classifier.learning_rate=0.01`.

    Args:
        name (`str`): In `METHODS`.
        options (`dict`): As given, with JSON types; a nested specification is a description for `get_method`.
        post_hoc (`str`, *optional*): What is done to the logits of the trained model, a name in `POST_HOC`.
        arguments (`dict`): By `stage.field`, training arguments of this row; they win over those of the protocol.
        tau (`float`, *optional*): Strength of the post-hoc adjustment; that of the protocol if unset.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    post_hoc: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    tau: float | None = None

    @classmethod
    def parse(cls, text: str) -> MethodSpecification:
        """
        Raises:
            `ValueError`: for an unknown method, option or form, with the nearest valid ones.
        """
        if not isinstance(text, str) or len(text) > _LONGEST:
            raise ValueError(
                f"A row is written name:option=value in at most {_LONGEST:,} characters, not {shown(text)}"
            )
        body, plus, written = text.strip().rpartition("+") if "+" in _outside(text) else (text.strip(), "", "")
        after, tau = _post_hoc(written, text) if plus else (None, None)
        name, _, rest = body.partition(":")
        name = name.strip().replace("-", "_")
        if name not in METHODS:
            hint = "Rows are separated by spaces. " if name.partition(",")[0] in METHODS else ""
            raise unknown_name("method", name, METHODS, f"{hint}See `hf-ltr list`.")
        options: dict[str, Any] = {}
        arguments: dict[str, Any] = {}
        for part in filter(None, _parts(rest)):
            option, equals, value = part.partition("=")
            if not equals or not option.strip():
                raise ValueError(f"{text!r}: options are written name:option=value,option=value; {part!r} is not one")
            option = option.strip()
            if option in options or option in arguments:
                raise ValueError(f"{text!r} gives {option} twice")
            value = value.strip()
            if "." in option:
                arguments[option] = _value(option, value)
            else:
                options[option] = _part(option, value) if option in METHODS[name].part_names else _value(option, value)
        return cls(name, dict(sorted(options.items())), after, dict(sorted(arguments.items())), tau)

    @property
    def trained(self) -> MethodSpecification:
        """The row whose weights this one uses: itself without what is done after training."""
        return MethodSpecification(self.name, self.options, arguments=self.arguments)

    def without(self, option: str) -> MethodSpecification:
        """The row without an option, a training argument or `tau`."""
        options, arguments = (
            {name: value for name, value in values.items() if name != option}
            for values in (self.options, self.arguments)
        )
        return dataclasses.replace(
            self, options=options, arguments=arguments, tau=None if option == "tau" and self.post_hoc else self.tau
        )

    @property
    def label(self) -> str:
        """The one way this row is written; names results and folders."""
        options = ",".join(f"{name}={_text(value)}" for name, value in (self.options | self.arguments).items())
        behind = f"+{self.post_hoc}" if self.post_hoc else ""
        tau = "" if self.tau is None else f":tau={_text(self.tau)}"
        return f"{self.name}{f':{options}' if options else ''}{behind}{tau}"

    @property
    def file_name(self) -> str:
        """`label` as part of a file name on any system."""
        return re.sub(r"[^A-Za-z0-9_.=,+-]", "-", self.label)

    def build(self, class_counts: Any, defaults: dict[str, Any] | None = None) -> LongTailMethod:
        """
        The method, through `get_method`.

        Args:
            class_counts ([`ClassCounts`]): Of the training split.
            defaults (`dict`, *optional*): Options of the protocol for this method; the row's own win, those of its
                preset included.
        """
        own = {**with_preset(self.name, defaults or {}), **with_preset(self.name, self.options)}
        return get_method(self.name, class_counts=class_counts, **own)


def expand_rows(
    rows: Sequence[str | MethodSpecification], sets: Mapping[str, Sequence[str]], where: str
) -> list[MethodSpecification]:
    """
    The rows that are meant, in order.

    Args:
        rows (sequence of `str` or [`MethodSpecification`]): As in [`MethodSpecification.parse`], with alternatives in
            braces (see [`expand_braces`]), or `@name` for a set of rows. A row of a set that is there already is left
            out; what is written twice otherwise stays twice, and is refused by [`Table`].
        sets (`dict[str, list[str]]`): Of a protocol, by name.
        where (`str`): Whose sets they are, for messages.

    Raises:
        `ValueError`: for an unknown set, with the nearest names, and for a row that cannot be read.

    Example:

    ```python
    >>> [row.label for row in expand_rows(["crt", "mem:width={32,64}"], {}, "mine")]
    ['crt', 'mem:width=32', 'mem:width=64']
    ```
    """
    found: list[MethodSpecification] = []
    of_sets: set[str] = set()
    for row in rows:
        if isinstance(row, MethodSpecification):
            found.append(row)
            continue
        name = row.strip().removeprefix(SET_PREFIX)
        if name == row.strip():
            found += [one for one in parse_rows([row]) if one.label not in of_sets]
            continue
        if name not in sets:
            raise unknown_name(f"set of rows in {where}", name, sets)
        present = {one.label for one in found}
        added = [one for one in parse_rows(sets[name]) if one.label not in present]
        of_sets |= {one.label for one in added}
        found += added
    return found


def parse_rows(texts: Sequence[str]) -> list[MethodSpecification]:
    """Rows with alternatives in braces, read one by one."""
    return [MethodSpecification.parse(text) for row in texts for text in expand_braces(row)]


def checked_row_sets(sets: Any, where: str) -> dict[str, list[str]]:
    """
    The key `rows` of a protocol: lists of rows by name.

    Args:
        sets (`dict[str, list[str]]`): As written.
        where (`str`): The protocol, for messages.

    Raises:
        `ValueError`: for another form, a row that cannot be read, one that is in a set twice, or a set in a set.
    """
    if not isinstance(sets, Mapping):
        raise ValueError(f"{where}, rows must hold lists of rows by name, got {sets!r}")
    for name, rows in sets.items():
        place = f"{where}, rows, {name}"
        if not isinstance(rows, list) or not rows or not all(isinstance(row, str) for row in rows):
            raise ValueError(f"{place} must be a list of rows such as 'mem' and 'mem:width={{32,64}}', got {rows!r}")
        if any(row.strip().startswith(SET_PREFIX) for row in rows):
            raise ValueError(f"{place}: a set of rows cannot hold another set")
        try:
            labels = [row.label for row in parse_rows(rows)]
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from error
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise ValueError(f"{place} has {', '.join(twice)} more than once")
    return {str(name): list(rows) for name, rows in sets.items()}


def default_baseline(labels: Sequence[str]) -> str:
    """The row that others are compared with where nobody says which: plain training if it is among them."""
    return BASELINE if BASELINE in labels else labels[0]


def find_baseline(text: str, rows: Sequence[MethodSpecification]) -> str:
    """
    The label of the row that is meant by a baseline.

    Args:
        text (`str`): A row as it is written, or its name and as many of its options as tell it from the others.
        rows (sequence of [`MethodSpecification`]).

    Raises:
        `ValueError`: if it is none of the rows, or could be several of them.
    """
    wanted, labels = MethodSpecification.parse(text), [row.label for row in rows]
    if wanted.label in labels:
        return wanted.label
    meant = [
        row.label
        for row in rows
        if (row.name, row.post_hoc) == (wanted.name, wanted.post_hoc)
        and wanted.tau in (None, row.tau)
        and wanted.options.items() <= row.options.items()
        and wanted.arguments.items() <= row.arguments.items()
    ]
    if len(meant) > 1:
        raise ValueError(f"The baseline {text!r} could be {' or '.join(meant)}; write it as the row is written")
    if not meant:
        raise unknown_name("baseline", wanted.label, labels, "It must be one of the rows.")
    return meant[0]


def expand_braces(text: str) -> list[str]:
    """
    Every way to choose one of the alternatives in each pair of braces, as a shell expands them: the last pair changes
    fastest. Commas in brackets belong to an alternative; braces of a JSON object are none.

    Raises:
        `ValueError`: for a brace without its partner, or an empty alternative.

    Example:

    ```python
    >>> expand_braces("mem:width={32,64}")
    ['mem:width=32', 'mem:width=64']
    ```
    """
    rows = _expand_braces(text)
    if len(rows) > _MOST_ROWS:
        raise ValueError(f"The braces of {text[:80]!r} stand for more than {_MOST_ROWS:,} rows")
    return rows


def _expand_braces(text: str) -> list[str]:
    start = _next_alternatives(text)
    if start is None:
        return [text]
    end = _closing(text, start)
    parts = _parts(text[start + 1 : end])
    if not all(parts):
        raise ValueError(f"{text!r} has an empty alternative in its braces")
    rows: list[str] = []
    for part in parts:
        rows += _expand_braces(text[:start] + part + text[end + 1 :])
        if len(rows) > _MOST_ROWS:
            break
    return rows


def _next_alternatives(text: str) -> int | None:
    """Where the first pair of braces opens that is not a JSON object."""
    position = 0
    while (opening := text.find("{", position)) >= 0:
        if _ALTERNATIVES.match(text, opening):
            return opening
        position = _closing(text, opening) + 1
    if "}" in text[position:]:
        raise ValueError(f"{text!r} has a brace that is not opened")
    return None


def _closing(text: str, opening: int) -> int:
    depth = 0
    for position in range(opening, len(text)):
        depth += (text[position] == "{") - (text[position] == "}")
        if depth == 0:
            return position
    raise ValueError(f"{text!r} has a brace that is not closed")


def _outside(text: str) -> str:
    """`text` without what stands in parentheses, brackets and braces."""
    depth, kept = 0, []
    for character in text:
        depth += character in "([{"
        kept.append(character if depth == 0 else " ")
        depth -= character in ")]}"
    return "".join(kept)


def _parts(text: str) -> list[str]:
    """`text` cut at the commas that stand outside parentheses, brackets and braces."""
    outside, parts, start = _outside(text), [], 0
    for position, character in enumerate(outside):
        if character == ",":
            parts.append(text[start:position].strip())
            start = position + 1
    return [*parts, text[start:].strip()]


def _part(option: str, text: str) -> str | dict[str, Any]:
    """A method inside the method of a row, as `get_method` takes it."""
    nested = text[1:-1] if text.startswith("(") and text.endswith(")") else text
    inner = MethodSpecification.parse(nested)
    if inner.post_hoc:
        raise ValueError(f"{option}={text}: what is done after training belongs behind the whole row")
    if inner.arguments:
        raise ValueError(
            f"{option}={text}: training arguments of a stage ({', '.join(inner.arguments)}) belong to the whole row, "
            "outside the parentheses"
        )
    return inner.name if not inner.options else {"name": inner.name, "options": inner.options}


def _post_hoc(written: str, row: str) -> tuple[str, float | None]:
    """What is done after training, and its tau where the row gives one."""
    name, _, rest = (part.strip() for part in written.partition(":"))
    if name not in POST_HOC:
        raise unknown_name(f"post-hoc adjustment of {row!r}", name, POST_HOC)
    tau = None
    for part in filter(None, _parts(rest)):
        option, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise ValueError(f"{row!r}: options are written +{name}:tau=value; {part!r} is not one")
        if option != "tau":
            raise unknown_name(f"option of {name} in {row!r}", option, ("tau",))
        if tau is not None:
            raise ValueError(f"{row!r} gives tau of {name} twice")
        tau = number(f"tau of {name} in {row!r}", _value(option, value), minimum=0)
    return name, tau


def _value(option: str, text: str) -> Any:
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
