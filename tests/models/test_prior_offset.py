"""The place that takes priors out of logits."""

from __future__ import annotations

import math

import pytest
import torch

from hf_ltr.models.prior_offset import prior_offset

from ..losses import golden

COUNTS, TARGET = [7, 300, 20], [0.5, 0.2, 0.3]


def log_shares(values):
    return torch.tensor([math.log(value / sum(values)) for value in values], dtype=torch.float64)


@pytest.mark.parametrize(
    "arguments,expected",
    [
        ({"remove": COUNTS}, -log_shares(COUNTS)),
        ({"remove": COUNTS, "tau": 0.3}, -0.3 * log_shares(COUNTS)),
        ({"add": TARGET, "tau": 0.3}, log_shares(TARGET)),
        ({"remove": COUNTS, "add": [10 * value for value in TARGET]}, log_shares(TARGET) - log_shares(COUNTS)),
        ({"remove": COUNTS, "add": COUNTS}, torch.zeros(3, dtype=torch.float64)),
        ({}, torch.zeros((), dtype=torch.float64)),
    ],
)
def test_values(arguments, expected):
    torch.testing.assert_close(prior_offset(**arguments), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("values", [[1, 0, 2], [1.0, float("nan"), 1.0], [1.0, float("inf"), 1.0], [1, -1, 3]])
@pytest.mark.parametrize("name", ["remove", "add"])
def test_priors_without_a_logarithm_are_refused(name, values):
    with pytest.raises(ValueError, match=f"prior to {name} .* class 1"):
        prior_offset(**{name: values})


def test_it_is_computed_on_the_cpu_while_a_model_is_built_on_meta():
    with torch.device("meta"):
        assert prior_offset(remove=COUNTS).device.type == "cpu"
        assert prior_offset().device.type == "cpu"


@pytest.mark.parametrize("tau", [1.0, 1.5])
def test_post_hoc_adjustment_is_that_of_the_reference(tau):
    # Menon et al. add 1e-12 inside the logarithm.
    adjusted = golden.tensor(golden.INPUTS["logits"]) + prior_offset(golden.COUNTS, tau=tau)
    case = golden.CASES[f"logit_adjust_posthoc_tau{tau}"]
    torch.testing.assert_close(adjusted, golden.tensor(case["adjusted_logits"]), rtol=1e-8, atol=1e-8)
    assert adjusted.argmax(1).tolist() == case["argmax"]


@pytest.mark.parametrize("target", ["uniform", "forward-50", "backward-50", "forward-5", "backward-5"])
def test_pc_softmax_is_that_of_the_reference(target):
    # hyperconnect/LADE adds 1e-9 inside its logarithms, so agreement ends at about 1e-7 of a share of 1e-3.
    case = golden.CASES["pc_softmax"][target]
    logits = golden.tensor(golden.INPUTS["logits"]) + prior_offset(golden.COUNTS, case["target_prior"])
    torch.testing.assert_close(logits.softmax(1), golden.tensor(case["pc_probs"]), rtol=1e-6, atol=1e-9)
