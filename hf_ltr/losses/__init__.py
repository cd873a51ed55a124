"""Pure losses of long-tailed recognition: tensors in, tensor out."""

from ..distributed import gather_rows
from .balanced_bce import BalancedBCELoss
from .base import REDUCTIONS, ClassificationLoss
from .class_balanced import CLASS_BALANCED_FORMS, ClassBalancedLoss
from .class_weights import effective_number_weights, inverse_frequency_weights
from .cross_entropy import CrossEntropyLoss
from .difficulty import DIFFICULTY_FORMS, difficulty_weights, dynamic_tau
from .equalization import SigmoidEqualizationLoss, SoftmaxEqualizationLoss
from .focal import FocalLoss
from .label_aware_smoothing import SMOOTHING_SHAPES, LabelAwareSmoothingLoss
from .lade import LADELoss, lade_regularizer
from .ldam import LDAMLoss
from .prior_losses import BalancedSoftmaxLoss, LogitAdjustedLoss
from .priors import add_log_prior, add_log_prior_odds, log_prior, log_prior_odds
from .regularizing_outlier import RegularizingOutlierLoss, mutual_exclusive_regularization, regularizing_outlier_loss
from .weight_norms import max_norm, max_norm_radius, tau_normalize

__all__ = [
    "CLASS_BALANCED_FORMS",
    "DIFFICULTY_FORMS",
    "REDUCTIONS",
    "SMOOTHING_SHAPES",
    "BalancedBCELoss",
    "BalancedSoftmaxLoss",
    "ClassBalancedLoss",
    "ClassificationLoss",
    "CrossEntropyLoss",
    "FocalLoss",
    "LADELoss",
    "LDAMLoss",
    "LabelAwareSmoothingLoss",
    "LogitAdjustedLoss",
    "RegularizingOutlierLoss",
    "SigmoidEqualizationLoss",
    "SoftmaxEqualizationLoss",
    "add_log_prior",
    "add_log_prior_odds",
    "difficulty_weights",
    "dynamic_tau",
    "effective_number_weights",
    "gather_rows",
    "inverse_frequency_weights",
    "lade_regularizer",
    "log_prior",
    "log_prior_odds",
    "max_norm",
    "max_norm_radius",
    "mutual_exclusive_regularization",
    "regularizing_outlier_loss",
    "tau_normalize",
]
