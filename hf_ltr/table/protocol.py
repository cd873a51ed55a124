"""
Protocols: everything that the rows of a table have in common, read from YAML. Every key is checked, every value has
the type of its field.
"""

from __future__ import annotations

import copy
import dataclasses
import importlib.resources
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..naming import nearest_names, unknown_name
from ..reading import parse_yaml, read_text
from ..recipe import DataOptions, ModelOptions, option_fields
from ..recipe.fields import OptionField
from ..redaction import public
from ..validation import choice, mapping, number, shown, text

# A protocol says nothing about these: the seed is the table's, the folders are those of the run.
NOT_PROTOCOL = frozenset(("seed", "data_seed", "output_dir", "push_to_hub", "resume_from_checkpoint", "run_name"))
# Data options that say where a copy of the data lies on this machine, not which rows are trained on.
PLACES = ("data_dir", "list_dir")
# As an override it limits every stage and shortens its schedule, so the plan of a run applies it.
_TRIAL = "max_steps"
_PUBLISHED = ("augmentation", "source")
_PARTS = ("options", "data", "model", "arguments", "stages")
# Protocol of a dataset where the command line names none.
DEFAULT_PROTOCOLS = {"cifar100": "cifar100_lt_40ep", "cifar10": "cifar100_lt_40ep"}


@dataclass
class Protocol:
    """
    Settings that the rows of a table share, and where a method or a stage departs from them.

    The settings of one stage are, later ones winning: `arguments`, `stages[stage name]`, what the method itself sets
    for its stage, `methods[name]["arguments"]`, `methods[name]["stages"][stage name]`.

    Args:
        name (`str`): For results and reports.
        title (`str`): In words.
        source (`str`): Where the recipe comes from.
        data (`dict`): Fields of `DataOptions` (see [`load_long_tailed`]).
        model (`dict`): Fields of `ModelOptions` (see [`LongTailConfig`]).
        arguments (`dict`): Fields of [`LongTailTrainingArguments`] common to all stages. The batch size is that of one
            step over all processes.
        pretraining (`dict`, *optional*): Every row begins with pretraining on its training images, made with these
            options of the method that pretrains (`{}`: its defaults), as stage `pretraining`.
        stages (`dict[str, dict]`): Fields of [`LongTailTrainingArguments`] by stage name (`classifier` is the second
            stage of decoupled methods).
        methods (`dict[str, dict]`): By method name, any of `options` (of the method), `data`, `model`, `arguments`,
            `stages`.
        post_hoc (`dict`): `{"logit_adjustment": {"tau": ...}}`.
        published (`dict`): Which published numbers are near, beside the data, backbone and epochs: `augmentation` and
            `source` (one, or several in order of preference) as in [`~hf_ltr.table.published_results`].
        rows (`dict[str, list[str]]`): Sets of rows by name, as they are written for [`MethodSpecification`], several
            in one with braces (`mem:width={32,64}`); `@name` stands for the set among the rows of a table.
        overrides (`dict`): What was changed when it was loaded. `max_steps` is for a short trial: it limits every
            stage that trains, and warm-up and milestones come as much earlier as the run is shorter.
    """

    name: str
    title: str = ""
    source: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    arguments: dict[str, Any] = field(default_factory=dict)
    pretraining: dict[str, Any] | None = None
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    methods: dict[str, dict[str, Any]] = field(default_factory=dict)
    post_hoc: dict[str, dict[str, Any]] = field(default_factory=lambda: {"logit_adjustment": {"tau": 1.0}})
    published: dict[str, Any] = field(default_factory=dict)
    rows: dict[str, list[str]] = field(default_factory=dict)
    overrides: dict[str, Any] = field(default_factory=dict)

    @property
    def tau(self) -> float:
        """Of post-hoc logit adjustment; fixed beforehand."""
        return self.post_hoc.get("logit_adjustment", {}).get("tau", 1.0)

    @property
    def published_place(self) -> dict[str, Any]:
        """What [`~hf_ltr.table.published_targets`] needs to know of this protocol."""
        return {
            "dataset": self.data.get("dataset"),
            "imbalance_factor": self.data.get("imbalance_factor"),
            "backbone": self.model.get("backbone"),
            "epochs": self.arguments.get("num_train_epochs"),
            **self.published,
        }

    @property
    def folder_name(self) -> str:
        """Its name, and what was changed about its data: another tail is another table, and so is a trial."""
        changed = [
            f"-{key}={public(value, key)}"
            for key, value in self.overrides.items()
            if key in self.data or _TRIAL in key
        ]
        return f"{self.name}{''.join(changed)}"

    def data_options(self, method: str) -> dict[str, Any]:
        """Data options of a row."""
        return {**self.data, **self.methods.get(method, {}).get("data", {})}

    def model_options(self, method: str) -> dict[str, Any]:
        """Model options of a row."""
        return {**self.model, **self.methods.get(method, {}).get("model", {})}

    def method_options(self, method: str) -> dict[str, Any]:
        """Options of a method under this protocol, before those of the row."""
        return dict(self.methods.get(method, {}).get("options", {}))

    def step_limit(self, stage: str) -> int | None:
        """Steps that whoever loaded the protocol limits a stage to; the schedule is shortened with it."""
        limit = self.overrides.get(f"{stage}.max_steps", self.overrides.get("max_steps"))
        return limit if limit is not None and limit > 0 else None

    def check_stages(self, method: str, names: list[str]) -> None:
        """Refuse settings for a stage that the method does not have."""
        for stage in self.methods.get(method, {}).get("stages", {}):
            if stage not in names:
                raise unknown_name(f"stage of {method} in protocol {self.name}", stage, names)


