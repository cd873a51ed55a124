"""Model card, evaluation results and the facts of the machine and the commit."""

from .card import CardFacts, model_card, write_model_card
from .environment import git_commit, hardware, package_versions
from .eval_results import is_hub_id, write_eval_results
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
