"""The YAML files under recipes/configs: what each trains, on what, and where its numbers come from."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from hf_ltr.methods import get_method
from hf_ltr.methods.pretraining import with_pretraining
from hf_ltr.reading import parse_yaml
from hf_ltr.trainer import LongTailTrainingArguments
from hf_ltr.trainer.arguments import merge_arguments

DATASET_TITLES = {
    "digits": "digits-LT",
    "cifar10": "CIFAR-10-LT",
    "cifar100": "CIFAR-100-LT",
    "imagenet_lt": "ImageNet-LT",
    "places_lt": "Places-LT",
    "inat18": "iNaturalist 2018",
}
# Method of a script whose config names none.
_DEFAULT_METHODS = {"classifier": "cross_entropy", "decoupled": "crt", "mem_vit": "mem"}
_MIXING = ("mixup_alpha", "cutmix_alpha", "label_smoothing")


@dataclass
class RecipeConfig:
    """
    One config.

    Args:
        path (`Path`): The file.
        script (`str`): Name of the recipe it belongs to (its folder).
        comment (`str`): The comment at the top, as one paragraph.
        values (`dict`): What stands in the file, sections included.
        stage (`str`, *optional*): The one stage that is shown; all if not given.
    """

    path: Path
    script: str
    comment: str
    values: dict[str, Any] = field(default_factory=dict)
    stage: str | None = None

    @classmethod
    def read(cls, path: Path) -> RecipeConfig:
        """Read a file with the rules of the command line (`no` stays a word)."""
        text = path.read_text(encoding="utf-8")
        lines = []
        for line in text.splitlines():
            if not line.startswith("#"):
                break
            lines.append(line.lstrip("#").strip())
        return cls(path, path.parent.name, " ".join(" ".join(lines).split()), parse_yaml(text, str(path)) or {})

    @property
    def method(self) -> str:
        """Registry name of the method that the config is for."""
        return self.values.get("method") or _DEFAULT_METHODS[self.script]

    @property
    def names_a_method(self) -> bool:
        """False for a config that serves any method given on the command line."""
        return "method" in self.values or self.script == "mem_vit"

    @property
    def dataset(self) -> str:
        """In words, with the imbalance factor of an artificial tail."""
        name = self.values.get("dataset")
        if name is None:
            return "your own images"
        factor = self.values.get("imbalance_factor")
        return DATASET_TITLES.get(name, str(name)) + (f", IF {factor:g}" if factor else "")

    def stages_that_are(self, method: str) -> list[str]:
        """Names of the stages that are the pretraining `method`, which no config has for itself."""
        return [name for name, part, _ in self._stages if part.name == method and not part.uses_labels]

    def only(self, stage: str) -> RecipeConfig:
        """The same, showing one stage."""
        return dataclasses.replace(self, stage=stage)

    def stage_settings(self, stage: str | None, own: dict[str, Any] | None = None) -> dict[str, Any]:
        """
        What a stage runs with, defaults of the training arguments included.

        Args:
            stage (`str`, *optional*): Its name; None for a script without sections.
            own (`dict`, *optional*): What the method sets for it.
        """
        defaults = training_defaults()
        flat = {name: value for name, value in self.values.items() if name in defaults}
        section = self.values.get(stage) if stage else None
        return merge_arguments(defaults, flat, own or {}, section if isinstance(section, dict) else {})

    def stages(self) -> list[tuple[str | None, dict[str, Any]]]:
        """`(name, settings)` of every stage; the name is None if there is only one."""
        stages = self._stages
        if len(stages) == 1:
            return [(None, self.stage_settings(None, stages[0][2]))]
        found: list[tuple[str | None, dict[str, Any]]] = []
        for name, method, own in stages:
            if self.stage in (None, name):
                settings = self.stage_settings(name, own)
                if not method.accepts_soft_targets:
                    # What is common to all stages is left out of one that needs hard labels.
                    settings |= dict.fromkeys(_MIXING, 0.0)
                found.append((name, settings))
        return found

    @cached_property
    def _stages(self) -> list[tuple[str, Any, dict[str, Any]]]:
        """`(name, method, arguments the method sets)` of every stage that the script runs."""
        counts = [200, 50, 5]
        extra = {}
        if "representation_method" in self.values:
            extra["representation"] = self.values["representation_method"]
        options = self.values.get("method_options") or {}
        stages = get_method(self.method, class_counts=counts, **options, **extra).stages()
        pretraining = self.values.get("masked_autoencoding")
        if pretraining is not None:
            made = get_method("masked_autoencoding", class_counts=counts, **pretraining)
            stages = with_pretraining(stages, made)
        found = [(stage.name, stage.method, stage.arguments) for stage in stages]
        if self.script == "mem_vit":
            # The recipe runs classifier re-training beside the method.
            found.insert(-1, ("classifier", get_method("crt", class_counts=counts), {}))
        return found


@cache
def training_defaults() -> dict[str, Any]:
    """Default of every field of the training arguments."""
    return {
        item.name: item.default if item.default_factory is dataclasses.MISSING else item.default_factory()
        for item in dataclasses.fields(LongTailTrainingArguments)
        if item.init
    }


def read_configs(repository: Path) -> list[RecipeConfig]:
    """All of them, by script and name."""
    return [RecipeConfig.read(path) for path in sorted((repository / "recipes" / "configs").glob("*/*.yaml"))]


def configs_of(method: str, configs: list[RecipeConfig]) -> list[RecipeConfig]:
    """Those that name the method as theirs."""
    return [config for config in configs if config.names_a_method and config.method == method]


def as_stage(method: str, configs: list[RecipeConfig]) -> list[RecipeConfig]:
    """Those in which the method is one stage of another system, reduced to that stage."""
    return [config.only(stage) for config in configs for stage in config.stages_that_are(method)]


def config_to_show(method: str, configs: list[RecipeConfig]) -> RecipeConfig | None:
    """The config that a method is shown with: CIFAR-100-LT, and there the one named after the method."""
    return min(
        configs_of(method, configs) or as_stage(method, configs),
        key=lambda config: (config.values.get("dataset") != "cifar100", len(config.path.name), config.path.name),
        default=None,
    )


def settings_row(settings: dict[str, Any]) -> dict[str, str]:
    """The settings a paper would print, in words."""
    steps = settings.get("max_steps", -1)
    epochs = settings["num_train_epochs"]
    batch = settings["per_device_train_batch_size"] * settings.get("gradient_accumulation_steps", 1)
    if epochs == 0 and steps <= 0:
        return {"length": "nothing is trained"}
    milestones = settings.get("lr_milestones")
    schedule = settings["lr_scheduler_type"]
    if milestones:
        schedule = f"x{settings['lr_milestone_factor']:g} at {', '.join(f'{epoch:g}' for epoch in milestones)}"
    warmup = settings.get("warmup_epochs")
    if settings.get("warmup_steps"):
        schedule += f", warm-up {settings['warmup_steps']:g} steps"
    elif warmup:
        schedule += f", warm-up {warmup:g}"
    elif warmup is None:
        schedule += ", warm-up 5 or a tenth"
    rate = settings["learning_rate"]
    if settings.get("base_learning_rate"):
        rate = settings["base_learning_rate"] * batch / 256
    optimizer = str(getattr(settings["optim"], "value", settings["optim"])).split("_")[0]
    if optimizer == "sgd":
        optimizer = f"SGD {settings['momentum']:g}{' nesterov' if settings['nesterov'] else ''}"
    return {
        "length": f"{steps} steps" if steps > 0 else f"{epochs:g} epochs",
        "batch": str(batch),
        "rate": f"{float(rate):g}",
        "schedule": schedule,
        "optimiser": optimizer,
        "decay": f"{float(settings['weight_decay']):g}",
        "augmentation": _augmentation(settings),
    }


def _augmentation(settings: dict[str, Any]) -> str:
    names = [name.replace("_", " ") for name in settings["augmentation"]]
    names = ["by image size" if name == "auto" else name for name in names]
    for field_name, title in (("mixup_alpha", "mixup"), ("cutmix_alpha", "cutmix"), ("label_smoothing", "smoothing")):
        if settings.get(field_name):
            names.append(f"{title} {float(settings[field_name]):g}")
    return ", ".join(names) or "none"


__all__ = [
    "DATASET_TITLES",
    "RecipeConfig",
    "as_stage",
    "config_to_show",
    "configs_of",
    "read_configs",
    "settings_row",
    "training_defaults",
]
