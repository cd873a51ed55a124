"""Checks of single values: what they take, and the sentences they refuse others with."""

from __future__ import annotations

import numpy as np
import pyarrow
import pytest
import torch

from hf_ltr.validation import flag, number, plain, whole_number


def test_checks_of_values():
    assert number("x", np.float32(0.5), minimum=0, maximum=1) == 0.5 and type(number("x", np.int64(3))) is int
    assert whole_number("x", np.uint8(3), minimum=1) == 3
    with pytest.raises(ValueError, match="x must be a finite number from 0 to 1, got 2"):
        number("x", 2, minimum=0, maximum=1)
    with pytest.raises(ValueError, match="x must be a finite number of at least 0 and below 1, got 1"):
        number("x", 1, minimum=0, below=1)
    with pytest.raises(ValueError, match="x must be a whole number of at most 5, got 6"):
        whole_number("x", 6, maximum=5)
    with pytest.raises(ValueError) as error:
        number("x", "y" * 10**6)
    assert len(str(error.value)) < 300


def test_what_is_no_scalar_is_no_number():
    assert [number("x", value) for value in (np.array(2), torch.tensor(2.5), pyarrow.scalar(3))] == [2, 2.5, 3]
    assert type(whole_number("x", np.uint8(7))) is int and flag("x", torch.tensor(True)) is True
    assert plain({"a": (np.float64(1), [np.int8(2)])}) == {"a": (1.0, [2])}
    for value in (np.array([2]), torch.tensor([1.0]), np.True_, np.nan, torch.tensor(float("inf")), "2"):
        with pytest.raises(ValueError, match="finite number"):
            number("x", value)
