"""The same classes under other numbers are matched by name; where names do not agree, nothing is guessed."""

from __future__ import annotations

import pytest
import torch
from datasets import ClassLabel

from hf_ltr import LongTailConfig, LongTailForImageClassification, LongTailTrainer, class_counts, get_method
from hf_ltr.methods import Stage
from hf_ltr.trainer import run_stages
from hf_ltr.trainer.stage_model import build_stage_model

from ..contracts.builders import CLASSES, COUNTS, make_arguments, make_config, make_dataset, make_method, make_model

# As the same photographs lie in folders that somebody sorted otherwise.
ORDER = [2, 0, 3, 1]
OTHER = [CLASSES[index] for index in ORDER]


def in_other_order(data):
    """The same images and classes, with the classes numbered as in `OTHER`."""
    labels = [OTHER.index(CLASSES[label]) for label in data["label"]]
    return data.remove_columns("label").add_column("label", labels).cast_column("label", ClassLabel(names=OTHER))


def headed(head, **fields):
    torch.manual_seed(0)
    config = LongTailConfig(
        backbone="vit_pico_patch4_16", image_size=8, num_channels=1, class_counts=class_counts(make_dataset()),
        head=head, backbone_kwargs={"depth": 1, "embed_dim": 16, "num_heads": 2}, **fields,
    )  # fmt: skip
    model = LongTailForImageClassification(config).eval()
    with torch.no_grad():
        for tensor in (*model.classifier.parameters(), *model.classifier.buffers()):
            tensor.normal_()
    return model


IMAGES = torch.linspace(-1, 1, 3 * 64).reshape(3, 1, 8, 8)


@pytest.mark.parametrize("head", [None, "cosine", "scaled", "centroid"])
def test_classes_are_reordered_in_every_head(tmp_path, head):
    fields = {"logit_adjustment": {"tau": 1.0, "remove": COUNTS, "add": [1, 2, 3, 4]}}
    fields |= {"modules": {"modulator": {"width": 8, "groups": [[0], [1, 2], [3]]}}} if head is None else {}
    model = headed(head, **fields)
    with torch.no_grad():
        before = model(IMAGES).logits
        model.reorder_classes(OTHER)
        torch.testing.assert_close(model(IMAGES).logits, before[:, ORDER])
        config = model.config
        assert [config.id2label[index] for index in range(4)] == OTHER and config.label2id["line"] == 0
        assert config.class_counts == config.logit_adjustment["remove"] == [COUNTS[index] for index in ORDER]
        model.save_pretrained(tmp_path)
        loaded = LongTailForImageClassification.from_pretrained(tmp_path)
        torch.testing.assert_close(loaded.eval()(IMAGES).logits, before[:, ORDER])
    with pytest.raises(ValueError, match="are not the classes of this model"):
        model.reorder_classes(["a", *OTHER[1:]])


@pytest.mark.parametrize("how", ["config", "class_counts", "id2label", "stage"])
def test_a_checkpoint_is_loaded_into_another_order(tmp_path, how):
    model = headed(None)
    model.save_pretrained(tmp_path)
    counts = class_counts(in_other_order(make_dataset()))
    config = make_config(counts)
    with pytest.warns(UserWarning, match=r"another order \(class 0 is 'circle' there and 'line' here\).*by name"):
        if how == "stage":
            stage = Stage("train", make_method("cross_entropy", counts), start=str(tmp_path))
            loaded = build_stage_model(stage, config, str(tmp_path), seed=0)
        else:
            value = {"config": config, "class_counts": counts, "id2label": dict(enumerate(OTHER))}[how]
            loaded = LongTailForImageClassification.from_pretrained(tmp_path, **{how: value})
    assert torch.equal(loaded.classifier.weight, model.classifier.weight[ORDER])
    assert loaded.config.class_counts == [COUNTS[index] for index in ORDER]
    assert loaded.config.previous_class_counts is None


def test_other_classes_under_the_same_numbers_are_said(tmp_path):
    headed(None).save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match="trained for other classes: class 3 is 'dot' there and 'ring' here"):
        LongTailForImageClassification.from_pretrained(tmp_path, id2label=dict(enumerate([*CLASSES[:3], "ring"])))


