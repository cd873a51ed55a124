import math

import pytest
import torch

from hf_ltr import ClassCounts
from hf_ltr.losses import add_log_prior, add_log_prior_odds, log_prior, log_prior_odds

from .batches import UNSORTED, close, random_batch
from .golden import CASES, COUNTS, golden_logits


@pytest.mark.parametrize("counts", [UNSORTED, ClassCounts(UNSORTED), torch.tensor(UNSORTED)])
def test_values(counts):
    total = sum(UNSORTED)
    close(log_prior(counts), [math.log(count / total) for count in UNSORTED])
    close(log_prior(counts, epsilon=0.1), [math.log(count / total + 0.1) for count in UNSORTED])
    odds = [math.log(count / (total - count)) for count in UNSORTED]
    close(log_prior_odds(counts), odds)
    logits, _ = random_batch()
    for tau in (1.0, 0.3):
        close(add_log_prior(logits, counts, tau) - logits, (tau * log_prior(UNSORTED)).expand(9, 5))
        close(add_log_prior_odds(logits, counts, tau) - logits, (tau * torch.tensor(odds).double()).expand(9, 5), 1e-6)
    assert log_prior(counts, dtype=torch.float32).dtype == torch.float32
    assert add_log_prior(logits.float(), counts).dtype == torch.float32


@pytest.mark.parametrize("target", sorted(CASES["pc_softmax"].keys() - {"repository", "commit", "note", "source"}))
def test_post_compensation_equals_the_reference_code(target):
    case = CASES["pc_softmax"][target]
    logits = golden_logits("pc_softmax").detach()
    new_prior = torch.tensor(case["target_prior"], dtype=torch.float64).log()
    close((logits - log_prior(COUNTS) + new_prior).softmax(dim=1), case["pc_probs"], tolerance=1e-9)


@pytest.mark.parametrize("tau", ["1.0", "1.5"])
def test_post_hoc_adjustment_equals_the_reference_formula(tau):
    # Up to the 1e-12 that the authors add inside the logarithm.
    case = f"logit_adjust_posthoc_tau{tau}"
    adjusted = golden_logits(case).detach() - float(tau) * log_prior(COUNTS)
    close(adjusted, CASES[case]["adjusted_logits"], tolerance=1e-8)
    assert adjusted.argmax(dim=1).tolist() == CASES[case]["argmax"]


def test_empty_classes_and_shapes():
    with pytest.raises(ValueError, match="log_prior"):
        log_prior([3, 0, 2])
    assert torch.isfinite(log_prior([3, 0, 2], epsilon=1e-9)).all()
    with pytest.raises(ValueError, match="log_prior_odds"):
        log_prior_odds([3, 0, 2])
    with pytest.raises(ValueError, match="two classes"):
        log_prior_odds([3])
    with pytest.raises(ValueError, match="2 classes.*3 columns"):
        add_log_prior(torch.zeros(4, 3), [5, 2])
