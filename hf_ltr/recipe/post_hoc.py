"""A row of a run's report that no stage trained: the weights of one with their logits adjusted."""

from __future__ import annotations

import dataclasses

from ..methods.double_correction import prior_corrections, warn_of_double_correction
from ..models import LongTailForImageClassification
from ..models.quiet import quiet_loading
from ..reporting import RunReport
from ..reporting.finished_run import StageResult
from ..trainer.evaluation import evaluate_model, evaluation_arguments
from ..trainer.run_folder import recorded_sampler


def add_logit_adjustment(report: RunReport, name: str, result: StageResult, *, tau: float = 1.0) -> None:
    """
    Add a row for the weights of a stage with `tau * log prior` of the training set subtracted from the logits (Menon
    et al. 2021, section 4.1). tau is fixed beforehand, never chosen on the test set.

    Args:
        report ([`RunReport`]): Of the run.
        name (`str`): Of the row.
        result ([`StageResult`]): The stage; its model was trained without a correction of the prior.
        tau (`float`, defaults to 1.0).
    """
    counts = report.class_counts
    counts.require_images("post-hoc logit adjustment")
    with quiet_loading():
        model = LongTailForImageClassification.from_pretrained(result.folder)
    assert isinstance(model, LongTailForImageClassification)
    # A logit adjustment that the model has is replaced, not added to.
    done = {"sampler": recorded_sampler(result.folder), "logit_adjustment": None}
    warn_of_double_correction(
        f"{name!r} subtracts it from the logits",
        prior_corrections(model.config.method, done),
        "Report it for models trained without one.",
    )
    model.set_logit_adjustment({"tau": tau, "remove": list(counts.counts)})
    metrics = evaluate_model(model, report.data["test"], evaluation_arguments(report.arguments))
    report.add(name, dataclasses.replace(result, metrics=metrics))
