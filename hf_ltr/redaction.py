"""
What may leave this machine: secrets are hidden, and a place on it is called by its last folder alone.

Cards, commands, JSON, logs and pickled arguments all pass through here. A secret is known by the name of its option
(`--hub_token`, `"api_key": ...`), by its form (`hf_...`, `https://user:password@host`), and from then on by its value,
wherever else in the process it turns up. What only describes a model or a column is none: booleans, counts
(`num_tokens`), and names such as `class_token`, `mask_token` or `label_key`.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

HIDDEN = "<hidden>"

_ALWAYS_SECRET = re.compile(r"passw|passphrase|pwd|secret(?!ar)|credential|authorization")
_TOKENS = re.compile(r"token(?!i[sz])")
_KEYS = re.compile(r"^(?:api|access|private|auth|ssh|hub|hf|account|signing|encryption|wandb)?keys?$")
# Beside one of these words a token or a key is part of a model or of a table, not somebody's.
_OF_MODELS_AND_TABLES = frozenset(
    "mask cls class pad reg register dist distillation prefix patch image label labels column sort row embed "
    "embedding pos dim size num number count max min pool pooling merge merging mixer mixing drop dropout rate ratio "
    "average length per layer keep init std".split()
)
_PLAIN_WORDS = frozenset(("", "true", "false", "none", "null", "yes", "no", "on", "off"))

_FORMS = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{16,}|api_org_[A-Za-z0-9]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}"
    r"|glpat-[\w-]{16,}|sk-(?=[\w-]*\d)[\w-]{20,}|xox[abprs]-[\w-]{10,}|AKIA[0-9A-Z]{16})\b"
)
# Not the bearer of a name: a token has digits.
_BEARER = re.compile(r"(?<=\bbearer )(?=\S*\d)\S{6,}", re.IGNORECASE)
_IN_URL = re.compile(r"(?<=://)[^/\s@'\"]+(?=@)")
_NAMED = re.compile(r"""(?<![\w.-])(-*[A-Za-z][\w.-]*)(["']?\s*=\s*["']?)([^\s,;"'}\])]+)""")
# In a command, YAML and JSON too.
_NAMED_OR_LISTED = re.compile(r"""(?<![\w.-])(-*[A-Za-z][\w.-]*)(["']?\s*[=:]\s*["']?)([^\s,;"'}\])]+)""")
# A value that is too short to be looked for in other texts without hiding what is no secret.
_SHORTEST = 6
# The name of a model, data set or row, as a variable or a class may have it: words and short numbers.
_NAME_LIKE = re.compile(r"[A-Za-z]*\d{0,4}(?:[\s_./-][A-Za-z]*\d{0,4})*")
_SHORTEST_OF_ENVIRONMENT = 16
_OF_THE_HUB = frozenset(("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY"))

_DRIVE = re.compile(r"^(?:[A-Za-z]:[\\/]|\\\\|\.{1,2}\\|~\\)")
# Inside a text; one part behind a slash may be anything (`</b>`), two are a path.
_INSIDE = r"[^\s,;:=|<>\"'(){}\[\]]"
_EMBEDDED_PATH = re.compile(
    rf"(?<![\w./~\\])(?!//)(?:file:/{{1,3}}|~\w*/|\.{{1,2}}/|/(?=[^/\s<>]+/)|[A-Za-z]:[\\/])(?:{_INSIDE}*(?!\.){_INSIDE})"
)
# Options whose value is a place, also where it does not look like one.
_PLACES = frozenset("dataset dir folder path file files start checkpoint config output protocol processor".split())

_known: set[str] = set()


def words_of(name: str) -> list[str]:
    """The words of an option's name, lower case: `--data.apiKey` has `data`, `api`, `key`."""
    parts = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name)
    return [word for word in re.split(r"[^A-Za-z0-9]+", parts.lower()) if word]


