"""Mistakes of a row that are found before anything is trained, most of them before the data are read."""

from __future__ import annotations

import json
import math
from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers.trainer_utils import IntervalStrategy

from ..data.transforms.augmentation import check_augmentation_names
from ..methods import BASELINE, METHODS, Stage, check_options, get_method
from ..methods.double_correction import prior_corrections, warn_of_double_correction
from ..models import LongTailForImageClassification
from ..naming import unknown_name
from ..trainer import LongTailTrainingArguments
from ..trainer.checks import check_arguments
from ..trainer.degenerate import check_length
from ..trainer.optimization import planned_epochs, warmup_steps
from ..trainer.stage_model import stage_config
from ..trainer.stage_plan import stage_arguments
from .plans import Plan, share_of_process
from .protocol import Protocol
from .rows import MethodSpecification

# Class counts for what has to be built only to be looked at; what is wrong with both does not depend on the data.
_STAND_INS = tuple(tuple(range(10, 600, step)) for step in (50, 40))


def check_stage_names(protocol: Protocol) -> None:
    """A setting for a stage that does not exist would do nothing, silently."""
    known = {stage.name for name in METHODS for stage in get_method(name, class_counts=_STAND_INS[0]).stages()}
    limited = [key.partition(".")[0] for key in protocol.overrides if "." in key]
    for stage in [*protocol.stages, *limited]:
        if stage not in known:
            raise unknown_name(f"stage in protocol {protocol.name}", stage, sorted(known))