def protocol_names() -> list[str]:
    """The protocols that ship with the package."""
    return sorted(path.name.removesuffix(".yaml") for path in _folder().iterdir() if path.name.endswith(".yaml"))


def default_protocol(dataset: str | None) -> str:
    """
    The protocol of a dataset where none is named.

    Raises:
        `ValueError`: if the dataset has none.
    """
    if dataset in DEFAULT_PROTOCOLS:
        return DEFAULT_PROTOCOLS[dataset]
    raise ValueError(
        f"There is no default protocol for the dataset {dataset!r}; name one with --protocol "
        f"({', '.join(protocol_names())}, or a YAML file)"
    )


def load_protocol(name_or_path: str | Path, **overrides: Any) -> Protocol:
    """
    Load a protocol of the package or from a YAML file.

    Args:
        name_or_path (`str` or `Path`): A name that [`protocol_names`] lists, or the path of a YAML file.
        overrides: Fields of the data options, the model options or the training arguments by name; `"stage.field"` (as
            a key of `**{...}`) is for one stage. Values may be strings, as from a command line.

    Returns:
        [`Protocol`]

    Raises:
        `ValueError`: for an unknown key anywhere, or a value that is not of its field's type, naming both.
        `FileNotFoundError`: for a file that is not there.

    Example:

    ```python
    >>> from hf_ltr.table import load_protocol
    >>> load_protocol("cifar100_lt_40ep", imbalance_factor=50).data["imbalance_factor"]
    50.0
    ```
    """
    written, where = _read(name_or_path)
    content = parse_yaml(written, where)
    if not isinstance(content, dict) or "name" not in content:
        raise ValueError(f"{where} must hold `key: value` lines, among them `name`")
    fields = [item.name for item in dataclasses.fields(Protocol) if item.name != "overrides"]
    for key, value in content.items():
        choice(f"key of {where}", key, fields)
        if key in ("name", "title", "source"):
            text(f"{key} of {where}", value)
        elif value is not None and key != "rows":
            mapping(f"{where}, {key}", value)
    protocol = Protocol(**{key: copy.deepcopy(value) for key, value in content.items() if value is not None})
    _check(protocol, where)
    for key, value in overrides.items():
        _override(protocol, key, value)
    return protocol


def without_places(options: Mapping[str, Any]) -> dict[str, Any]:
    """Data options without those that say where the data lie on this machine."""
    return {name: value for name, value in options.items() if name not in PLACES}


def _folder() -> Any:
    return importlib.resources.files("hf_ltr") / "resources" / "protocols"


def _read(name_or_path: str | Path) -> tuple[str, str]:
    name = str(name_or_path)
    if name in protocol_names():
        return (_folder() / f"{name}.yaml").read_text(encoding="utf-8"), f"protocol {name}"
    path = Path(name).expanduser()
    if path.suffix in (".yaml", ".yml") or path.is_file():
        if not path.is_file():
            near = nearest_names(path.stem, protocol_names())
            raise FileNotFoundError(
                f"There is no protocol file {name}.{f' Did you mean the protocol {near[0]}?' if near else ''}"
            )
        return read_text(path), str(path)
    raise unknown_name("protocol", name, protocol_names(), "The path of a YAML file works too.")