def is_secret(name: str, value: Any = HIDDEN) -> bool:
    """
    Whether an option of this name and value is somebody's secret.

    Args:
        name (`str`): Of an option, with its dashes and section or without.
        value: Booleans, fractions, absent values and counts of tokens are none.
    """
    if value is None or isinstance(value, bool | float) or (isinstance(value, str) and value.lower() in _PLAIN_WORDS):
        return False
    words = words_of(name)
    if any(_ALWAYS_SECRET.search(word) for word in words):
        return True
    if _OF_MODELS_AND_TABLES.intersection(words):
        return False
    number = isinstance(value, int | float) or (isinstance(value, str) and re.fullmatch(r"[\d.]{1,6}", value))
    return any(_TOKENS.search(word) or _KEYS.match(word) for word in words) and not (
        number and words[-1].endswith("s")
    )


def remember_secret(value: Any) -> None:
    """From now on `value`, text or nested values of text, is hidden wherever it turns up."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple | set):
        for item in value:
            remember_secret(item)
    elif isinstance(value, str) and len(value.strip()) >= _SHORTEST and value != HIDDEN:
        _known.add(value.strip())


def without_secrets(text: str) -> str:
    """`text` without values that are known, or look, to be secret."""
    environment = tuple(sorted(os.environ.items()))
    known = {written for value in _known | _secrets_in(environment) for written in (value, json.dumps(value)[1:-1])}
    forms = [_FORMS, _IN_URL, _BEARER, *(re.compile(re.escape(value)) for value in known)]
    # All found before any is hidden: one secret may be a part of another.
    spans = sorted(match.span() for form in forms for match in form.finditer(text))
    parts, end = [], 0
    for start, stop in spans:
        if start >= end:
            parts += [text[end:start], HIDDEN]
        end = max(end, stop)
    return "".join((*parts, text[end:]))


def is_place(text: str) -> bool:
    """Whether `text` has the form of a path on somebody's machine, whatever lies there."""
    return (
        text in (".", "..", "~")
        or text.startswith(("/", "./", "../", "~/", "file:/"))
        or bool(_DRIVE.match(text) or re.match(r"^~\w+/", text) or "/../" in text or text.endswith("/.."))
    )


def name_of_place(place: str | Path) -> str:
    """
    What others may read of a place: the last part of a path on this machine; other text (a Hub id, a URL, the name of
    an embedded data set) as it is.
    """
    text = without_secrets(str(place))
    if "://" in text and not text.startswith("file:"):
        return _NAMED.sub(_hide_named, text)  # `?token=...`
    local = is_place(text) or "\\" in text or text.rstrip("/").count("/") > 1
    if not local and "/" in text:
        try:
            local = Path(text).exists()
        except OSError:
            local = False
    return _last_part(text) if local else text


def public(value: Any, name: str = "") -> Any:
    """
    A copy of nested values that may be published: secrets hidden, places by their name.

    Args:
        value: Of any type; `dict`, `list`, `tuple`, `str` and `Path` are looked into, others are kept.
        name (`str`, *optional*): Of the option that has this value.
    """
    if name and is_secret(name, value):
        remember_secret(value)
        return HIDDEN
    if isinstance(value, Mapping):
        # Secrets first: what is known as one of them is hidden in the values before it too.
        for key, item in value.items():
            if isinstance(key, str) and is_secret(key, item):
                remember_secret(item)
        return {
            without_secrets(key) if isinstance(key, str) else key: public(item, key if isinstance(key, str) else "")
            for key, item in value.items()
        }
    if type(value) in (list, tuple):
        return type(value)(public(item, name) for item in value)
    if isinstance(value, Path):
        return name_of_place(value)
    if isinstance(value, str):
        return _public_text(value, name)
    return value


