"""
Every hook into transformers' `Trainer` and accelerate is still called, and does what it is there for.

A failure here after an update of transformers or accelerate says which private part of them moved; see parent.py.
"""

from __future__ import annotations

import json
import logging
from concurrent.futures import Future
from pathlib import Path

import pytest
import torch
import transformers.trainer
from accelerate.state import AcceleratorState
from accelerate.utils import DynamoBackend
from transformers import TrainerCallback

from hf_ltr import LongTailTrainer, class_counts
from hf_ltr.methods.cross_entropy import CrossEntropy
from tests.contracts.builders import losses, make_arguments, make_dataset, make_model, make_trainer

ROWS, BATCH, ACCUMULATION, STEPS = 37, 8, 2, 5  # 5 micro-batches and 3 steps an epoch: the run ends within the second


class Recording(LongTailTrainer):
    """Writes down what the parent calls, and with what."""

    def __init__(self, *args, **kwargs):
        self.epochs, self.prepared, self.seen, self.saved, self.loaded = [], [], [], [], []
        super().__init__(*args, **kwargs)

    def epoch_begins(self, epoch):
        self.epochs.append(epoch)
        super().epoch_begins(epoch)

    def prepare_step(self, raw_batches):
        self.prepared.append(super().prepare_step(raw_batches))
        return self.prepared[-1]

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        self.seen.append((inputs, num_items_in_batch))
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)

    def save_with_optimizer(self, folder):
        self.saved.append((folder, sorted(path.name for path in Path(folder).iterdir())))
        super().save_with_optimizer(folder)

    def load_with_optimizer(self, checkpoint):
        self.loaded.append((checkpoint, self.optimizer is not None))
        super().load_with_optimizer(checkpoint)


class Forwards(TrainerCallback):
    """What stands on the model itself during a step."""

    def on_step_begin(self, args, state, control, model=None, **kwargs):
        self.on_model = set(vars(model)) & {"forward", "_original_forward", "_is_accelerate_prepared"}


def recording(folder, *callbacks, trainer_class=Recording, **changes):
    dataset = make_dataset()
    method = CrossEntropy(class_counts(dataset))
    options = {
        **{"per_device_train_batch_size": BATCH, "gradient_accumulation_steps": ACCUMULATION, "max_steps": STEPS},
        **{"save_strategy": "steps", "save_steps": STEPS, "save_total_limit": None, "mixed_precision_mode": "bf16"},
        **{"eval_strategy": "steps", "eval_steps": STEPS, "metric_for_best_model": "accuracy"},
    }
    return trainer_class(
        model=make_model(method),
        args=make_arguments(folder, **{**options, **changes}),
        method=method,
        train_dataset=dataset,
        eval_dataset=make_dataset(seed=1),
        callbacks=list(callbacks),
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    trainer = recording(tmp_path_factory.mktemp("parent") / "run", Forwards())
    trainer.train()
    return trainer


@pytest.fixture(scope="module")
def resumed(run):
    records: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())
    logging.getLogger("transformers.trainer").addHandler(handler)
    trainer = recording(run.args.output_dir)
    try:
        trainer.train(resume_from_checkpoint=True)
    finally:
        logging.getLogger("transformers.trainer").removeHandler(handler)
    trainer.messages = records
    return trainer


def last_checkpoint(trainer) -> Path:
    return Path(trainer.args.output_dir) / f"checkpoint-{STEPS}"


# ---------------------------------------------------------------------- accelerate
def test_the_accelerator_leaves_the_forward_of_a_model_alone(run):
    """`create_accelerator_and_postprocess`"""
    forwards = next(one for one in run.callback_handler.callbacks if isinstance(one, Forwards))
    assert run.args.bf16 and forwards.on_model == set()


def test_the_accelerator_compiles_nothing(tmp_path):
    """`_build_accelerator_args`"""
    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        trainer = recording(tmp_path, torch_compile=True, torch_compile_backend="eager", mixed_precision_mode="no")
        assert trainer.accelerator.state.dynamo_plugin.backend == DynamoBackend.NO
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)


def test_a_model_is_prepared_for_evaluation_once(tmp_path, monkeypatch):
    """`_wrap_model`, `accelerator._models`"""
    trainer = recording(tmp_path, max_steps=1, save_strategy="no")
    asked = []
    prepare = trainer.accelerator.prepare_model

    def spy(model, *args, **options):
        asked.append(options.get("evaluation_mode", False))
        return prepare(model, *args, **options)

    monkeypatch.setattr(trainer.accelerator, "prepare_model", spy)
    trainer.evaluate()
    assert asked == [True]
    trainer.evaluate()
    assert asked == [True], "prepared before"


# ---------------------------------------------------------------------- steps
def test_all_micro_batches_of_a_step_are_given_at_once(run):
    """`get_batch_samples`"""
    assert [len(batches) for batches in run.prepared] == [2, 2, 1, 2, 2]
    assert sum(len(batch["index"]) for batches in run.prepared[:3] for batch in batches) == ROWS


def test_batches_reach_the_loss_untouched(run):
    """`_prepare_inputs`"""
    prepared = [batch for batches in run.prepared for batch in batches]
    assert len(prepared) == len(run.seen)
    assert all(given is batch for batch, (given, _) in zip(prepared, run.seen, strict=True))


