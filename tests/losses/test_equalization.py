import math

import pytest
import torch
from torch.nn import functional as F

from hf_ltr.losses import CrossEntropyLoss, SigmoidEqualizationLoss, SoftmaxEqualizationLoss

from .batches import UNSORTED, close, random_batch, slow_sigmoid
from .golden import CASES, COUNTS, assert_golden, golden_labels, golden_logits, tensor

SOFTMAX_CASES = [name for name in CASES if name.startswith("seql_")]
SIGMOID_CASES = ["eql_sigmoid_lambda{}", "eql_hitachi_lambda{}_coin1"]


def threshold_of(case: str) -> float:
    return float(case.split("lambda")[1].split("_")[0])


@pytest.mark.parametrize("case", SOFTMAX_CASES)
@pytest.mark.parametrize("dtype", [torch.bool, torch.float64])
def test_softmax_form_equals_the_reference_code(case, dtype):
    logits = golden_logits(case)
    loss = SoftmaxEqualizationLoss(COUNTS, threshold_of(case), gamma=0.9)
    if "tail_mask" in CASES[case]:
        assert loss.rare.tolist() == [value == 1 for value in CASES[case]["tail_mask"]]
    coins = tensor(CASES[case]["beta"]).to(dtype)
    assert_golden(case, loss(logits, golden_labels(), ignored=coins), logits)


@pytest.mark.parametrize("threshold", ["0.005", "0.02"])
@pytest.mark.parametrize("case", SIGMOID_CASES)
def test_sigmoid_form_equals_the_reference_code(case, threshold):
    case = case.format(threshold)
    logits = golden_logits(case)
    assert_golden(case, SigmoidEqualizationLoss(COUNTS, float(threshold))(logits, golden_labels()), logits)


@pytest.mark.parametrize("threshold", ["0.005", "0.02"])
def test_sigmoid_form_without_rare_classes_is_binary_cross_entropy(threshold):
    # The hitachi variant tosses one coin for the batch: heads is the loss above, tails this.
    case = f"eql_hitachi_lambda{threshold}_coin0"
    logits = golden_logits(case)
    assert_golden(case, SigmoidEqualizationLoss(COUNTS, 0.0)(logits, golden_labels()), logits)


def slow_softmax_rows(logits, labels, rare, coins):
    rows = []
    for row, label, tosses in zip(logits.tolist(), labels.tolist(), coins.tolist(), strict=True):
        kept = [index for index in range(len(row)) if index == label or not (rare[index] and tosses[index])]
        rows.append(math.log(sum(math.exp(row[index]) for index in kept)) - row[label])
    return rows


def test_equals_a_slow_loop_on_unsorted_counts():
    logits, labels = random_batch(rows=13)
    coins = torch.rand(13, 5, generator=torch.Generator().manual_seed(5)) < 0.6
    for threshold in (0.0, 0.005, 0.02, 0.1, 1.0):
        rare = [count / sum(UNSORTED) < threshold for count in UNSORTED]
        loss = SoftmaxEqualizationLoss(UNSORTED, threshold, 0.6)
        expected = slow_softmax_rows(logits, labels, rare, coins)
        close(loss(logits, labels, reduction="none", ignored=coins), expected)
        sigmoid = []
        for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
            total = -math.log(slow_sigmoid(row[label]))
            total -= sum(
                math.log(slow_sigmoid(-value)) for index, value in enumerate(row) if index != label and not rare[index]
            )
            sigmoid.append(total)
        close(SigmoidEqualizationLoss(UNSORTED, threshold)(logits, labels, reduction="none"), sigmoid)
    assert rare == [True] * 5


def test_a_class_at_the_threshold_is_frequent():
    assert SoftmaxEqualizationLoss([1, 3, 4], 0.125, 1.0).rare.tolist() == [False, False, False]
    assert SoftmaxEqualizationLoss([1, 3, 4], 0.375, 1.0).rare.tolist() == [True, False, False]
    assert SoftmaxEqualizationLoss([0, 3, 5], 0.1, 1.0).rare.tolist() == [True, False, False]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("soft", [False, True])
