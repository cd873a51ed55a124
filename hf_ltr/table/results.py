"""Finished runs on disk: one JSON per row and seed, compared with what it would be now; the test set they share."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np

from ..data import ClassCounts
from ..files import write_json
from ..naming import some
from ..reading import json_form, read_json
from ..redaction import public
from ..trainer.run_folder import differences
from .plans import PRECISION_MODE
from .rows import MethodSpecification

ENCODING = "base64 of zlib of little-endian uint16"
FORMAT = 1
TEST_FILE = "test_set.json"
# What a table may be measured on. Choosing settings on the test images would be choosing the model on them.
MEASURED_SPLITS = ("test", "validation")
# Facts of how a run was computed, in the order in which they are told.
COMPUTATION = ("precision", "memory_format", "device", "capability")
_OPEN = ("auto", None)
# What the arguments call a precision, and what a record calls it.
_RECORDED = {"no": "float32", "bf16": "bf16", "fp16": "fp16"}


class Result(TypedDict):
    """A finished run, as its file holds it."""

    format: int
    row: str
    seed: int
    settings: dict[str, Any]  # see `Plan.settings`
    description: dict[str, Any]  # of the method
    data: dict[str, Any]  # `row_hash`, `class_counts`, `group_scheme` of the training images
    overrides: dict[str, Any]  # what was changed about the protocol
    metrics: dict[str, Any]
    per_class_accuracy: list[float | None]
    predictions: dict[str, Any]  # see `encode_classes`
    stages: list[dict[str, Any]]  # what each took
    selection: str  # of the weights that were measured
    processes: int
    hardware: str
    versions: dict[str, str]
    commit: str | None
    date: str
    command: str | None
    computation: NotRequired[dict[str, str]]  # how it was evaluated; earlier versions do not say it
    commit_entered_afterwards: NotRequired[bool]


def encode_classes(classes: Any) -> dict[str, Any]:
    """
    Class ids as a short JSON value.

    Args:
        classes (array of shape `(images,)`): Ids from 0 to 65,535.

    Returns:
        `dict`: `encoding`, `images` and `data`; 10,000 predictions of 100 classes take at most 15 kB.
    """
    values = np.asarray(classes)
    if values.ndim != 1 or values.dtype.kind not in "iu":
        raise ValueError(f"Class ids must be one row of integers, got {values.dtype} of shape {values.shape}")
    if values.size and not 0 <= values.min() <= values.max() < 2**16:
        raise ValueError(f"Class ids must lie in 0..65535, got {values.min()}..{values.max()}")
    packed = zlib.compress(values.astype("<u2").tobytes(), 9)
    return {"encoding": ENCODING, "images": int(values.size), "data": base64.b64encode(packed).decode("ascii")}


def decode_classes(content: dict[str, Any]) -> np.ndarray:
    """The inverse of [`encode_classes`]: int64 of shape `(images,)`."""
    if content["encoding"] != ENCODING:
        raise ValueError(f"Unknown encoding {content['encoding']!r} of class ids; this version reads {ENCODING!r}")
    values = np.frombuffer(zlib.decompress(base64.b64decode(content["data"])), dtype="<u2").astype(np.int64)
    if len(values) != content["images"]:
        raise ValueError(f"{content['images']} class ids were written but {len(values)} are there")
    return values


@dataclass
class TestSet:
    """
    What every row of a table is measured on.

    Args:
        labels (`np.ndarray` of shape `(images,)`): Of the test images, in row order.
        class_counts (`list[int]`): Training images of every class under the protocol, which define the groups.
        group_scheme (`str`): See [`ClassCounts`].
        row_hash (`str`, *optional*): Of the test rows.
        split (`str`, defaults to `"test"`): Which images they are: `"validation"` in a table that settings are chosen
            by.
    """

    __test__ = False  # not a test class, whatever its name

    labels: np.ndarray
    class_counts: list[int]
    group_scheme: str = "thresholds"
    row_hash: str | None = None
    split: str = "test"

    def counts(self) -> ClassCounts:
        """Whose groups the table shows."""
        return ClassCounts(self.class_counts, grouping=self.group_scheme)

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "labels": encode_classes(self.labels),
            "labels_sha256": hashlib.sha256(self.labels.astype("<u2").tobytes()).hexdigest(),
            "class_counts": list(self.class_counts),
            "group_scheme": self.group_scheme,
            "row_hash": self.row_hash,
            "split": self.split,
        }

    @classmethod
    def read(cls, output_dir: str | Path) -> TestSet | None:
        """Of a table's folder; None before its first run."""
        path = Path(output_dir) / TEST_FILE
        if not path.is_file():
            return None
        content = read_json(path)
        return cls(
            decode_classes(content["labels"]),
            content["class_counts"],
            content["group_scheme"],
            content["row_hash"],
            # Earlier versions measured on test images only.
            content.get("split", "test"),
        )

    def check_same(self, there: TestSet | None, output_dir: str | Path) -> None:
        """Refuse a folder whose rows were measured on other images, or grouped by other counts."""
        if there is not None and there.split != self.split:
            raise ValueError(
                f"{output_dir} holds a table measured on {there.split} images, not on {self.split} images. Use "
                f"another --output_dir, or --split {there.split}."
            )
        found = [] if there is None else differences(there.to_dict(), self.to_dict())
        if found:
            raise ValueError(
                f"{output_dir} holds a table of other data ({some(found, 3, '; ')}). Use another --output_dir."
            )

    def write(self, output_dir: str | Path) -> None:
        """Into a table's folder."""
        write_json(Path(output_dir) / TEST_FILE, self.to_dict())