def test_the_loss_is_not_divided_again(run, tmp_path):
    """`loss_is_scaled_for_ga`; before transformers 5.19 `model_accepts_loss_kwargs` and the items of a step"""
    assert all(isinstance(items, torch.Tensor) for _, items in run.seen)
    assert run.model_accepts_loss_kwargs
    whole = recording(
        tmp_path, per_device_train_batch_size=16, gradient_accumulation_steps=1, max_steps=1, save_strategy="no"
    )
    whole.train()
    assert losses(run)[0] == pytest.approx(losses(whole)[0], rel=1e-2)  # bfloat16; a division would halve it


def test_no_floating_point_operations_are_counted(run):
    """`floating_point_ops`"""
    assert run.state.total_flos == 0


def test_the_norm_of_gradients_is_computed_only_to_clip(run, tmp_path):
    """`_get_grad_norm`"""
    assert not any("grad_norm" in entry for entry in run.state.log_history)
    clipped = recording(tmp_path, max_steps=1, max_grad_norm=1.0, save_strategy="no")
    clipped.train()
    assert any("grad_norm" in entry for entry in clipped.state.log_history)


def test_every_epoch_is_announced(run):
    """`_run_epoch`"""
    assert run.epochs == [0, 1]


def test_a_run_interrupted_after_its_last_step_makes_no_other(resumed):
    """`_run_epoch`"""
    assert resumed.state.global_step == STEPS
    assert resumed.prepared == [] and resumed.epochs == []


def test_the_loader_follows_the_batch_size_that_the_parent_finds(tmp_path):
    """`_train_batch_size`"""

    class OutOfMemory(CrossEntropy):
        def training_loss(self, model, batch):
            if len(batch["index"]) > 4:
                raise RuntimeError("CUDA out of memory. (not really)")
            return super().training_loss(model, batch)

    dataset = make_dataset()
    method = OutOfMemory(class_counts(dataset))
    args = make_arguments(tmp_path, per_device_train_batch_size=6, auto_find_batch_size=True, max_steps=1)
    trainer = Recording(model=make_model(method), args=args, method=method, train_dataset=dataset)
    trainer.train()
    sizes = [len(batch["index"]) for batches in trainer.prepared for batch in batches]
    assert sizes[0] == 6 and sizes[-1] <= 4


def test_another_training_begins_with_a_new_schedule(tmp_path):
    """`_created_lr_scheduler`"""
    trainer = make_trainer("cross_entropy", tmp_path, max_steps=3)
    for _ in range(2):
        trainer.train()
    rates = [entry["learning_rate"] for entry in trainer.state.log_history if "learning_rate" in entry]
    assert len(rates) == 3 and rates[0] == max(rates) == trainer.args.learning_rate


# ---------------------------------------------------------------------- checkpoints
def test_more_is_saved_beside_the_optimizer(run):
    """`_save_optimizer_and_scheduler`"""
    ((folder, files),) = run.saved
    assert Path(folder) == last_checkpoint(run)
    assert {"model.safetensors", "optimizer.pt"} <= set(files) and "trainer_state.json" not in files


def test_it_is_loaded_when_there_is_an_optimizer(resumed):
    """`_load_optimizer_and_scheduler`"""
    assert [(Path(folder), there) for folder, there in resumed.loaded] == [(last_checkpoint(resumed), True)]


def test_a_checkpoint_lists_all_files_written_before_its_state(run):
    """`_save_rng_state`"""
    listed = json.loads((last_checkpoint(run) / "checkpoint.json").read_text())["files"]
    assert {"optimizer.pt", "rng_state.pth", "method.json", "trainer_state.json"} <= set(listed)


def test_the_best_checkpoint_is_found_without_a_word(resumed):
    """`_init_training_state`"""
    assert Path(resumed.state.best_model_checkpoint) == last_checkpoint(resumed)
    assert not [text for text in resumed.messages if "best checkpoint" in text]


def test_a_diverged_run_leaves_no_checkpoint(tmp_path):
    """`_save_checkpoint`, `_tr_loss`, `_get_output_dir`"""

    class Diverging(CrossEntropy):
        def training_loss(self, model, batch):
            terms, outputs = super().training_loss(model, batch)
            return {name: term * float("nan") for name, term in terms.items()}, outputs

    dataset = make_dataset()
    method = Diverging(class_counts(dataset))
    args = make_arguments(tmp_path, max_steps=2, save_strategy="steps", save_steps=1, logging_strategy="no")
    trainer = LongTailTrainer(model=make_model(method), args=args, method=method, train_dataset=dataset)
    with pytest.raises(FloatingPointError, match="The training loss is nan at step 1"):
        trainer.train()
    assert not list(tmp_path.glob("checkpoint-*"))


def test_a_pushed_checkpoint_is_complete_and_tells_no_place(tmp_path, monkeypatch):
    """`_push_from_checkpoint`"""
    pushed = []

    class Hub:
        def create_repo(self, name, **options):
            return type("Url", (), {"repo_id": name})

        def upload_folder(self, folder_path=None, **options):
            folder = Path(folder_path)
            if folder.name.startswith("checkpoint-"):
                state = json.loads((folder / "trainer_state.json").read_text())
                listed = json.loads((folder / "checkpoint.json").read_text())["files"]
                pushed.append((state["best_model_checkpoint"], "trainer_state.json" in listed))
            done: Future = Future()
            done.set_result(None)
            return done

    monkeypatch.setattr(transformers.trainer, "hf_api", Hub)
    changes = {"push_to_hub": True, "hub_model_id": "me/run", "hub_strategy": "all_checkpoints"}
    recording(tmp_path / "run", **changes).train()
    assert pushed == [(f"checkpoint-{STEPS}", True)]
