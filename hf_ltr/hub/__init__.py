"""The end of a run (report, push) and the pages of the methods; cards themselves are made in [`hf_ltr.cards`]."""

from ..cards import (
    CardFacts,
    environment,
    git_commit,
    hardware,
    is_hub_id,
    model_card,
    package_versions,
    write_eval_results,
    write_model_card,
)
from .run_report import RunReport

__all__ = [
    "CardFacts",
    "RunReport",
    "git_commit",
    "hardware",
    "is_hub_id",
    "model_card",
    "package_versions",
    "write_eval_results",
    "write_model_card",
]
