"""Facts about a method that decide how it may be used, asked of the method itself."""

from __future__ import annotations

from functools import cache

from hf_ltr.data import ClassCounts
from hf_ltr.methods import LongTailMethod, get_method
from hf_ltr.models import LongTailConfig

# Of three classes, one of each group.
EXAMPLE_COUNTS = ClassCounts([200, 50, 5])


@cache
def example(name: str) -> LongTailMethod:
    """The method with its defaults on three classes."""
    return get_method(name, class_counts=EXAMPLE_COUNTS)


def stage_names(name: str) -> list[str]:
    """Names of the stages of a method."""
    return [stage.name for stage in example(name).stages()]


def method_facts(name: str) -> list[str]:
    """
    What a user must know, as sentences in Markdown.

    Args:
        name (`str`): In `METHODS`.
    """
    method = example(name)
    facts = [_stages(method), _targets(method)]
    if method.batch_coupled:
        facts.append(
            "The loss looks at the whole batch: gradient accumulation changes it (a warning says so), and a small "
            "batch changes it too. Several processes gather their rows, so their number does not matter."
        )
    if method.adds_prior:
        facts.append(
            "The class prior is in the loss. Subtracting it from the logits afterwards (`hf-ltr adjust`), or sampling "
            "classes evenly, corrects twice; both warn."
        )
    facts += _architecture(method)
    if not _takes_empty_classes(name):
        facts.append("Every class needs at least one training image; a class without is refused before training.")
    if method.needs_validation:
        facts.append("Needs validation images (`validation_per_class`); the test set is never used for it.")
    if not method.sharded_parameters:
        facts.append("Reads whole parameters, so it is refused under FSDP and ZeRO-3.")
    return facts


def _stages(method: LongTailMethod) -> str:
    stages = method.stages()
    if len(stages) == 1:
        return "One stage, one network."
    parts = []
    for stage in stages:
        trained = "" if stage.arguments.get("num_train_epochs") != 0 else ", nothing is trained"
        inner = "" if stage.method is method else f" (`{stage.method.name}`{trained})"
        parts.append(f"`{stage.name}`{inner or (f' ({trained[2:]})' if trained else '')}")
    return f"{len(stages)} stages: {', then '.join(parts)}. Each is a resumable run in its own folder."


def _targets(method: LongTailMethod) -> str:
    if not method.uses_labels:
        return "Uses no labels."
    if method.accepts_soft_targets:
        return "Mixup, cutmix and label smoothing are possible."
    return "Hard labels only: mixup, cutmix and label smoothing are refused."


def _architecture(method: LongTailMethod) -> list[str]:
    """What `configure` asks of the model."""
    config = LongTailConfig(backbone="resnet20_cifar", class_counts=EXAMPLE_COUNTS)
    method.stages()[-1].method.configure(config)
    facts = []
    if config.head not in (None, "linear"):
        scale = f" of scale {config.head_scale:g}" if config.head_scale else ""
        facts.append(f"Needs the head `{config.head}`{scale}; `method.configure(config)` sets it.")
    if config.logit_adjustment is not None:
        facts.append(
            "The adjustment of the logits is in the model's config, so a checkpoint predicts with it wherever it is "
            "loaded; `outputs.raw_logits` are those before."
        )
    return facts


def _takes_empty_classes(name: str) -> bool:
    try:
        get_method(name, class_counts=[5, 3, 0])
    except ValueError:
        return False
    return True