def public_command(program: Sequence[str], argv: Sequence[str]) -> str:
    """
    A command line as others may read and, with their own folders, repeat it.

    Args:
        program (sequence of `str`): What is started; a script by its place in the checkout.
        argv (sequence of `str`): `--name value ...`, `--name=value`, JSON and `key=value` among the values.
    """
    pairs: list[tuple[str, str, str | None]] = []
    name = ""
    for word in argv:
        if word.startswith("--"):
            name, equals, given = word.partition("=")
            pairs.append((name, f"{name}{equals}", given if equals else None))
        else:
            pairs.append((name, "", word))
    for option, _, value in pairs:
        if value is not None and is_secret(option, value):
            remember_secret(value)
    shown = [f"{prefix}{'' if value is None else _argument(option, value)}" for option, prefix, value in pairs]
    return without_secrets(shlex.join([*(_script(word) for word in program), *shown]))


def _argument(name: str, value: str, inside: bool = False) -> str:
    if is_secret(name, value):
        return HIDDEN
    if value.lstrip().startswith(("{", "[")):
        try:
            content = json.loads(value)
        except (ValueError, RecursionError):
            return _public_text(_NAMED_OR_LISTED.sub(_hide_named, value), "")
        shown = public(content, name)
        return value if shown == content else json.dumps(shown)
    key, equals, rest = value.partition("=")
    if equals and not inside and re.fullmatch(r"[\w.-]+", key):
        return f"{key}={_argument(key, rest, inside=True)}"
    return _public_text(_NAMED_OR_LISTED.sub(_hide_named, value), name)


def _public_text(text: str, name: str) -> str:
    if text.startswith("path/to/"):
        return text  # somebody's place already, as in the documentation
    checkout = _in_recipes(text)
    if checkout is not None:
        return checkout
    if is_place(text) or (name and _PLACES.intersection(words_of(name))):
        return name_of_place(text)
    return without_secrets(_EMBEDDED_PATH.sub(_last_of_match, _NAMED.sub(_hide_named, text)))


def _hide_named(match: re.Match[str]) -> str:
    name, between, value = match.groups()
    if not is_secret(name, value):
        return match.group()
    if not _NAME_LIKE.fullmatch(value):
        # In a text, `key=images` may be the name of a folder: the word is hidden here, not everywhere.
        remember_secret(value)
    return f"{name}{between}{HIDDEN}"


def _last_of_match(match: re.Match[str]) -> str:
    # `//host/path` behind a scheme is excluded by the pattern; a lone `/` is a division.
    return match.group() if match.group() == "/" else _last_part(match.group())


def _last_part(text: str) -> str:
    if text.startswith("file:"):
        text = "/" + text.removeprefix("file:").lstrip("/")
    if _DRIVE.match(text) or "\\" in text:
        windows = PureWindowsPath(text)
        parts = [part for part in windows.parts if part not in (".", "..", "~", windows.anchor)]
    else:
        parts = [part for part in text.split("/") if part not in ("", ".", "..") and not part.startswith("~")]
        if text.rstrip("/").endswith("..") or (not parts and text.startswith(".")):
            parts = [part for part in Path(text).resolve().parts if part != os.sep]
    return parts[-1] if parts else "folder"


def _in_recipes(text: str) -> str | None:
    """A script or config of this checkout, by its place there, where everybody has it."""
    root = Path(__file__).resolve().parents[1]
    if not text.endswith((".py", ".yaml", ".yml")):
        return None
    try:
        place = Path(text).resolve().relative_to(root / "recipes")
    except (ValueError, OSError):
        return None
    return (Path("recipes") / place).as_posix()


def _script(word: str) -> str:
    found = _in_recipes(word)
    if found is None and Path(word).parent.name == "recipes":
        found = f"recipes/{Path(word).name}"
    return found or (_last_part(word) if is_place(word) else word)


@functools.lru_cache(maxsize=1)
def _secrets_in(environment: tuple[tuple[str, str], ...]) -> set[str]:
    """Values of variables such as HF_TOKEN; a path and what may be the name of something are not taken for one."""
    return {
        value
        for name, value in environment
        if is_secret(name, value)
        and (len(value) >= _SHORTEST_OF_ENVIRONMENT or (name in _OF_THE_HUB and len(value) >= 8))
        and not is_place(value)
        and not _NAME_LIKE.fullmatch(value)
    }