def _check(protocol: Protocol, where: str) -> None:
    # Here, as below: a misspelt name of a protocol is refused before torch is imported.
    from ..methods import PRETRAINING, check_options
    from .rows import POST_HOC, checked_row_sets

    if not re.fullmatch(r"[\w.+-]*\w[\w.+-]*", protocol.name):
        raise ValueError(
            f"{where}: name must be letters, digits and . + - _ (the table's folder is named by it), "
            f"got {shown(protocol.name)}"
        )
    protocol.data = _converted("data", protocol.data, where)
    protocol.model = _converted("model", protocol.model, where)
    protocol.arguments = _converted("arguments", protocol.arguments, where)
    if protocol.pretraining is not None:
        # Ranges are checked by get_method, which knows them.
        protocol.pretraining = mapping(f"{where}, pretraining", protocol.pretraining)
        check_options(PRETRAINING, protocol.pretraining)
    protocol.stages = _converted_stages(protocol.stages, where)
    protocol.methods = {method: _checked_method(method, parts, where) for method, parts in protocol.methods.items()}
    for name, values in protocol.post_hoc.items():
        choice(f"post-hoc adjustment in {where}", name, POST_HOC)
        for key in mapping(where, values):
            choice(f"option of {name} in {where}", key, ("tau",))
            number(f"tau of {name} in {where}", values[key], minimum=0)
    for key, value in protocol.published.items():
        choice(f"key of published in {where}", key, _PUBLISHED)
        for item in value if isinstance(value, list) and key == "source" else [value]:
            text(f"{key} of published in {where}", item)
    protocol.rows = checked_row_sets(protocol.rows, where)


def _checked_method(method: str, parts: Any, where: str) -> dict[str, Any]:
    """What a protocol says about one method."""
    from ..methods import METHODS, check_options

    choice(f"method in {where}", method, METHODS)
    where, checked = f"{where}, {method}", {}
    for part, values in mapping(where, parts).items():
        choice(f"key of {where}", part, _PARTS)
        if part == "stages":
            checked[part] = _converted_stages(mapping(where, values), where)
        elif part == "options":
            # Ranges are checked by get_method, which knows them.
            checked[part] = mapping(where, values)
            check_options(method, checked[part])
        else:
            checked[part] = _converted(part, values, where)
    return checked


def _converted_stages(stages: Mapping[str, Any], where: str) -> dict[str, dict[str, Any]]:
    return {stage: _converted("arguments", values, f"{where}, stage {stage}") for stage, values in stages.items()}


def _converted(part: str, values: Any, where: str) -> dict[str, Any]:
    fields = protocol_fields(part)
    converted = {}
    for key, value in mapping(where, values).items():
        if key not in fields:
            hint = "The table sets it for each run." if key in NOT_PROTOCOL else ""
            raise unknown_name(f"option of {part} in {where}", key, fields, hint)
        converted[key] = fields[key].convert(value, key)
    return converted


def protocol_fields(part: str) -> dict[str, OptionField]:
    """The options that may stand in a part of a protocol: `"data"`, `"model"` or `"arguments"`."""
    if part == "arguments":
        from ..trainer import LongTailTrainingArguments

        kind: Any = LongTailTrainingArguments
    else:
        kind = {"data": DataOptions, "model": ModelOptions}[part]
    return option_fields([kind], without=NOT_PROTOCOL)


def _is_limit(key: str, value: Any) -> bool:
    """Whether an override limits steps; -1 is the training arguments' way to say that nothing does."""
    if key != _TRIAL or value == -1:
        return False
    if value is None or value < 1:
        raise ValueError(f"max_steps must be at least 1 (or -1 for no limit), got {value}")
    return True


def _override(protocol: Protocol, key: str, value: Any) -> None:
    stage, dot, inner = key.partition(".")
    if dot:
        fields = protocol_fields("arguments")
        if inner not in fields:
            raise unknown_name(f"override of stage {stage}", inner, fields)
        converted = protocol.overrides[key] = fields[inner].convert(value, inner)
        if not _is_limit(inner, converted):
            protocol.stages.setdefault(stage, {})[inner] = converted
        return
    for part in ("data", "model", "arguments"):
        fields = protocol_fields(part)
        if key in fields:
            converted, values = fields[key].convert(value, key), getattr(protocol, part)
            if key not in PLACES and (key not in values or values[key] != converted):
                protocol.overrides[key] = converted
            if not _is_limit(key, converted):
                values[key] = converted
            return
    if key in NOT_PROTOCOL:
        raise ValueError(
            f"{key} is not part of a protocol: the table sets it for each run (see --seeds, --output_dir)"
        )
    known = [name for part in ("data", "model", "arguments") for name in protocol_fields(part)]
    raise unknown_name("override", key, known)
