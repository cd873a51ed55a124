"""
What a model says about itself on the Hub: its card, evaluation results in the Hub's format, and the push.

This room lies below the trainer, which writes a card whenever it saves a model.
"""

from ..naming import is_hub_id
from .card import has_own_card, model_card, write_model_card
from .eval_results import write_eval_results
from .facts import AUTOENCODER, CLASSIFIER, CardFacts

__all__ = [
    "AUTOENCODER",
    "CLASSIFIER",
    "CardFacts",
    "has_own_card",
    "is_hub_id",
    "model_card",
    "write_eval_results",
    "write_model_card",
]