def test_training_and_evaluation_match_by_name(tmp_path):
    """A run of no learning rate changes nothing, so its evaluation is that of the checkpoint."""
    headed(None).save_pretrained(tmp_path / "start")
    test = make_dataset([9, 7, 5, 3], seed=5)
    options = {"max_steps": 1, "learning_rate": 1e-12, "weight_decay": 0.0, "logging_strategy": "no"}

    def trained(data, number, method):
        model = LongTailForImageClassification.from_pretrained(tmp_path / "start")
        arguments = make_arguments(tmp_path / number, **options)
        trainer = LongTailTrainer(model, arguments, method=method, train_dataset=data)
        trainer.train()
        return trainer

    straight = trained(make_dataset(), "1", "balanced_softmax")
    expected = straight.evaluate_once(test)
    with pytest.warns(
        UserWarning, match=r"class 0 is 'line' there and 'circle' in the model\): they are matched by n"
    ):
        turned = straight.evaluate_once(in_other_order(test))
    assert turned == expected
    data = in_other_order(make_dataset())
    built = get_method("balanced_softmax", class_counts=class_counts(data))
    for number, method in (("2", "balanced_softmax"), ("3", built)):
        with pytest.warns(
            UserWarning, match="class 0 is 'line' there and 'circle' in the model.*into its order, by n"
        ):
            other = trained(data, number, method)
        assert other.method.class_counts.counts == other.model.config.class_counts == [7, 16, 4, 10]
        with pytest.warns(UserWarning, match="matched by name"):
            metrics = other.evaluate_once(test)
        per_class = metrics.pop("per_class_accuracy")
        assert per_class == [expected["per_class_accuracy"][index] for index in ORDER]
        assert metrics["accuracy"] == expected["accuracy"] and metrics.get("few") == expected.get("few")


def test_fewer_or_other_classes_are_named(tmp_path):
    model = headed(None)
    trainer = LongTailTrainer(model, make_arguments(tmp_path))
    fewer = make_dataset([5, 5, 5])
    with pytest.raises(
        ValueError, match=r"3 classes there, 4 in the model\): it lacks 1 of the model's, such as 'dot'"
    ):
        trainer.evaluate(fewer)
    trainer.class_options = {"subset": True}
    metrics = trainer.evaluate(fewer)
    assert metrics["eval_per_class_accuracy"][3] is None
    more = make_dataset([5, 5, 5, 5]).cast_column("label", ClassLabel(names=[*CLASSES, "ring"]))
    with pytest.raises(ValueError, match="1 that the model does not have, such as 'ring'"):
        trainer.evaluate(more)


def test_a_run_starts_from_a_checkpoint_in_another_order(tmp_path):
    headed(None).save_pretrained(tmp_path / "start")
    data = in_other_order(make_dataset())
    counts = class_counts(data)
    with pytest.warns(UserWarning, match="the rows of its classifier were brought into this one by name"):
        results = run_stages(
            [Stage("train", make_method("cross_entropy", counts), start=str(tmp_path / "start"))],
            config=make_config(counts),
            arguments={"max_steps": 1, "learning_rate": 1e-12, "save_strategy": "no", "disable_tqdm": True},
            train_dataset=data,
            output_dir=tmp_path / "run",
        )
    trained = LongTailForImageClassification.from_pretrained(results["train"].folder)
    torch.testing.assert_close(trained.classifier.weight, headed(None).classifier.weight[ORDER])
    model = make_model(make_method("cross_entropy", COUNTS))
    model.save_pretrained(tmp_path / "unnamed")
    with pytest.warns(UserWarning, match="have no names .*could not be checked"):
        LongTailForImageClassification.from_pretrained(tmp_path / "unnamed", config=make_config(counts))


def test_names_that_prove_no_order_are_not_taken_for_one(tmp_path):
    twice = ["a", "b", "b", "c"]
    model = headed(None)
    model.config.id2label = dict(enumerate(twice))
    model.save_pretrained(tmp_path / "twice")
    data = make_dataset().cast_column("label", ClassLabel(names=list("abcd")))
    data.info.features["label"].names = ["b", "a", "b", "c"]
    with pytest.raises(ValueError, match="cannot be matched by name|have the same name, 'b'"):
        LongTailTrainer(model, make_arguments(tmp_path), train_dataset=data)
    model.config.id2label = {index: f"LABEL_{index}" for index in range(4)}
    model.save_pretrained(tmp_path / "unnamed")
    loaded = LongTailForImageClassification.from_pretrained(tmp_path / "unnamed")
    with pytest.warns(UserWarning, match=r"have no names: .*\(class 0 is 'circle', ...\) could not be checked"):
        LongTailTrainer(loaded, make_arguments(tmp_path), train_dataset=make_dataset())
