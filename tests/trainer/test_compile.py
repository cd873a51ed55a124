"""`torch_compile`: one graph of the whole loss, the same training."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ..contracts.builders import losses, make_trainer, weights


@pytest.mark.parametrize(
    "name", ["ldam_drw", *(pytest.param(name, marks=pytest.mark.slow) for name in ("mem", "masked_autoencoding"))]
)
def test_compiled_training_equals_eager(name, tmp_path):
    """`aot_eager` traces like the default backend and runs the same kernels, so weights agree to rounding."""
    torch._dynamo.reset()
    eager = make_trainer(name, tmp_path / "eager")
    eager.train()
    compiled = make_trainer(name, tmp_path / "compiled", torch_compile=True, torch_compile_backend="aot_eager")
    counters = torch._dynamo.utils.counters
    counters.clear()
    compiled.train()
    assert counters["stats"]["unique_graphs"] >= 1, "nothing was compiled"
    assert not counters["graph_break"], f"the loss is not one graph: {dict(counters['graph_break'])}"
    # The model alone is never compiled: accelerate's own compilation would wrap it.
    assert compiled.model_wrapped is compiled.model
    np.testing.assert_allclose(losses(eager), losses(compiled), rtol=2e-4)
    for key, value in weights(eager).items():
        np.testing.assert_allclose(value, weights(compiled)[key], rtol=1e-3, atol=1e-5, err_msg=key)


@pytest.mark.slow
def test_default_backend_trains(tmp_path):
    torch._dynamo.reset()
    trainer = make_trainer("cross_entropy", tmp_path, torch_compile=True)
    trainer.train()
    assert len(losses(trainer)) == 10
    assert np.isfinite(losses(trainer)).all()
