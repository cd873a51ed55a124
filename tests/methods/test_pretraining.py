"""Pretraining in front of a method's stages."""

import pytest

from hf_ltr import get_method
from hf_ltr.methods import PRETRAINING, Stage
from hf_ltr.methods.pretraining import with_pretraining
from hf_ltr.models import MaskedAutoencoder

COUNTS = [9, 5, 2]


def stages_behind_pretraining(name: str, **options):
    pretraining = get_method(PRETRAINING, class_counts=COUNTS, mask_ratio=0.5)
    return with_pretraining(get_method(name, class_counts=COUNTS, **options).stages(), pretraining)


def test_the_first_stage_starts_from_it():
    first, second, third = stages_behind_pretraining("crt")
    assert (first.name, first.method.mask_ratio, first.model_class) == ("pretraining", 0.5, MaskedAutoencoder)
    assert (second.start, third.start) == ("stage:pretraining", "stage:representation")


def test_every_stage_from_scratch_starts_from_it():
    """A student, whose teacher it reads and does not start from."""
    (pretraining,) = get_method(PRETRAINING, class_counts=COUNTS).stages()
    method = get_method("focal", class_counts=COUNTS)
    stages = [Stage("teacher", method), Stage("student", method, teachers={"teacher": "stage:teacher"})]
    stages.append(Stage("routing", method, start="stage:student"))
    starts = [stage.start for stage in with_pretraining(stages, pretraining.method)]
    assert starts == [None, "stage:pretraining", "stage:pretraining", "stage:student"]


def test_it_takes_the_place_of_a_method_s_own():
    first, second, _ = stages_behind_pretraining("mem")
    assert (first.name, first.method.mask_ratio) == ("pretraining", 0.5)
    assert second.start == "stage:pretraining"


def test_a_stage_that_starts_from_other_weights_needs_none():
    stages = get_method("cross_entropy", class_counts=COUNTS).stages()
    stages[0].start = "somebody/weights"
    with pytest.raises(ValueError, match="'train' starts from 'somebody/weights'"):
        with_pretraining(stages, get_method(PRETRAINING, class_counts=COUNTS))
