"""Which split a name means, and what the user says where it is not plain."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...naming import unknown_name

SPLITS = ("train", "validation", "test")
# Words in a file or folder name that stand for a split; the same that `datasets` knows, but for "eval".
SPLIT_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
# Parts of a file name that number the pieces of one table, and say nothing about what is in it.
_SHARD_WORDS = frozenset(("part", "parts", "shard", "chunk", "of", "snappy", "zstd", "gz", "data"))
_HASH = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b(?=[a-f]*[0-9])[0-9a-f]{16,}\b|\bc000\b")

# For each of `SPLITS`, the source's own splits that it is made of.
SplitChoice = Mapping[str, Sequence[str]]


def words(name: str) -> list[str]:
    """Lower-case words and numbers of a name: `Train2018_images` -> train, 2018, images."""
    return [part.lower() for part in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+", name)]


@lru_cache(maxsize=4096)
def meanings(name: str) -> frozenset[str]:
    """The splits of which a name holds a word; of none, of one, or of several."""
    own = set(words(name))
    return frozenset(split for split, spellings in SPLIT_WORDS.items() if own & set(spellings))


def is_split_word(name: str) -> bool:
    """Whether the whole name is a word for a split."""
    return any(name.lower() in spellings for spellings in SPLIT_WORDS.values())


def given_name(file: Path, pieces: bool = True) -> str:
    """
    What a file calls its split: of its name and the folders above it the innermost that holds a word for a split, else
    its own name; without the numbers of its pieces (`train-00000-of-00003`, `part-0`). Empty for a number alone.
    """
    part = _naming_part(file) or file.stem
    declared = re.fullmatch(r"(.+)-\d{5}-of-\d{5}.*", part)
    if declared:
        return declared[1]
    if not pieces:
        return part
    kept = _HASH.sub("", part)
    if all(word.isdigit() or word in _SHARD_WORDS for word in words(kept)):
        return ""
    return re.sub(r"([-_. ]*\d+)+$", "", kept)


def _naming_part(file: Path) -> str:
    return next((part for part in (file.stem, *reversed(file.parts[:-1])) if meanings(part)), "")


def known_splits(names: Collection[str], *, frames: bool = True) -> dict[str, str | None]:
    """
    The split that each name means beside the others, None where it is not plain. A name means a split by one word for
    it if the rest of the name is the same for all (`birds_train`, `birds_test`), or by nothing but that word: beside
    `train`, `train_extra` could be anything. Without `frames` the rest may differ where no two mean the same split.
    """
    single = [meanings(name) for name in names]
    if not frames and all(len(found) == 1 for found in single) and len(set(single)) == len(single):
        return {name: next(iter(meanings(name))) for name in names}
    rests: dict[str, tuple[str, tuple[str, ...]] | None] = {}
    for name in names:
        found = meanings(name)
        spellings = {spelling for split in found for spelling in SPLIT_WORDS[split]}
        own = [word for word in words(name) if word in spellings]
        rest = tuple(word for word in words(name) if word not in spellings)
        rests[name] = (next(iter(found)), rest) if len(own) == 1 else None
    different = {entry[1] for entry in rests.values() if entry}
    plain = different if len(different) == 1 else {()}
    return {name: entry[0] if entry and entry[1] in plain else None for name, entry in rests.items()}


def parse_splits(splits: str | Mapping[str, Any] | None) -> dict[str, list[str]] | None:
    """
    `"train=train+extra,test=holdout"`, or the same as a dict of names or lists of names, as lists of names in order;
    what is not named is left out.

    Raises:
        `ValueError`: for another form, for a key that is none of train, validation and test, without train, or for a
            name that is used twice.
    """
    if splits is None:
        return None
    if isinstance(splits, str):
        pairs = [part.partition("=") for part in splits.split(",") if part.strip()]
        wrong = next((part[0] for part in pairs if not part[1] or not part[2].strip()), None)
        if wrong is not None or not pairs:
            raise ValueError(
                f"splits takes train=NAME,validation=NAME,test=NAME (NAME+NAME for several), got {splits!r}"
            )
        given: list[tuple[str, Any]] = [(key.strip(), value.split("+")) for key, _, value in pairs]
    elif isinstance(splits, Mapping):
        given = [(str(key), [value] if isinstance(value, str) else value) for key, value in splits.items()]
    else:
        raise TypeError(f"splits must be a string or a dict, got {type(splits).__name__}")
    chosen: dict[str, list[str]] = {}
    for key, value in given:
        split = key if key in SPLITS else next((name for name, spelled in SPLIT_WORDS.items() if key in spelled), None)
        if split is None:
            raise unknown_name("split in splits", key, SPLITS)
        if not isinstance(value, list | tuple) or not value or not all(isinstance(name, str) for name in value):
            raise ValueError(f"splits names the source's splits, one or a list for each, got {value!r} for {key}")
        chosen[split] = [*chosen.get(split, []), *(name.strip() for name in value)]
    if "train" not in chosen:
        raise ValueError(f"splits must say which split is for training (train=NAME), got {splits!r}")
    used = [name for value in chosen.values() for name in value]
    twice = sorted({name for name in used if used.count(name) > 1})
    if twice:
        raise ValueError(f"splits uses {twice[0]!r} twice")
    return {split: chosen[split] for split in SPLITS if split in chosen}


def assign_splits(
    names: Collection[str],
    chosen: SplitChoice | None,
    where: Any,
    *,
    needs_train: bool = True,
    declared: bool = True,
    frames: bool = True,
) -> dict[str, list[str]]:
    """
    Which of a source's own splits make train, validation and test.

    Args:
        names (`list[str]`): What the source calls them.
        chosen (`dict`, *optional*): What the user says ([`parse_splits`]); everything else is left out.
        where: How errors call the source.
        needs_train (`bool`): Whether there must be a training split.
        declared (`bool`): The names are those of splits; if not, a single one that means no split is all there is to
            train on (`birds.parquet`).
        frames (`bool`): See [`known_splits`].

    Raises:
        `ValueError`: for names that are not known as splits, or two that mean the same, with what `splits=` could say;
            without training split.
    """
    names = list(names)
    known = known_splits(names, frames=frames)
    if chosen is not None:
        if not declared and chosen == {"train": ["train"]} and len(names) == 1 and not meanings(names[0]):
            return {"train": names}
        return {split: [_named(name, known, where) for name in own] for split, own in chosen.items()}
    if not declared and len(names) == 1 and len(meanings(names[0])) == 0:
        return {"train": names}
    unknown = [name for name in names if known[name] is None]
    plain: dict[str, list[str]] = {}
    for split in SPLITS:
        own = [name for name in names if known[name] == split]
        if own:
            plain[split] = own
    if unknown:
        shown = ", ".join(name or "(no name)" for name in names)
        raise ValueError(
            f"{where} has the splits {shown}, and it is not plain what {_and(unknown)} "
            f"{'is' if len(unknown) == 1 else 'are'} "
            f"for. Say which are train, validation and test: {_suggestion(plain, unknown)}"
        )
    twice = next((split for split, own in plain.items() if len(own) > 1), None)
    if twice is not None:
        raise ValueError(
            f"{where} has the splits {', '.join(names)}, of which two mean {twice}. Say which is which: "
            f"{_suggestion({split: own[:1] for split, own in plain.items()}, plain[twice][1:])}"
        )
    if needs_train and "train" not in plain:
        raise ValueError(
            f"{where} has the splits {', '.join(names)}, but no training split. If one of them is for training, say "
            f"so: splits='train={names[0]}'"
        )
    return plain


def spell(chosen: SplitChoice) -> str:
    """As `splits=` takes it."""
    return ",".join(f"{split}={'+'.join(names)}" for split, names in chosen.items() if names)


def leave_out(chosen: SplitChoice, split: str) -> str:
    """The option that leaves one split out, as an error shows it."""
    return f"splits='{spell({name: own for name, own in chosen.items() if name != split})}'"


def _named(name: str, known: Mapping[str, str | None], where: Any) -> str:
    if name in known:
        return name
    same = [own for own, split in known.items() if split is not None and split == name]
    same = same or [own for own in known if meanings(own) == {name}]
    if len(same) == 1:
        return same[0]
    raise unknown_name(f"split of {where} in splits", name, known)


def _suggestion(plain: SplitChoice, unknown: Sequence[str]) -> str:
    if "train" not in plain:
        example: dict[str, Sequence[str]] = {**plain}
        for split in ("test", "validation", "train"):
            own = [name for name in unknown if meanings(name) == {split}]
            if own:
                example[split] = [*example.get(split, ()), *own]
        example.setdefault("train", [next((name for name in unknown if "train" in meanings(name)), unknown[0])])
        return f"splits='{spell({split: example[split] for split in SPLITS if split in example})}', for example"
    added = {**plain, "train": [*plain["train"], *unknown]}
    choices = [f"splits='{spell(plain)}' leaves {_and(unknown)} out", f"'{spell(added)}' trains on it too"]
    if "test" not in plain and len(unknown) == 1:
        choices.append(f"'{spell({**plain, 'test': unknown})}' tests on it")
    return ", ".join(choices)


def _and(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]])) or "(no name)"
