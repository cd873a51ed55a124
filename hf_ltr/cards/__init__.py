"""The card of a model: what it was trained with, how good it is, and the facts of the machine and the commit."""

from .card import has_own_card, model_card, write_model_card
from .environment import git_commit, hardware, package_versions
from .eval_results import is_hub_id, write_eval_results
from .facts import AUTOENCODER, CLASSIFIER, CardFacts

__all__ = [
    "AUTOENCODER",
    "CLASSIFIER",
    "CardFacts",
    "git_commit",
    "hardware",
    "has_own_card",
    "is_hub_id",
    "model_card",
    "package_versions",
    "write_eval_results",
    "write_model_card",
]
