"""LDAM against its formula, and the head it needs."""

import pytest
import torch

from hf_ltr import LongTailConfig, get_method

from .fixtures import COUNTS, outputs_of, slow_cross_entropy, some_labels, some_logits


def test_the_scaled_margin_of_the_true_class_is_subtracted():
    logits, labels = some_logits(scale=10.0), some_labels()
    method = get_method("ldam", class_counts=COUNTS, max_margin=0.4, scale=20.0)
    margins = torch.tensor([count**-0.25 for count in COUNTS], dtype=torch.float64)
    margins = margins * 0.4 / margins.max()
    expected = []
    for row, label in zip(logits.clone(), labels, strict=True):
        row[label] -= 20.0 * margins[label]  # the head's scale is in the logits already
        expected.append(slow_cross_entropy(row, int(label)))
    torch.testing.assert_close(
        method.sample_loss(outputs_of(logits), labels), torch.stack(expected), rtol=1e-9, atol=0
    )


def test_it_configures_a_cosine_head_once():
    method = get_method("ldam", class_counts=COUNTS, scale=20.0)
    config = LongTailConfig(backbone="resnet20_cifar", class_counts=COUNTS)
    method.configure(config)
    assert (config.head, config.head_scale) == ("cosine", 20.0)
    method.configure(config)
    with pytest.raises(ValueError, match="cosine head.*'linear'"):
        method.configure(LongTailConfig(backbone="resnet20_cifar", class_counts=COUNTS, head="linear"))
    other = LongTailConfig(backbone="resnet20_cifar", class_counts=COUNTS, head="cosine", head_scale=16.0)
    with pytest.raises(ValueError, match="scale 20.0 but config.head_scale is 16.0"):
        method.configure(other)
