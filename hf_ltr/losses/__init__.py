"""Pure losses of long-tailed recognition: tensors in, tensor out."""

from .balanced_softmax import BalancedSoftmaxLoss
from .base import REDUCTIONS, ClassificationLoss
from .class_weights import effective_number_weights, inverse_frequency_weights
from .cross_entropy import CrossEntropyLoss
from .distributed import gather_rows
from .ldam import LDAMLoss
from .logit_adjusted import LogitAdjustedLoss
from .regularizing_outlier import (
    RegularizingOutlierLoss,
    mutual_exclusive_regularization,
    regularizing_outlier_loss,
)

__all__ = [
    "REDUCTIONS",
    "BalancedSoftmaxLoss",
    "ClassificationLoss",
    "CrossEntropyLoss",
    "LDAMLoss",
    "LogitAdjustedLoss",
    "RegularizingOutlierLoss",
    "effective_number_weights",
    "gather_rows",
    "inverse_frequency_weights",
    "mutual_exclusive_regularization",
    "regularizing_outlier_loss",
]
