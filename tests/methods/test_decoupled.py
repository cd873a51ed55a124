"""What all methods of two stages have in common."""

import pytest

from hf_ltr import METHODS, LongTailConfig, LongTailForImageClassification, class_counts, get_method
from hf_ltr.methods.decoupled import DecoupledMethod
from hf_ltr.trainer import run_stages

from ..contracts.builders import make_config, make_dataset

NAMES = sorted(name for name, method in METHODS.items() if issubclass(method, DecoupledMethod))
TINY = {
    **{"num_train_epochs": 1, "per_device_train_batch_size": 16, "learning_rate": 0.01, "warmup_epochs": 0},
    **{"mixed_precision_mode": "no", "disable_tqdm": True, "augmentation": ["none"], "seed": 1},
}


def test_they_are_all_here():
    assert NAMES == ["crt", "las_stage2", "lws", "mislas", "ncm", "tau_norm", "weight_balancing"]


@pytest.mark.parametrize("name", NAMES)
def test_both_stages_run_and_the_result_is_loaded_by_its_own_config(name, tmp_path):
    dataset = make_dataset()
    counts = class_counts(dataset)
    method = get_method(name, class_counts=counts)
    results = run_stages(
        method.stages(),
        config=make_config(counts),
        # A limit of steps for all stages must not train a classifier that is computed.
        arguments={**TINY, "max_steps": 2},
        train_dataset=dataset,
        validation_dataset=make_dataset(seed=2),
        test_dataset=make_dataset(seed=1),
        output_dir=tmp_path,
        log=lambda text: None,
    )
    assert list(results) == ["representation", "classifier"]
    first, second = (LongTailForImageClassification.from_pretrained(result.folder) for result in results.values())
    trained = dict(second.backbone.named_parameters())
    for key, before in first.backbone.named_parameters():
        assert before.equal(trained[key]), f"{key} of the backbone was trained in stage 2"
    assert second.config.method["name"] == name
    assert 0 <= results["classifier"].metrics["balanced_accuracy"] <= 1


@pytest.mark.parametrize("name", NAMES)
def test_the_representation_is_an_option_of_one_stage(name):
    method = get_method(name, class_counts=[9, 4, 2], representation="balanced_softmax")
    first, second = method.stages()
    assert (first.name, second.name) == ("representation", "classifier")
    assert first.method.name == "balanced_softmax" and second.method is method
    assert second.start == "stage:representation"
    assert get_method(method.describe(), class_counts=[9, 4, 2]).representation.name == "balanced_softmax"
    with pytest.raises(ValueError, match=f"representation of {name} must be a method of one stage.*crt has"):
        get_method(name, class_counts=[9, 4, 2], representation="crt")


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"crt", "ncm"}))
def test_a_linear_head_is_asked_for_before_anything_is_trained(name, tmp_path):
    dataset = make_dataset()
    counts = class_counts(dataset)
    options = {"mixup_alpha": 0.0} if name == "mislas" else {}
    method = get_method(name, class_counts=counts, representation="ldam", **options)
    with pytest.raises(ValueError, match=f"{name} .*linear classifier.*'cosine'.*trains a linear head"):
        run_stages(
            method.stages(),
            config=make_config(counts),
            arguments=TINY,
            train_dataset=dataset,
            validation_dataset=make_dataset(seed=2),
            output_dir=tmp_path,
        )
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_every_head_that_is_finished_is_accepted_again(name):
    """`configure` is called on a new config, and on that of a model that is only evaluated."""
    method = get_method(name, class_counts=[9, 4, 2])
    for head in (None, "linear"):
        config = LongTailConfig(backbone="resnet20_cifar", class_counts=[9, 4, 2], head=head)
        method.configure(config)
        first = config.head
        method.configure(config)
        assert config.head == first
    expected = "scaled" if name in ("lws", "las_stage2", "mislas") else "linear"
    assert first == expected


@pytest.mark.parametrize("name", [name for name in NAMES if "sampler" in METHODS[name].option_names()])
def test_unknown_sampler_or_norm_names_the_nearest(name):
    with pytest.raises(ValueError, match="class_balanced"):
        get_method(name, class_counts=[2, 1], sampler="class_balance")
    with pytest.raises(ValueError, match="'train'"):
        get_method(name, class_counts=[2, 1], norm="training")


SMALL = [30, 12, 5]


@pytest.mark.parametrize("name", ["crt", "lws", "las_stage2", "tau_norm", "ncm", "mislas", "weight_balancing"])
def test_the_correction_of_the_first_stage_stays_there(name):
    """A classifier on balanced batches, or a normalised one, would have the prior removed a second time."""
    config = LongTailConfig(backbone="resnet20_cifar", class_counts=SMALL)
    method = get_method(name, class_counts=SMALL, representation="pc_softmax")
    method.configure(config)
    assert config.logit_adjustment is None
    first = LongTailConfig(backbone="resnet20_cifar", class_counts=SMALL)
    method.stages()[0].method.configure(first)
    assert first.logit_adjustment["remove"] == SMALL
