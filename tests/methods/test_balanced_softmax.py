"""Balanced softmax against its formula."""

import torch

from hf_ltr import get_method

from .fixtures import COUNTS, outputs_of, slow_cross_entropy, some_labels, some_logits


def test_it_adds_the_log_counts():
    logits, labels = some_logits(), some_labels()
    method = get_method("balanced_softmax", class_counts=COUNTS)
    shifted = logits + torch.tensor(COUNTS, dtype=torch.float64).log()
    expected = torch.stack([slow_cross_entropy(row, int(label)) for row, label in zip(shifted, labels, strict=True)])
    torch.testing.assert_close(method.sample_loss(outputs_of(logits), labels), expected, rtol=1e-9, atol=0)
    assert method.adds_prior