def test_a_row_with_nothing_left_has_no_loss_and_no_gradient(dtype, soft):
    logits = torch.tensor([[1.0, -2.0, 3.0], [50.0, 90.0, -300.0]], dtype=dtype, requires_grad=True)
    labels = torch.tensor([1, 2])
    targets = F.one_hot(labels, 3).to(dtype) if soft else labels
    loss = SoftmaxEqualizationLoss([4, 4, 4], threshold=0.5, gamma=1.0)
    rows = loss(logits, targets, reduction="none", ignored=torch.ones(2, 3, dtype=torch.bool))
    rows.sum().backward()
    assert rows.tolist() == [0.0, 0.0] and not logits.grad.any()


def test_soft_labels_keep_each_possible_labels_own_entry():
    logits, labels = random_batch()
    coins = torch.rand(9, 5, generator=torch.Generator().manual_seed(6)) < 0.7
    loss = SoftmaxEqualizationLoss(UNSORTED, 0.1, 0.7)
    targets = torch.rand(9, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    targets /= targets.sum(dim=1, keepdim=True)
    expected = sum(
        targets[:, index] * loss(logits, torch.full_like(labels, index), reduction="none", ignored=coins)
        for index in range(5)
    )
    close(loss(logits, targets, reduction="none", ignored=coins), expected.detach())


def test_coins_are_drawn_in_training_only():
    logits, labels = random_batch(rows=200)
    loss = SoftmaxEqualizationLoss(UNSORTED, threshold=0.1, gamma=0.3)
    torch.manual_seed(0)
    first = loss(logits, labels, reduction="none")
    torch.manual_seed(0)
    close(loss(logits, labels, reduction="none"), first.detach(), tolerance=0)
    assert not torch.equal(loss(logits, labels, reduction="none"), first)
    plain = CrossEntropyLoss()(logits, labels, reduction="none").detach()
    close(loss.eval()(logits, labels, reduction="none"), plain)
    # The extremes need no luck: gamma is the probability of leaving an entry out, one coin per entry.
    close(SoftmaxEqualizationLoss(UNSORTED, 0.1, gamma=0.0)(logits, labels, reduction="none"), plain)
    everything = torch.ones(200, 5, dtype=torch.bool)
    always = SoftmaxEqualizationLoss(UNSORTED, 0.1, gamma=1.0)
    close(
        always(logits, labels, reduction="none"),
        always(logits, labels, reduction="none", ignored=everything).detach(),
    )


def test_gamma_is_the_rate_of_leaving_out():
    # With equal logits, a row of two rare negatives has loss log(3), log(2) or 0; the label is never left out.
    logits, labels = torch.zeros(4000, 3), torch.zeros(4000, dtype=torch.int64)
    torch.manual_seed(1)
    rows = SoftmaxEqualizationLoss([2, 2, 2], threshold=1.0, gamma=0.8)(logits, labels, reduction="none")
    shares = [(rows - math.log(kept)).abs().lt(1e-5).float().mean().item() for kept in (1, 2, 3)]
    assert sum(shares) == pytest.approx(1.0)
    assert shares == pytest.approx([0.64, 0.32, 0.04], abs=0.03)


def test_bad_options_are_refused():
    for threshold in (-0.1, 1.5, 20):
        with pytest.raises(ValueError, match="share"):
            SoftmaxEqualizationLoss([5, 2], threshold, 0.9)
    with pytest.raises(ValueError, match="gamma"):
        SoftmaxEqualizationLoss([5, 2], 0.1, 1.1)
    with pytest.raises(ValueError, match="ignored"):
        SoftmaxEqualizationLoss([5, 2], 0.1, 0.9)(torch.zeros(3, 2), torch.tensor([0, 1, 1]), ignored=torch.ones(3))
