"""MEM behind the classifier of another method instead of beside it."""

from __future__ import annotations

import warnings

import pytest
import torch

from hf_ltr import LongTailForImageClassification, class_counts, get_method
from hf_ltr.methods.double_correction import prior_corrections
from hf_ltr.recipe import TrainOptions
from hf_ltr.recipe.stages import TrainingPlan
from hf_ltr.table import MethodSpecification, published_targets
from hf_ltr.table.plans import Plan
from hf_ltr.table.protocol import load_protocol
from hf_ltr.trainer import run_stages

from ..contracts.builders import OPTIONS, make_config, make_dataset
from .test_decoupled import TINY

COUNTS = [300, 50, 150, 5, 20, 3]


def stages_of(**options):
    return [(stage.name, stage.method.name, stage.start) for stage in mem(**options).stages()]


def mem(counts=COUNTS, **options):
    return get_method("mem", class_counts=counts, **options)


@pytest.mark.parametrize("name", ["crt", "lws", "las_stage2", "mislas", "weight_balancing"])
def test_the_stages_of_the_representation_come_first(name):
    behind = [
        ("representation", "cross_entropy", None),
        ("classifier", name, "stage:representation"),
        ("modulator", "mem", "stage:classifier"),
    ]
    assert stages_of(representation=name, pretraining=False) == behind
    assert stages_of(representation=name) == [
        ("pretraining", "masked_autoencoding", None),
        ("representation", "cross_entropy", "stage:pretraining"),
        *behind[1:],
    ]
    own = get_method(name, class_counts=COUNTS).stages()
    for stage, expected in zip(mem(representation=name, pretraining=False).stages(), own, strict=False):
        assert (stage.arguments, stage.config) == (expected.arguments, expected.config)


def test_the_description_builds_it_again():
    inside = {"name": "crt", "options": {"norm": "eval"}, "representation": "balanced_softmax"}
    method = mem(representation=inside)
    again = get_method(method.describe(), class_counts=COUNTS)
    assert again.describe() == method.describe()
    assert again.representation.norm == "eval" and again.representation.representation.name == "balanced_softmax"


@pytest.mark.parametrize(
    ("representation", "message"),
    [
        ("mem", "one stage, or one that trains a classifier behind a representation, but mem has the stages pretr"),
        ({"name": "mem", "options": {"pretraining": False}}, "but mem has the stages finetuning, modulator"),
        ("masked_autoencoding", "masked_autoencoding begins without labels"),
        ("tau_norm", "must train its classifier, but tau_norm computes it"),
        ("ncm", "must train its classifier, but ncm computes it"),
    ],
)
def test_what_is_no_representation_is_refused(representation, message):
    with pytest.raises(ValueError, match=f"representation of mem .*{message}"):
        mem(representation=representation)


@pytest.mark.parametrize(("name", "head"), [("crt", None), ("lws", "scaled")])
def test_trained_from_end_to_end(name, head, tmp_path):
    dataset = make_dataset()
    counts = class_counts(dataset)
    method = mem(counts, representation=name, pretraining=False, classifier="frozen", **OPTIONS["mem"])
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="The class prior is corrected")
        results = run_stages(
            method.stages(),
            config=make_config(counts),
            arguments={**TINY, "num_train_epochs": 2},
            train_dataset=dataset,
            test_dataset=make_dataset(seed=1),
            output_dir=tmp_path / "run",
            log=lambda text: None,
        )
    assert list(results) == ["representation", "classifier", "modulator"]
    loaded = [LongTailForImageClassification.from_pretrained(result.folder) for result in results.values()]
    first, second, third = (model.eval() for model in loaded)
    assert (first.config.head, second.config.head, third.config.head) == (None, head, head)
    assert second.config.modules is None and set(third.config.modules) == {"modulator"}
    # The whole classifier of the stage before is kept, and it is not the one of the representation.
    frozen = second.state_dict()
    retrained = first.state_dict() | {"classifier.scale": torch.ones(4)}
    changed = {key for key in frozen if not frozen[key].equal(retrained[key])}
    assert changed == ({"classifier.scale"} if head else {"classifier.weight", "classifier.bias"})
    for key, value in third.state_dict().items():
        if not key.startswith("modulator."):
            assert value.equal(frozen[key]), key
    pixels = torch.randn(5, 1, 8, 8)
    with torch.no_grad():
        output = third(pixels)
        torch.testing.assert_close(output.base_logits, second(pixels).logits)
        assert not output.logits.equal(output.base_logits)
        third.save_pretrained(tmp_path / "again")
        again = LongTailForImageClassification.from_pretrained(tmp_path / "again").eval()
        assert again(pixels).logits.equal(output.logits)
    assert again.config.method == method.describe()


def test_factors_of_a_scaled_head_are_frozen_or_begin_again(tmp_path):
    from ..contracts.builders import make_trainer

    for mode, trained in (("frozen", set()), ("reinitialize", {"classifier"})):
        options = {"representation": "lws", "classifier": mode}
        trainer = make_trainer("mem", tmp_path / mode, max_steps=1, method_options=options)
        with torch.no_grad():
            trainer.model.classifier.scale.fill_(2.0)
        trainer.method.setup(trainer)
        names = {name.split(".")[0] for name, value in trainer.model.named_parameters() if value.requires_grad}
        assert names == {"modulator"} | trained
        assert trainer.model.classifier.scale.eq(1.0 if trained else 2.0).all()


@pytest.mark.parametrize("protocol", ["cifar100_lt_mae", "digits_lt_mae"])
def test_rows_of_a_table_share_the_stages_before_the_classifier(protocol):
    def shared(row):
        plan = Plan.make(load_protocol(protocol), MethodSpecification.parse(row), 0, [500, 40, 5])
        return plan.shared_stages("rows")

    assert shared("mem:representation=crt") == shared("crt") == shared("mem:representation=(lws:norm=eval)")
    assert shared("mem:representation=crt") == shared("mem") and len(shared("mem")) == 2
    other = shared("mem:representation=(crt:representation=balanced_softmax)")
    assert other[0] == shared("crt")[0] and other[1] == shared("balanced_softmax")[1] != shared("crt")[1]


def test_a_recipe_compares_other_classifiers_on_the_network_before_both():
    options = TrainOptions("mem", method_options={"representation": "crt"}, compare=["lws"])
    plan = TrainingPlan.make(options, {}, {}, get_method("crt", class_counts=COUNTS).class_counts)
    assert plan.network == "representation" and plan.last.name == "modulator"
    assert [(stage.name, stage.start) for stage in plan.stages[1:]] == [
        ("representation", "stage:pretraining"),
        ("classifier", "stage:representation"),
        ("lws", "stage:representation"),
        ("modulator", "stage:classifier"),
    ]
    assert plan.titles({}) == {
        "representation": "representation: cross_entropy",
        "classifier": "classifier: crt",
        "lws": "+ lws",
        "modulator": "mem",
    }


def test_what_the_stages_before_did_about_the_prior_is_known():
    method = mem(representation={"name": "crt", "representation": "balanced_softmax"})
    before = "(in the stage that learns the representation)"
    assert prior_corrections(method.describe()) == [
        "mem draws its batches with the sampler 'class_balanced'",
        f"crt draws its batches with the sampler 'class_aware' {before}",
        f"balanced_softmax adds the log prior in its loss {before}",
    ]


def test_no_number_of_it_is_published():
    place = {"dataset": "imagenet_lt", "backbone": "vit_l"}
    published = published_targets(mem(), place)
    assert published and not published_targets(mem(representation="crt"), place)