class RowChecks:
    """
    The checks of the rows of one table; a model that several rows have is built once.

    Args:
        protocol ([`Protocol`]).
        output_dir (`str` or `Path`): Of the table.
        processes (`int`): That train together.
    """

    def __init__(self, protocol: Protocol, output_dir: str | Path, processes: int):
        self.protocol, self.output_dir, self.processes = protocol, Path(output_dir), processes
        self._built: set[str] = set()

    def before_data(self, row: MethodSpecification, seed: int) -> None:
        """
        What can be known without class counts. What may depend on them (an option with a value per class) is left to
        [`~RowChecks.with_counts`].
        """
        check_options(row.name, {**self.protocol.method_options(row.name), **row.options})
        found: str | None = None
        for counts in _STAND_INS:
            try:
                plan = Plan.make(self.protocol, row, seed, counts)
                self._check_row(row, plan)
                for stage in plan.stages:
                    with _naming(row, stage):
                        self._checked_arguments(plan, stage)
                    self._check_model(row, plan, stage)
                return
            except ValueError as error:
                if str(error) == found:
                    raise
                found = str(error)

    def with_counts(self, row: MethodSpecification, plan: Plan, splits: Container[str]) -> None:
        """
        Everything else.

        Args:
            row ([`MethodSpecification`]).
            plan ([`Plan`]): With the class counts of the row's training split.
            splits (container of `str`): Names of those its data have.

        Raises:
            `ValueError`: naming the row and what to do.
        """
        self._check_row(row, plan)
        if row.post_hoc:
            plan.counts.require_images(f"post-hoc logit adjustment ({row.label})")
            self._check_correction(row, plan)
        for stage in plan.stages:
            self._check_validation(row, stage, splits)
            with _naming(row, stage):
                args = self._checked_arguments(plan, stage)
                if args.eval_strategy != "no" and "validation" not in splits:
                    raise ValueError(
                        f"eval_strategy={IntervalStrategy(args.eval_strategy).value!r}, but there is no validation "
                        "split to evaluate on during training (the test set is for the end); set "
                        "validation_per_class, or eval_strategy=no"
                    )
                self._check_schedule(plan, args)
            self._check_model(row, plan, stage)

    def _check_row(self, row: MethodSpecification, plan: Plan) -> None:
        if not plan.stages[-1].method.uses_labels:
            raise ValueError(
                f"{row.label} trains no classifier, so a table has nothing to measure. Name the methods that are to "
                "follow it; `pretraining: {}` in a protocol file begins every row with pretraining."
            )
        if row.post_hoc and plan.method.adds_prior:
            raise ValueError(
                f"{row.label}: {row.name} has the class prior in its loss; subtracting it again from the logits "
                f"corrects twice. Use {BASELINE}+{row.post_hoc}, or {row.name} alone."
            )

    def _check_correction(self, row: MethodSpecification, plan: Plan) -> None:
        """A prior that is removed twice: refused where the second would replace the first, else warned about."""
        if stage_config(plan.stages[-1], plan.model_config()).logit_adjustment is not None:
            raise ValueError(
                f"{row.label}: {row.name} removes the class prior from its logits itself. Use {row.name} alone, or "
                f"{BASELINE}+{row.post_hoc}."
            )
        warn_of_double_correction(
            f"{row.label} removes the class prior from the logits",
            prior_corrections(plan.method.describe()),
            f"{BASELINE}+{row.post_hoc} corrects once.",
        )

    def _check_validation(self, row: MethodSpecification, stage: Stage, splits: Container[str]) -> None:
        if not stage.method.needs_validation or "validation" in splits:
            return
        part = "" if stage.method.name == row.name else f" in its stage {stage.name} ({stage.method.name})"
        otherwise = stage.method.without_validation
        raise ValueError(
            f"{row.label} measures or chooses something on validation images{part}, and under protocol "
            f"{self.protocol.name} there are none. Hold some out, which takes them from training: `--set "
            f"validation_per_class=25` for all rows, or `methods: {{{row.name}: {{data: {{validation_per_class: "
            f"25}}}}}}` in a protocol file for this method{f'; or {otherwise}' if otherwise else ''}. The test set is "
            "for the end."
        )

    def _checked_arguments(self, plan: Plan, stage: Stage) -> LongTailTrainingArguments:
        folder = self.output_dir / "runs" / stage.name
        options = stage_arguments(stage, plan.stages, plan.arguments, folder, lambda text: None)
        args = LongTailTrainingArguments(**share_of_process(options, self.processes))
        check_arguments(stage.method, args)
        check_length(stage.method, args)
        assert not isinstance(args.augmentation_options, str)  # read as JSON by the arguments
        check_augmentation_names(args.augmentation, args.augmentation_options)
        return args

    def _check_schedule(self, plan: Plan, args: LongTailTrainingArguments) -> None:
        """A warm-up that is longer than the run would be refused too, but only after the images were decoded."""
        epochs = planned_epochs(args, plan.counts.total)
        if epochs <= 0:
            return  # a computed classifier
        batch = args.per_device_train_batch_size * args.gradient_accumulation_steps * self.processes
        steps = args.max_steps if args.max_steps > 0 else math.ceil(epochs * math.ceil(plan.counts.total / batch))
        warmup_steps(args, steps, epochs)

    def _check_model(self, row: MethodSpecification, plan: Plan, stage: Stage) -> None:
        """Build a stage's model once, whichever rows have it: a backbone that does not fit says so here."""
        model_class = stage.model_class or LongTailForImageClassification
        try:
            config = stage_config(stage, plan.model_config())
            facts = {key: value for key, value in config.to_dict().items() if key != "method"}
            key = f"{model_class.__name__} {json.dumps(facts, sort_keys=True, default=str)}"
            if key not in self._built:
                model_class(config)
                self._built.add(key)
        except ValueError as error:
            raise ValueError(
                f"{row.label} cannot be trained under protocol {self.protocol.name} (stage {stage.name}): "
                f"{str(error).rstrip('.')}. "
                "`--set backbone=NAME` and `image_size` give it another network; other protocols have other ones."
            ) from error


@contextmanager
def _naming(row: MethodSpecification, stage: Stage) -> Iterator[None]:
    """Errors of a stage begin with the row and the stage they are about."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{row.label}, stage {stage.name}: {error}") from error
