"""Plain cross-entropy against its formula."""

import torch

from hf_ltr import get_method

from .fixtures import COUNTS, outputs_of, slow_cross_entropy, some_labels, some_logits


def test_it_is_that_of_the_raw_logits():
    logits, labels = some_logits(), some_labels()
    expected = torch.stack([slow_cross_entropy(row, int(label)) for row, label in zip(logits, labels, strict=True)])
    actual = get_method("cross_entropy", class_counts=COUNTS).sample_loss(outputs_of(logits), labels)
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=0)
