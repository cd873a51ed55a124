"""A protocol: everything that the rows of a table have in common."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from ..naming import unknown_name


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
        pretraining (`dict`, *optional*): Every row begins with masked autoencoding on its training images, made with
            these options of `masked_autoencoding` (`{}`: its defaults), as stage `pretraining`.
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

    def data_options(self, method: str) -> dict[str, Any]:
        """Data options of a row."""
        return {**self.data, **self.methods.get(method, {}).get("data", {})}

    def model_options(self, method: str) -> dict[str, Any]:
        """Model options of a row."""
        return {**self.model, **self.methods.get(method, {}).get("model", {})}

    def method_options(self, method: str) -> dict[str, Any]:
        """Options of a method under this protocol, before those of the row."""
        return dict(self.methods.get(method, {}).get("options", {}))

    def stage_arguments(self, method: str, stage: str, own: dict[str, Any]) -> dict[str, Any]:
        """
        Training arguments of a stage that differ from `arguments`.

        Args:
            method (`str`): Name of the row's method.
            stage (`str`): Name of the stage.
            own (`dict`): What the method sets for it.
        """
        from ..trainer.arguments import merge_arguments

        special = self.methods.get(method, {})
        return merge_arguments(
            self.stages.get(stage, {}),
            own,
            special.get("arguments", {}),
            special.get("stages", {}).get(stage, {}),
        )

    def step_limit(self, stage: str) -> int | None:
        """Steps that whoever loaded the protocol limits a stage to; the schedule is shortened with it."""
        limit = self.overrides.get(f"{stage}.max_steps", self.overrides.get("max_steps"))
        return limit if limit is not None and limit > 0 else None

    def check_stages(self, method: str, names: list[str]) -> None:
        """Refuse settings for a stage that the method does not have."""
        for stage in self.methods.get(method, {}).get("stages", {}):
            if stage not in names:
                raise unknown_name(f"stage of {method} in protocol {self.name}", stage, names)


def json_form(value: Any) -> Any:
    """`value` as it is read back from JSON."""
    return json.loads(json.dumps(value, sort_keys=True, default=str))
