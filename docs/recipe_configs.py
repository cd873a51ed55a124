"""The YAML files under recipes/configs: what each trains, on what, and where its numbers come from."""

from __future__ import annotations

import dataclasses
import runpy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hf_ltr.reading import parse_yaml
from hf_ltr.recipe import ParsedOptions, TrainOptions
from hf_ltr.recipe.stages import TrainingPlan
from hf_ltr.recipe.training import given_pretraining, parse_training
from hf_ltr.trainer import LongTailTrainingArguments
from hf_ltr.trainer.arguments import merge_arguments

from .facts import EXAMPLE_COUNTS

DATASET_TITLES = {
    "digits": "digits-LT",
    "cifar10": "CIFAR-10-LT",
    "cifar100": "CIFAR-100-LT",
    "imagenet_lt": "ImageNet-LT",
    "places_lt": "Places-LT",
    "inat18": "iNaturalist 2018",
}
_MIXING = ("mixup_alpha", "cutmix_alpha", "label_smoothing")


@dataclass
class RecipeConfig:
    """
    One config, as its script reads it.

    Args:
        path (`Path`): The file.
        comment (`str`): The comment at the top, as one paragraph.
        names_a_method (`bool`): False for a config that serves any method given on the command line.
        options ([`ParsedOptions`]): Those of the file and of its script.
        plan ([`TrainingPlan`]): The stages that the script runs.
        stage (`str`, *optional*): The one stage that is shown; all if not given.
    """

    path: Path
    comment: str
    names_a_method: bool
    options: ParsedOptions
    plan: TrainingPlan
    stage: str | None = None

    @classmethod
    def read(cls, path: Path) -> RecipeConfig:
        """Read a file; its folder has the name of the script it belongs to. Read again, it is the same object."""
        return _read_config(path, path.read_text(encoding="utf-8"))

    @property
    def script(self) -> str:
        """Name of the recipe it belongs to."""
        return self.path.parent.name

    @property
    def method(self) -> str:
        """Registry name of the method that the config is for."""
        return self.plan.method.name

    @property
    def values(self) -> dict[str, Any]:
        """Its options, without those of single stages."""
        return self.options.values

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
        return [stage.name for stage in self.plan.pretraining if stage.method.name == method]

    def only(self, stage: str) -> RecipeConfig:
        """The same, showing one stage."""
        return dataclasses.replace(self, stage=stage)

    def stages(self) -> list[tuple[str | None, dict[str, Any]]]:
        """
        `(name, settings)` of every stage, defaults of the training arguments included; the name is None if there is
        only one.
        """
        given = self.options.of(LongTailTrainingArguments)
        found: list[tuple[str | None, dict[str, Any]]] = []
        for stage in self.plan.stages:
            own = self.options.sections.get(stage.name, {})
            if stage.name in self.plan.compared and not own:
                continue  # trained beside, as another one is
            settings = merge_arguments(training_defaults(), given, stage.arguments, own)
            if not stage.method.accepts_soft_targets and len(self.plan.stages) > 1:
                # What is common to all stages is left out of one that needs hard labels.
                settings |= dict.fromkeys(_MIXING, 0.0)
            found.append((stage.name, settings))
        if len(found) == 1:
            return [(None, found[0][1])]
        return [(name, settings) for name, settings in found if self.stage in (None, name)]


@cache
def _read_config(path: Path, text: str) -> RecipeConfig:
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("#").strip())
    options = parse_training(["--config", str(path)], defaults=script_defaults(path.parent.name))
    recipe = options.build(TrainOptions)
    plan = TrainingPlan.make(recipe, given_pretraining(options), options.sections, EXAMPLE_COUNTS)
    named = "method" in parse_yaml(text, str(path))
    return RecipeConfig(path, " ".join(" ".join(lines).split()), named, options, plan)


@cache
def script_defaults(script: str) -> dict[str, Any]:
    """What a script in recipes/ trains where nobody says otherwise."""
    path = Path(__file__).resolve().parents[1] / "recipes" / f"{script}.py"
    return runpy.run_path(str(path))["DEFAULTS"]


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
