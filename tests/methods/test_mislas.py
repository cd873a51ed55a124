"""MiSLAS: the arguments of its stages, and what moves in the second."""

import pytest
import torch

from hf_ltr import get_method
from hf_ltr.trainer.stage_plan import stage_arguments

from .decoupled_runs import make_trainer, moved, state


def options_of(method, **common):
    """Training arguments of both stages as a run would have them."""
    stages = method.stages()
    return [stage_arguments(stage, stages, common, "folder", log=lambda text: pytest.fail(text)) for stage in stages]


@pytest.mark.parametrize("norm", ["train", "eval"])
def test_shifted_batch_norm_moves_statistics_under_frozen_weights(norm, tmp_path):
    trainer = make_trainer(tmp_path, "mislas", method_options={"norm": norm})
    before = state(trainer)
    trainer.train()
    names = {"classifier.weight", "classifier.bias", "classifier.scale"}
    assert moved(before, state(trainer)) == (names, norm == "train")
    assert get_method("mislas", class_counts=[3, 2]).norm == "train"


def test_mixup_is_in_the_first_stage_only():
    first, second = options_of(get_method("mislas", class_counts=[9, 4, 2], mixup_alpha=0.2), cutmix_alpha=1.0)
    assert first["mixup_alpha"] == 0.2
    assert second["mixup_alpha"] == second["cutmix_alpha"] == 0.0


def test_the_classifier_is_slower_than_the_scales(tmp_path):
    method = get_method("mislas", class_counts=[9, 4, 2], lr_factor=0.05)
    arguments = method.stages()[1].arguments["parameter_options"]
    trainer = make_trainer(tmp_path, "mislas", parameter_options=arguments, learning_rate=0.4)
    trainer.method.setup(trainer)
    rates = {}
    for group in trainer.create_optimizer().param_groups:
        for parameter in group["params"]:
            name = next(n for n, p in trainer.model.named_parameters() if p is parameter)
            rates[name] = (group["lr"], group["weight_decay"])
    decay = trainer.args.weight_decay
    slow, fast = (pytest.approx(0.02), decay), (pytest.approx(0.4), decay)
    assert rates == {"classifier.weight": slow, "classifier.bias": slow, "classifier.scale": fast}


def test_a_section_of_the_user_wins():
    """As `run_recipe` merges them: the section is written over the method's own arguments."""
    method = get_method("mislas", class_counts=[9, 4, 2])
    stages = method.stages()
    stages[0].arguments.update({"mixup_alpha": 0.7})
    stages[1].arguments.update({"parameter_options": {"^classifier": {"lr_scale": 3.0}}})
    first, second = (stage_arguments(stage, stages, {"mixup_alpha": 0.1}, "folder") for stage in stages)
    assert first["mixup_alpha"] == 0.7
    assert second["parameter_options"] == {"^classifier": {"lr_scale": 3.0}}
    # The next list of stages is the method's own again.
    assert method.stages()[0].arguments == {"mixup_alpha": 1.0}


def test_a_representation_with_hard_labels_cannot_be_mixed():
    with pytest.raises(ValueError, match="ldam needs hard labels; set mixup_alpha=0"):
        get_method("mislas", class_counts=[3, 2], representation="ldam")
    with pytest.raises(ValueError, match="must not be negative"):
        get_method("mislas", class_counts=[3, 2], lr_factor=-1.0)


def test_smoothing_follows_the_counts_not_the_label_order():
    """The most frequent class is smoothed most, wherever it stands."""
    method = get_method("mislas", class_counts=[10, 500, 60])
    outputs = type("Outputs", (), {"raw_logits": torch.zeros(3, 3, dtype=torch.float64)})
    # On equal logits the loss is log 3 for any smoothing; its gradient is not.
    outputs.raw_logits.requires_grad_()
    method.sample_loss(outputs, torch.tensor([0, 1, 2])).sum().backward()
    own = -outputs.raw_logits.grad.diagonal()
    for label, smoothing in enumerate(method.loss.smoothing().tolist()):
        assert own[label].item() == pytest.approx(1 - smoothing + smoothing / 3 - 1 / 3)
    assert own[0] > own[2] > own[1]
