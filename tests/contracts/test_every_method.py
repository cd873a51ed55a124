"""What every registered method must keep, whoever wrote it."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from timm.layers import DropPath

from hf_ltr import METHODS, LongTailForImageClassification, class_counts, get_method
from hf_ltr.methods import MethodWrapper, Stage
from hf_ltr.methods.base import LongTailMethod

from .builders import (
    CLASSES,
    METHOD_NAMES,
    StopAfter,
    assert_same,
    in_format_of,
    losses,
    make_dataset,
    make_method,
    make_trainer,
    weights,
)

SUPERVISED = [name for name in METHOD_NAMES if METHODS[name].uses_labels]


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_loss_is_finite_and_gradients_reach_what_is_declared(name, tmp_path):
    trainer = make_trainer(name, tmp_path, max_steps=1)
    loader = trainer.get_train_dataloader()
    trainer.method.setup(trainer)
    batches, _ = trainer.get_batch_samples(iter(loader), 1, trainer.args.device)
    trainer.model.train()
    loss = trainer.compute_loss(trainer.model, batches[0])
    loss.backward()
    assert torch.isfinite(loss)
    trained = {n: p for n, p in trainer.model.named_parameters() if p.requires_grad}
    assert trained
    without = [n for n, p in trained.items() if p.grad is None]
    assert not without, f"trained but without a gradient: {without}"
    assert all(torch.isfinite(p.grad).all() for p in trained.values())
    assert sum(p.grad.abs().sum() for p in trained.values()) > 0
    frozen = [n for n, p in trainer.model.named_parameters() if not p.requires_grad and p.grad is not None]
    assert not frozen
    # The main optimizer knows nothing of the method: a gradient left there would be lost, or differ between ranks.
    assert [n for n, p in trainer.method.named_parameters() if p.grad is not None] == []


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_one_step_changes_exactly_the_trained_parameters(name, tmp_path):
    trainer = make_trainer(name, tmp_path, max_steps=2)
    trainer.method.setup(trainer)
    trained = {n for n, p in trainer.model.named_parameters() if p.requires_grad}
    torch.manual_seed(0)
    trainer.train()
    # setup may re-initialise; compare with the state after it, which a second set-up model shows for frozen parts.
    fresh = make_trainer(name, tmp_path / "other", max_steps=1)
    before, after = weights(fresh), weights(trainer)
    for parameter, _ in trainer.model.named_parameters():
        same = np.array_equal(before[f"model.{parameter}"], after[f"model.{parameter}"])
        if parameter not in trained:
            assert same, f"{parameter} is frozen but changed"
        else:
            assert not same, f"{parameter} is trained but did not change"


@pytest.mark.parametrize("name", SUPERVISED)
def test_evaluation_changes_no_state(name, tmp_path):
    trainer = make_trainer(name, tmp_path, max_steps=2)
    trainer.train()
    before, random_state = weights(trainer), torch.get_rng_state()
    first = trainer.evaluate()
    second = trainer.evaluate()
    assert_same(before, weights(trainer))
    assert torch.equal(random_state, torch.get_rng_state())
    for key in ("eval_accuracy", "eval_balanced_accuracy", "eval_loss"):
        assert first[key] == second[key]
        assert np.isfinite(first[key])


@pytest.mark.parametrize("name", SUPERVISED)
def test_evaluating_a_finished_model_does_not_set_it_up_again(name, tmp_path):
    trainer = make_trainer(name, tmp_path, max_steps=2)
    trainer.train()
    trained = weights(trainer)
    method = make_method(name, trainer.method.class_counts)
    from .builders import LongTailTrainer, make_arguments

    evaluator = LongTailTrainer(
        model=trainer.model, args=make_arguments(tmp_path / "e"), method=method, eval_dataset=make_dataset(seed=1)
    )
    evaluator.evaluate()
    own = {k: v for k, v in weights(evaluator).items() if k.startswith("model.")}
    assert_same({k: v for k, v in trained.items() if k.startswith("model.")}, own)


@pytest.mark.parametrize("name", [n for n in METHOD_NAMES if not METHODS[n].batch_coupled])
def test_gradient_accumulation_changes_nothing(name, tmp_path):
    """Batches of 8 against four micro-batches of 2; the last batch of the epoch has 5 rows: 2, 2, 1."""
    whole = make_trainer(name, tmp_path / "a", double=True)
    whole.train()
    parts = make_trainer(
        name, tmp_path / "b", double=True, per_device_train_batch_size=2, gradient_accumulation_steps=4
    )
    parts.train()
    assert whole.state.global_step == parts.state.global_step == 10
    assert_same(weights(whole), weights(parts), rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(losses(whole), losses(parts), rtol=1e-5)


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_resume_in_mid_epoch_is_bit_exact(name, tmp_path):
    """Ten steps in two epochs; stopped after step 7, which is in the middle of the second."""
    settings = {"save_strategy": "steps", "save_steps": 7, "save_total_limit": 2}
    straight = make_trainer(name, tmp_path / "straight", **settings)
    straight.train()
    stopped = make_trainer(name, tmp_path / "stopped", **settings)

    stopped.add_callback(StopAfter(7))
    stopped.train()
    assert stopped.state.global_step == 7
    torch.manual_seed(12345)  # a new process starts with another random state
    resumed = make_trainer(name, tmp_path / "stopped", **settings)
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.global_step == straight.state.global_step == 10
    assert_same(weights(straight), weights(resumed))


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_two_processes_equal_one(name, tmp_path, two_processes):
    one = make_trainer(name, tmp_path / "one", double=True)
    one.train()
    first, second = two_processes.run(
        "train", name=name, folder=str(tmp_path / "two"), double=True, per_device_train_batch_size=4
    )
    assert first["world_size"] == second["world_size"] == 2
    assert_same(first["weights"], second["weights"])
    assert_same(weights(one), first["weights"], rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(losses(one), first["losses"], rtol=1e-5)
    if one.eval_dataset is not None:
        alone = one.evaluate()
        for key in ("eval_accuracy", "eval_balanced_accuracy", "eval_loss"):
            assert alone[key] == pytest.approx(first["metrics"][key], rel=1e-6)


@pytest.mark.parametrize("name", SUPERVISED)
def test_checkpoint_goes_through_auto_class_and_pipeline(name, tmp_path):
    from transformers import AutoImageProcessor, AutoModelForImageClassification, pipeline

    trainer = make_trainer(name, tmp_path, max_steps=2)
    trainer.train()
    folder = tmp_path / "saved"
    trainer.save_model(str(folder))
    with safe_open(folder / "model.safetensors", framework="np") as file:
        stored = set(file.keys())
    own = {n for n, _ in trainer.model.named_parameters()} | {n for n, _ in trainer.model.named_buffers()}
    assert stored <= own, f"the file holds more than the model: {sorted(stored - own)}"
    assert not any("teacher" in key or key.startswith("method") for key in stored)
    images = make_dataset(seed=2).select(range(6))["image"][:]
    loaded = AutoModelForImageClassification.from_pretrained(folder)
    assert type(loaded) is LongTailForImageClassification
    assert loaded.config.class_counts == list(trainer.method.class_counts.counts)
    processor = AutoImageProcessor.from_pretrained(folder)
    pixels = processor(images=images, return_tensors="pt")["pixel_values"]
    state = trainer.model.state_dict()
    assert_same({n: v.numpy() for n, v in state.items()}, {n: v.numpy() for n, v in loaded.state_dict().items()})
    trainer.model.eval()
    with torch.no_grad():
        expected = trainer.model(pixels).logits
        # Loaded weights are contiguous: a processor may take other kernels for them, which round differently.
        torch.testing.assert_close(loaded.eval()(pixels).logits, expected, rtol=1e-4, atol=1e-5)
        assert torch.equal(in_format_of(trainer, loaded)(pixels).logits, expected)
    classify = pipeline("image-classification", model=str(folder), device="cpu")
    for image, logits in zip(images, expected, strict=True):
        answers = {a["label"]: a["score"] for a in classify(image, top_k=4)}
        assert set(answers) == set(CLASSES)
        probabilities = logits.softmax(-1).tolist()
        assert [answers[c] for c in CLASSES] == pytest.approx(probabilities, abs=1e-5)


@pytest.mark.parametrize("name", SUPERVISED)
def test_processor_repeats_what_evaluation_sees(name, tmp_path):
    trainer = make_trainer(name, tmp_path, max_steps=1)
    loader = trainer.get_eval_dataloader()
    batch = loader.batch_loader.prepare(next(iter(loader)))
    images = trainer.eval_dataset.select(batch["index"].tolist())["image"][:]
    pixels = trainer.processing_class(images=images, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(pixels, batch["pixel_values"].contiguous(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_description_rebuilds_the_method(name):
    method = make_method(name, [16, 10, 7, 4])
    description = json.loads(json.dumps(method.describe()))
    again = get_method(description, class_counts=[16, 10, 7, 4])
    assert type(again) is type(method)
    assert json.loads(json.dumps(again.describe())) == description


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_card_renders_with_method_and_source(name, tmp_path):
    from huggingface_hub import ModelCard

    from hf_ltr.hub import CardFacts, write_model_card

    method = make_method(name, class_counts(make_dataset()))
    facts = CardFacts(
        model_name=name,
        method=name,
        options=method.describe()["options"],
        papers=[method.paper] if method.paper else [],
        dataset="tiny",
        class_counts=method.class_counts,
        metrics={"accuracy": 0.5, "few": 0.25},
    )
    path = write_model_card(tmp_path, facts)
    card = ModelCard.load(path)
    assert card.data.pipeline_tag == "image-classification"
    assert f"`{name}`" in card.text
    assert not re.search(r"\bnan\b", card.text.lower())
    if method.paper:
        assert method.paper["title"] in card.text


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_options_are_kept_under_their_names_and_documented(name):
    method = make_method(name, [16, 10, 7, 4])
    for option in method.option_names():
        assert hasattr(method, option)
        assert f"{option} (`" in (type(method).__doc__ or ""), f"{option} is not documented in {type(method).__name__}"


def test_a_wrapper_forwards_every_hook():
    """One forgotten hook (the base's schedule, say) would fail silently."""
    # What a wrapper is, has and was published with is its own, not its base's.
    own = ("describe", "parts", "extra_repr", "stages", "published_options", "is_published_as", "published_part")
    hooks = [
        name
        for name, member in vars(LongTailMethod).items()
        if callable(member) and not name.startswith("_") and name not in own
    ]
    assert {
        *("sample_loss", "row_losses", "training_loss", "term_mass"),
        *("setup", "on_epoch", "finalize", "train_sampler", "configure", "computes_model"),
    } <= set(hooks)
    assert [hook for hook in hooks if hook not in vars(MethodWrapper)] == []

    class Recorder(LongTailMethod):
        calls: list[str] = []

    def record(hook):
        return lambda self, *args, **kwargs: self.calls.append(hook)

    for hook in hooks:
        setattr(Recorder, hook, record(hook))
    wrapper = MethodWrapper(Recorder([3, 2]))
    arguments = {
        "sample_loss": (None, None),
        "row_losses": (None, None),
        "training_loss": (None, None),
        "term_mass": (None,),
        "setup": (None,),
        "on_epoch": (None, 0),
        "finalize": (None,),
        "train_sampler": (None,),
        "configure": (None,),
        "computes_model": (),
    }
    for hook in hooks:
        keywords = {"seed": 0, "num_epochs": 1} if hook == "train_sampler" else {}
        getattr(wrapper, hook)(*arguments[hook], **keywords)
    assert Recorder.calls == hooks


def test_a_wrapper_has_the_facts_of_its_base():
    """A copy of them would not follow what the base learns of itself, and one that is forgotten is the default."""
    own = {"name", "summary", "when_to_use", "paper", "without_paper", "part_names", "options_from_checkpoint"}
    own |= {
        "presets",
        "prior_correction",
        *(fact for fact in LongTailMethod.__annotations__ if fact.startswith("published_")),
    }
    facts = [fact for fact in LongTailMethod.__annotations__ if fact not in own]
    assert {"accepts_soft_targets", "batch_coupled", "views", "reads_experts"} <= set(facts)
    others = {bool: lambda fact: not fact, str: lambda fact: f"{fact}other", tuple: lambda fact: (*fact, "other")}
    base = LongTailMethod([3, 2])
    wrapper = MethodWrapper(MethodWrapper(base))
    for fact in facts:
        default = getattr(LongTailMethod, fact)
        assert getattr(MethodWrapper, fact) == getattr(wrapper, fact) == default, fact
        other = others[type(default)](default)
        setattr(base, fact, other)
        assert getattr(wrapper, fact) == other, fact


class Student(LongTailMethod):
    """Of two stages where it says how its teacher is trained."""

    name, part_names = "student", ("teacher",)

    def __init__(self, class_counts, teacher=None):
        super().__init__(class_counts)
        self.teacher = teacher

    def stages(self):
        return [Stage("teacher", self.teacher or LongTailMethod(self.class_counts)), Stage("student", self)]


def test_a_multi_stage_method_is_not_wrapped():
    with pytest.raises(ValueError, match="cannot wrap 'crt'.*representation=<wrapped method>"):
        MethodWrapper(get_method("crt", class_counts=[3, 2]))
    with pytest.raises(ValueError, match="stages teacher, student. Wrap the method of one stage instead.$"):
        MethodWrapper(Student([3, 2]))
    with pytest.raises(ValueError, match="'student', teacher=<wrapped method>"):
        MethodWrapper(Student([3, 2], get_method("focal", class_counts=[3, 2])))


def test_a_wrapper_runs_the_stage_of_its_base():
    """Its model, its arguments and its place are those of the stage; only the method is another."""
    (own,) = get_method("masked_autoencoding", class_counts=[3, 2]).stages()
    wrapper = MethodWrapper(own.method)
    (stage,) = wrapper.stages()
    assert stage == dataclasses.replace(own, method=wrapper) and stage.model_class is not None
    (stage,) = MethodWrapper(wrapper).stages()
    assert stage.model_class is own.model_class


def test_a_part_may_be_left_out():
    assert Student([3, 2]).parts() == {}
    assert Student([3, 2]).describe() == {"name": "student", "options": {}}
    teacher = get_method("focal", class_counts=[3, 2])
    assert Student([3, 2], teacher).describe()["teacher"] == teacher.describe()


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_a_recipe_config_exists_and_has_no_unknown_key(name, repository):
    import yaml

    from .recipe_parsing import parse_config

    found = []
    for path in sorted((repository / "recipes" / "configs").rglob("*.yaml")):
        methods = parse_config(path)  # raises for an unknown key, section or value
        if name in methods:
            found.append(path.name)
        assert yaml.safe_load(path.read_text())
    assert found, f"no config under recipes/configs trains {name}"


def test_two_workers_really_talk(two_processes):
    assert two_processes.run("world") == [(2, 3), (2, 3)]


@pytest.mark.parametrize("rows", [[3, 3], [4, 1], [1, 5]])
def test_gathered_rows_have_the_gradient_of_one_process(rows, two_processes):
    answers = two_processes.run("gathered_rows", rows_per_rank=rows)
    local = torch.arange(sum(rows), dtype=torch.float64).reshape(-1, 1).requires_grad_()
    loss = (local.T @ local).sum() + local[0, 0] * local[-1, 0]
    loss.backward()
    gradient = np.concatenate([answer["gradient"] for answer in answers])
    for answer in answers:
        assert answer["loss"] == pytest.approx(loss.item(), rel=1e-12)
        np.testing.assert_array_equal(answer["value"], local.detach().numpy())
    # Every rank returns the same loss and DDP averages gradients, so the sum over ranks is world size times one
    # process.
    np.testing.assert_allclose(gradient, 2 * local.grad.numpy(), rtol=1e-12)


def test_contract_files_name_every_method(repository: Path):
    """A method cannot be registered without a page, a config and a test of its own."""
    readme = (repository / "README.md").read_text()
    for name in METHOD_NAMES:
        assert f"`{name}`" in readme, f"{name} is missing from the table in README.md"
        assert (repository / "recipes" / f"{name}.md").is_file(), f"recipes/{name}.md is missing"


@pytest.mark.parametrize("step", [2, 5, 7])
def test_resume_restores_the_global_random_state(step, tmp_path):
    """Drop path draws from it; step 5 is the end of the first epoch. A second resume must find the same state too."""
    settings = {"save_strategy": "steps", "save_steps": 100}

    def trainer(folder):
        made = make_trainer("cross_entropy", folder, **settings)
        for block in made.model.backbone.blocks:
            block.drop_path1, block.drop_path2 = DropPath(0.5), DropPath(0.5)
        return made

    straight = trainer(tmp_path / "straight")
    straight.train()
    stopped = trainer(tmp_path / "stopped")
    stopped.add_callback(StopAfter(step))
    stopped.train()
    resumed = trainer(tmp_path / "stopped")
    resumed.train(resume_from_checkpoint=True)
    assert_same(weights(straight), weights(resumed))
    without = make_trainer("cross_entropy", tmp_path / "without")
    without.train()
    different = [n for n, value in weights(without).items() if not np.array_equal(value, weights(straight)[n])]
    assert different, "drop path had no effect, so this test shows nothing"


def test_resume_behind_the_last_step_trains_nothing(tmp_path):
    """Killed between the last checkpoint and whatever follows; 7 steps are not a whole number of epochs."""
    settings = {"max_steps": 7, "save_strategy": "steps", "save_steps": 7, "lr_milestones": [1.0]}
    trainer = make_trainer("cross_entropy", tmp_path, **settings)
    trainer.train()
    again = make_trainer("cross_entropy", tmp_path, **settings)
    again.train(resume_from_checkpoint=True)
    assert again.state.global_step == 7
    assert_same(weights(trainer), weights(again))


def test_logged_terms_are_the_same_after_a_resume(tmp_path):
    settings = {"save_strategy": "steps", "save_steps": 7, "logging_steps": 2}
    straight = make_trainer("mem", tmp_path / "straight", **settings)
    straight.train()
    stopped = make_trainer("mem", tmp_path / "stopped", **settings)
    stopped.add_callback(StopAfter(6))
    stopped.train()
    resumed = make_trainer("mem", tmp_path / "stopped", **settings)
    resumed.train(resume_from_checkpoint=True)

    def terms(trainer):
        history = [entry for entry in trainer.state.log_history if "loss/data_aware" in entry and entry["step"] > 6]
        return [(entry["step"], entry["loss"], entry["loss/data_aware"]) for entry in history]

    assert len(terms(straight)) == 2
    assert terms(straight) == terms(resumed)


@pytest.mark.parametrize("name", ["ldam_drw", "mem", "class_balanced", "equalization"])
def test_a_process_without_rows_changes_nothing(name, tmp_path, two_processes):
    """37 rows in global micro-batches of 4: the last one has a single row, so one process gets only a padding row."""
    one = make_trainer(
        name, tmp_path / "one", double=True, per_device_train_batch_size=4, gradient_accumulation_steps=2
    )
    one.train()
    first, _ = two_processes.run(
        "train",
        name=name,
        folder=str(tmp_path / "two"),
        double=True,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
    )
    assert_same(weights(one), first["weights"], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", ["mem", "cdb"])
def test_two_processes_resume_exactly(name, tmp_path, two_processes):
    """A checkpoint of two processes, continued by two."""
    settings = {"double": True, "per_device_train_batch_size": 4, "save_strategy": "steps", "save_steps": 7}
    straight, _ = two_processes.run("train", name=name, folder=str(tmp_path / "straight"), **settings)
    two_processes.run("train", name=name, folder=str(tmp_path / "stopped"), stop_after=7, **settings)
    resumed, _ = two_processes.run("train", name=name, folder=str(tmp_path / "stopped"), **settings)
    assert_same(straight["weights"], resumed["weights"])


def test_evaluation_in_two_processes_is_that_of_the_saved_model(tmp_path, two_processes):
    """Batch-norm statistics differ between processes; the saved ones are the first's, and so must the metrics be."""
    first, second = two_processes.run("train_with_batch_norm", folder=str(tmp_path / "two"))
    assert first["metrics"] == second["metrics"]
    from hf_ltr.trainer.evaluation import evaluate_model

    model = LongTailForImageClassification.from_pretrained(tmp_path / "two" / "saved")
    alone = evaluate_model(model, make_dataset(seed=1), {"mixed_precision_mode": "no"})
    assert alone["loss"] == pytest.approx(first["metrics"]["eval_loss"], rel=1e-5)


def test_eval_pass_of_two_processes_covers_every_row_once(two_processes):
    first, second = two_processes.run("eval_pass_rows")
    assert first["index"] + second["index"] == list(range(37))
    assert first["total"] == second["total"] == sum(range(37))


def test_a_batch_coupled_loss_bears_a_process_without_rows(tmp_path, two_processes):
    """The last batch of an epoch has one row, so the second process gathers padding only."""
    one = make_trainer("lade", tmp_path / "one", double=True, per_device_train_batch_size=4)
    one.train()
    first, _ = two_processes.run(
        "train", name="lade", folder=str(tmp_path / "two"), double=True, per_device_train_batch_size=2
    )
    assert_same(weights(one), first["weights"], rtol=1e-8, atol=1e-10)


def test_a_setup_that_refuses_leaves_the_folder_free(tmp_path):
    trainer = make_trainer("cdb", tmp_path)
    trainer.eval_dataset = None
    with pytest.raises(ValueError, match="validation"):
        trainer.train()
    make_trainer("cdb", tmp_path, method_options={"difficulty_from": "train"}, max_steps=1).train()


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_the_name_of_a_stage_is_known_without_making_it(name):
    stages = make_method(name, [3, 2]).stages()
    if len(stages) == 1:
        assert stages[0].name == METHODS[name].stage_name
