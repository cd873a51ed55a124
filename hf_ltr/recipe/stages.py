"""From options to stages: the runs of a method, pretraining before them, and other methods beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..data.class_counts import ClassCounts
from ..methods import METHODS, LongTailMethod, Stage, get_method
from ..methods.decoupled import DecoupledMethod
from ..methods.pretraining import with_pretraining
from ..naming import unknown_name
from ..validation import choice
from .model_options import ModelOptions
from .train_options import POST_HOC, TrainOptions

_REFERENCE = "stage:"
# Settings that a stage without training has no use for.
_LENGTHS = ("num_train_epochs", "max_steps")


@dataclass
class TrainingPlan:
    """
    What a run consists of.

    Args:
        method ([`LongTailMethod`]): Whose last stage is the run's model.
        stages (`list[Stage]`): All that is trained, in order.
        network (`str`): Name of the stage on whose network other methods are compared.
        compared (`list[str]`): Names of the stages of those.
    """

    method: LongTailMethod
    stages: list[Stage]
    network: str
    compared: list[str] = field(default_factory=list)

    @classmethod
    def make(
        cls, options: TrainOptions, pretraining: Mapping[str, Any], sections: Mapping[str, Any], counts: ClassCounts
    ) -> TrainingPlan:
        """
        Args:
            options ([`TrainOptions`]).
            pretraining (`dict[str, dict]`): Options of the method that goes first, by its name; empty if none does.
            sections (`dict[str, dict]`): Training arguments by stage.
            counts ([`ClassCounts`]): Of the training split.

        Raises:
            `ValueError`: for methods, options and comparisons that do not exist or contradict each other.
        """
        method = build_method(options, counts)
        stages = method.stages()
        if options.initial_checkpoint is not None:
            for stage in (stage for stage in stages if stage.start is None):
                stage.start, stage.new_classifier = options.initial_checkpoint, options.new_classifier
        for name, own in pretraining.items():
            stages = with_pretraining(stages, get_method(name, class_counts=counts, **own))
        last = stages[-1]
        if not last.method.uses_labels and (options.compared_methods or options.post_hoc_tau is not None):
            raise ValueError(f"{method.name} trains no classifier, so there is nothing to compare with it")
        plan = cls(method, stages, _network(stages))
        beside = _beside(options, plan, sections, counts)
        plan.compared = [stage.name for stage in beside]
        # The run's model comes last, unless others begin where it ends.
        plan.stages = [*stages, *beside] if plan.network == last.name else [*stages[:-1], *beside, last]
        return plan

    @property
    def last(self) -> Stage:
        """The stage whose weights are the run's model."""
        return next(stage for stage in reversed(self.stages) if stage.name not in self.compared)

    @property
    def pretraining(self) -> list[Stage]:
        """The stages without labels."""
        return [stage for stage in self.stages if not stage.method.uses_labels]

    def titles(self, given: Mapping[str, str]) -> dict[str, str]:
        """Row of the report by stage, `given` ones first."""
        found = {}
        for stage in self.stages:
            if stage.method.uses_labels:
                name = stage.method.name
                own = name if stage is self.last else f"{stage.name}: {name}"
                found[stage.name] = given.get(stage.name, f"+ {name}" if stage.name in self.compared else own)
        return found

    def complete(
        self,
        options: TrainOptions,
        model: ModelOptions,
        sections: Mapping[str, dict[str, Any]],
        log: Callable[[str], None],
    ) -> None:
        """
        Complete each stage's own training arguments from its section, and the networks of pretraining. How long
        nothing is to be trained is taken out of a section.
        """
        for stage in self.pretraining:
            stage.config |= {**model.pretraining_config(), **(options.pretraining_model or {})}
        for stage in self.stages:
            section = sections.get(stage.name, {})
            if stage.arguments.get("num_train_epochs") == 0:
                unused = [name for name in _LENGTHS if section.pop(name, None)]
                if unused:
                    log(
                        f"The {stage.name} of {stage.method.name} is computed, not trained: {stage.name}.{unused[0]} "
                        "has no effect."
                    )
            stage.arguments.update(section)


def build_method(options: TrainOptions, counts: ClassCounts) -> LongTailMethod:
    """The method, with the methods inside of it."""
    choice("method", options.method, METHODS, "See `hf-ltr list`.")
    own = dict(options.method_options or {})
    if options.initial_checkpoint is not None:
        for option, value in METHODS[options.method].options_from_checkpoint.items():
            if own.setdefault(option, value) != value:
                raise ValueError(
                    f"initial_checkpoint names weights to fine-tune, so there is no {option}: leave one of the two out"
                )
    if options.representation_method is not None:
        own["representation"] = {
            "name": options.representation_method,
            "options": options.representation_options or {},
        }
    elif options.representation_options:
        raise ValueError("representation_options are those of representation_method, which is not given")
    return get_method(options.method, class_counts=counts, **own)


def _network(stages: list[Stage]) -> str:
    """
    Name of the stage whose network the last one begins with, or its own. A stage that trains only a classifier leaves
    the network that of the stage before it.
    """
    earlier = {stage.name: stage for stage in stages[:-1] if stage.method.uses_labels}
    stage = stages[-1]
    while (before := earlier.get((stage.start or "").removeprefix(_REFERENCE))) is not None:
        stage = before
        if not isinstance(stage.method, DecoupledMethod):
            break
    return stage.name


def _beside(
    options: TrainOptions, plan: TrainingPlan, sections: Mapping[str, Any], counts: ClassCounts
) -> list[Stage]:
    """Stages of the methods that are compared, each a classifier on the same network, trained alike."""
    stages: list[Stage] = []
    taken = {stage.name for stage in plan.stages}
    for name in options.compared_methods:
        kind = METHODS.get(name)
        if kind is None or not issubclass(kind, DecoupledMethod):
            raise unknown_name("method to compare with", name, [POST_HOC, *comparable_methods(), "none"])
        stage_name = name if kind.stage_beside in taken else kind.stage_beside or name
        own = (options.classifier_options or {}) if stage_name == "classifier" else {}
        method = get_method(name, class_counts=counts, **own)
        (*_, stage) = method.stages()
        if stage.arguments.get("num_train_epochs") != 0:
            stage.arguments |= sections.get(stage.name, {})
        stage.name, stage.start = stage_name, f"{_REFERENCE}{plan.network}"
        # Stochastic depth is of the training of the network: a frozen one that drops paths is another in every step.
        stage.config |= {"drop_path_rate": 0.0}
        stages.append(stage)
        taken.add(stage_name)
    return stages


def comparable_methods() -> dict[str, str]:
    """By method that can run beside another one, the name of its stage there."""
    return {name: kind.stage_beside or name for name, kind in METHODS.items() if issubclass(kind, DecoupledMethod)}


def stage_names(options: TrainOptions, pretraining: Iterable[str], counts: ClassCounts) -> list[str]:
    """
    Names of the stages that a run may have: with its options, with those that its method has by itself (a config may
    describe stages that are left out), before and beside it.

    Args:
        options ([`TrainOptions`]).
        pretraining (iterable of `str`): Methods that can go first.
        counts ([`ClassCounts`]): Of any training set.
    """
    # Making the stage of pretraining would import its model, which --help need not wait for.
    first = [METHODS[name].stage_name for name in pretraining]
    usual = get_method(options.method, class_counts=counts).stages()
    own = [stage.name for stage in (*usual[:-1], *build_method(options, counts).stages())]
    *before, last = dict.fromkeys((*first, *own))
    beside = comparable_methods()
    return list(dict.fromkeys((*before, *beside.values(), *beside, last)))