def result_path(output_dir: str | Path, row: MethodSpecification, seed: int) -> Path:
    """Where the result of a row and seed is written."""
    return Path(output_dir) / "results" / f"{row.file_name}_seed{seed}.json"


def read_result(output_dir: str | Path, row: MethodSpecification, seed: int) -> Result | None:
    """
    The result of a row and seed, None if that run is not finished.

    Raises:
        `ValueError`: for a file of another row or of a form this version does not know.
    """
    path = result_path(output_dir, row, seed)
    if not path.is_file():
        return None
    try:
        content = read_json(path)
    except ValueError as error:
        raise ValueError(f"{error}; delete that file to make the run again") from error
    if content.get("format") != FORMAT:
        raise ValueError(f"{path} has form {content.get('format')}, this version reads {FORMAT}")
    if content["row"] != row.label:
        raise ValueError(f"{path} is the result of {content['row']!r}, not of {row.label!r}; rename one of them")
    return content


def recorded_counts(run: Result) -> ClassCounts:
    """Of the training images of a result."""
    return ClassCounts(run["data"]["class_counts"], grouping=run["data"]["group_scheme"])


def check_settings(content: Mapping[str, Any], expected: dict[str, Any], path: str | Path) -> None:
    """
    Refuse a finished run that was made with other settings.

    Args:
        content (`dict`): A result.
        expected (`dict`): Parts of a result (`settings`, `description`, `data`, ...) that must be equal.
        path (`str`): For the message.
    """
    # Earlier versions wrote the whole path of a data set in a folder.
    there, here = public({key: content.get(key) for key in expected}), public(json_form(expected))
    if "pretraining" not in content.get("settings", {}):
        # The options of pretraining were not always written down; that a row has it shows in its stages.
        here.get("settings", {}).pop("pretraining", None)
    _drop_free_precision(there, here, content.get("stages", ()))
    found = differences(there, here)
    if found:
        raise ValueError(
            f"{path} is a finished run with other settings ({some(found, 5, '; ')}). Rows of one table share a "
            "protocol: use another --output_dir, or delete that file and its folder under runs/ to make the run again."
        )


def _drop_free_precision(there: dict[str, Any], here: dict[str, Any], stages: Sequence[Mapping[str, Any]]) -> None:
    """
    Of both sides of a comparison, leave a precision only where it makes a finished run another one: where the protocol
    leaves it to the machine (`auto`) any will do; where it names one, what was used must be that.

    Args:
        there, here (`dict`): With `settings`, of a result and of the protocol; changed in place.
        stages (sequence of `dict`): Of the result, with what they used; those of earlier versions do not say it.
    """
    used = {stage.get("name"): (stage.get("computation") or {}).get("precision") for stage in stages}
    theirs = _stages_of(there)
    for name, ours in _stages_of(here).items():
        wanted, was = ours.get(PRECISION_MODE), theirs.get(name, {}).get(PRECISION_MODE)
        if wanted in _OPEN or used.get(name, _RECORDED.get(was)) == _RECORDED.get(wanted):
            ours.pop(PRECISION_MODE, None)
            theirs.get(name, {}).pop(PRECISION_MODE, None)
        elif used.get(name):
            theirs[name][PRECISION_MODE] = used[name]


def used_computation(run: Result, fact: str) -> str:
    """A fact of a run's stages and its evaluation; empty where it is not known."""
    stages = [(stage.get("computation") or {}).get(fact) for stage in run["stages"]]
    if fact == "precision" and not any(stages):
        # Results of earlier versions say what was asked for.
        stages = [_RECORDED.get(stage.get(PRECISION_MODE)) for stage in _stages_of(run).values()]
    training = list(dict.fromkeys(value for value in stages if value))
    evaluation = (run.get("computation") or {}).get(fact)
    text = ", then ".join(training)
    if evaluation and training not in ([], [evaluation]):
        return f"{text}, evaluated with {evaluation}"
    return text or evaluation or ""


def _stages_of(content: Mapping[str, Any]) -> dict[str, Any]:
    stages = (content.get("settings") or {}).get("stages")
    return stages if isinstance(stages, dict) else {}
