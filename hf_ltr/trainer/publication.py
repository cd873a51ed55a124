"""
What a trainer measured, and what it writes beside a model that it saves: the record and the card that a recipe writes,
and the push.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers.trainer_utils import EvalLoopOutput

from ..data.provenance import long_tail_info
from ..data.record import read_record
from ..files import clear_temporaries
from ..hub import AUTOENCODER, CLASSIFIER
from ..hub.pushing import push_errors
from ..models import MaskedAutoencoder
from ..models.modeling import LongTailPreTrainedModel
from ..redaction import is_secret
from ..reporting.finished_run import FinishedRun
from .arguments import LongTailTrainingArguments
from .checkpoint_files import forget_places
from .checks import model_counts
from .parent import HookedTrainer
from .precision import computation

# What a reader of a card learns nothing from: places, and what this machine is told.
_NOT_SHOWN = frozenset("output_dir run_name push_to_hub local_rank disable_tqdm report_to logging_dir".split())
# Of an evaluation's metrics: how long it took says nothing about the model.
_TIMES = frozenset(
    "runtime samples_per_second steps_per_second epoch model_preparation_time jit_compilation_time".split()
)


@dataclasses.dataclass
class Training:
    """A training that has ended: hash of its rows, what was made of it, and which weights were kept."""

    row_hash: str | None
    seconds: float
    epochs: float
    steps: int
    selection: str


class RunRecord:
    """What is known of the model of a trainer: the training that made it, and what was measured of it."""

    def __init__(self) -> None:
        self.training: Training | None = None
        self._evaluations: dict[str, tuple[tuple, dict[str, Any]]] = {}

    def evaluated(
        self, model: LongTailPreTrainedModel, dataset: Any, name: str | None, metrics: Mapping[str, Any]
    ) -> None:
        """Keep metrics, without prefix, together with the weights they are true of."""
        recorded = (read_record(dataset) or {}).get("split")
        split = name or str(getattr(dataset, "split", None) or recorded or "evaluation")
        known = {key: value for key, value in metrics.items() if key not in _TIMES}
        self._evaluations.pop(split, None)  # the latest stands last
        self._evaluations[split] = (_weights_of(model), known)

    def last_evaluation(self, model: LongTailPreTrainedModel) -> tuple[str | None, dict[str, Any]]:
        """Split and metrics of the weights as they are: on the test split if there are such, else the latest."""
        now = _weights_of(model)
        true = {split: metrics for split, (when, metrics) in self._evaluations.items() if when == now}
        split = "test" if "test" in true else next(reversed(true), None)
        return (None, {}) if split is None else (split, dict(true[split]))


def _weights_of(model: LongTailPreTrainedModel) -> tuple:
    """Changes whenever a parameter is written to or replaced, or the logits are adjusted otherwise."""
    adjustment = json.dumps(getattr(model.config, "logit_adjustment", None))
    return adjustment, *((id(parameter), parameter._version) for parameter in model.parameters())


class PublishingTrainer(HookedTrainer):
    """
    A trainer that remembers what it measured, of which weights, and whose saved models say so. A subclass sets
    `record.training` when a training ends.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        self.record = RunRecord()
        # Of the last evaluation: what has as many values as there are classes.
        self._details: dict[str, Any] = {}
        try:
            super().__init__(*args, **kwargs)
        except RuntimeError as error:
            if "to be installed" not in str(error):
                raise
            raise ImportError(f"report_to names what is not here: {error}") from error

    # ------------------------------------------------------------------ what is measured
    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, Any]:
        """
        Accuracy on `eval_dataset` (default: the trainer's).

        Args:
            eval_dataset (`datasets.Dataset` or dict of them, *optional*).
            ignore_keys: Not used; logits are never collected.
            metric_key_prefix (`str`, defaults to `"eval"`).

        Returns:
            `dict`: `eval_accuracy`, `eval_balanced_accuracy`, `eval_many`, `eval_medium`, `eval_few` (groups without
            classes are absent), `eval_loss` (cross-entropy of the logits that inference uses),
            `eval_per_class_accuracy` (a list in label order, `None` for a class without images) and others of
            [`StreamingMetrics`], all in [0, 1] but `eval_group_errors`, which is in percent.
        """
        metrics = super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        # Added behind the log: thousands of classes have no place in a progress line.
        metrics |= {f"{metric_key_prefix}_{name}": value for name, value in self._details.items()}
        self._details = {}
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        if not isinstance(dataset, dict):
            named = dataset if isinstance(dataset, str) else None
            plain = {key.removeprefix(f"{metric_key_prefix}_"): value for key, value in metrics.items()}
            self.record.evaluated(self.model, dataset, named, plain)
        return metrics

    def evaluate_once(self, dataset: Any) -> dict[str, Any]:
        """
        Metrics of `dataset` without prefix, log or callbacks: for the test set, after training.

        Args:
            dataset (`datasets.Dataset`).

        Returns:
            `dict`: as [`~LongTailTrainer.evaluate`], `per_class_accuracy` and `group_errors` included.
        """
        prefix = "once"
        output = self.evaluation_loop(self.get_eval_dataloader(dataset), "Evaluation", metric_key_prefix=prefix)
        metrics: dict[str, Any] = {
            key.removeprefix(f"{prefix}_"): value for key, value in (output.metrics or {}).items()
        }
        metrics |= {"per_class_accuracy": None, **self._details}
        self.record.evaluated(self.model, dataset, None, metrics)
        return metrics

    def without_details(self, output: EvalLoopOutput, prefix: str) -> EvalLoopOutput:
        """Put aside what has no place in a progress line: thousands of classes."""
        metrics: dict[str, Any] = output.metrics or {}
        keys = {name: f"{prefix}_{name}" for name in ("per_class_accuracy", "group_errors")}
        self._details = {name: metrics.pop(key) for name, key in keys.items() if key in metrics}
        return output

    # ------------------------------------------------------------------ what is known
    def ended_training(self, row_hash: str | None, seconds: float) -> Training:
        """At the end of a training on rows of this hash, unless their own record has another one."""
        args, recorded = self.args, long_tail_info(self.train_dataset) or {}
        return Training(
            row_hash=recorded.get("row_hash") or row_hash,
            seconds=seconds,
            epochs=self.state.epoch or 0,
            steps=self.state.global_step,
            selection=(
                f"the checkpoint with the best {args.metric_for_best_model or 'loss'} on the evaluation images"
                if args.load_best_model_at_end
                else "the weights after the last step"
            ),
        )

    def _finished_run(self, folder: str | Path) -> FinishedRun:
        training, description = self.record.training, self.model.config.method
        info = (long_tail_info(self.train_dataset, hash_contents=False) if training else None) or {}
        split, metrics = self.record.last_evaluation(self.model)
        per_class = metrics.pop("per_class_accuracy", None)
        row = description["name"] if description else Path(folder).resolve().name
        card: dict[str, Any] = {
            "kind": AUTOENCODER if isinstance(self.model, MaskedAutoencoder) else CLASSIFIER,
            "test_split": split,
        }
        if model_id := getattr(self, "hub_model_id", None) or self.args.hub_model_id:
            card["model_id"] = model_id
        if training:
            card |= {
                "selection": training.selection,
                "arguments": changed_arguments(self.args),
                "seed": self.args.seed,
                "epochs": round(training.epochs, 2),
                "steps": training.steps,
            }
        used = {"train": computation(self.args)} if training else {}
        if metrics:
            used["evaluation"] = computation(self.args, evaluation=True)
        return FinishedRun(
            Path(folder),
            self.model.config,
            method=description,
            dataset=info.get("source"),
            # That of a tail from which rows were taken since is another one.
            imbalance_factor=None if "changed" in info else info.get("imbalance_factor"),
            counts=model_counts(self.model),
            row_hash=training.row_hash if training else None,
            rows={row: metrics} if metrics else {},
            per_class={row: per_class} if per_class is not None else {},
            seconds={"train": training.seconds} if training else {},
            selection=training.selection if training else "as loaded",
            computation=used,
            card=card,
        )

    # ------------------------------------------------------------------ what is written
    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """
        Save model, image processor and arguments, and beside them `metrics.json`, the figures and the card that a
        recipe writes. Results are in them if this trainer has evaluated the weights as they are, on the test split if
        it has. A README.md that somebody else wrote stays.

        Args:
            output_dir (`str`, *optional*): That of the arguments if not given.
        """
        super().save_model(output_dir, _internal_call)
        if not _internal_call and self.is_world_process_zero():
            self._finished_run(output_dir or self.args.folder).write(keep_own_card=True)

    def save_state(self) -> None:
        """As in the parent, but where the best checkpoint lay on this machine is not told: the file is pushed."""
        super().save_state()
        if self.args.should_save:
            forget_places(self.args.folder)

    def create_model_card(
        self,
        language: str | None = None,
        license: str | None = None,
        tags: str | list[str] | None = None,
        model_name: str | None = None,
        finetuned_from: str | None = None,
        tasks: str | list[str] | None = None,
        dataset_tags: str | list[str] | None = None,
        dataset: str | list[str] | None = None,
        dataset_args: str | list[str] | None = None,
    ) -> None:
        """
        Write `metrics.json`, figures and card into the output folder, over whatever card is there.

        Args:
            language (`str`, *optional*), license (`str`, *optional*), tags (*optional*): For the metadata.
            model_name (`str`, *optional*): Title; method and data if not given.
            finetuned_from (`str`, *optional*): Hub id that training started from; what the config records otherwise.
            tasks (*optional*): Further tags.
            dataset_tags (*optional*): Hub ids of the data; what the data say of themselves otherwise.
            dataset, dataset_args (*optional*): The data in words.
        """
        if not self.is_world_process_zero():
            return
        ids, names, details = (_listed(value) for value in (dataset_tags, dataset, dataset_args))
        words = ", ".join(names) + (f" ({', '.join(details)})" if names and details else "")
        given: dict[str, Any] = {
            "language": language,
            "license": license,
            "tags": [*_listed(tags), *_listed(tasks)],
            "model_name": model_name,
            "base_model": finetuned_from,
            "dataset": ids[0] if ids else None,
            "datasets": ids[1:],
            "dataset_name": words or None,
        }
        run = self._finished_run(self.args.folder)
        run.write(**{name: value for name, value in given.items() if value})

    def push_to_hub(self, *args: Any, **kwargs: Any) -> Any:
        """As in the parent, without what interrupted writes left in the output folder."""
        if self.is_world_process_zero():
            clear_temporaries(self.args.folder)
        return super().push_to_hub(*args, **kwargs)

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """
        As in the parent, which asks for it before anything is trained if `push_to_hub` is set.

        Raises:
            `ValueError`: saying why nothing could be pushed.
        """
        args = self.args
        # `private` is there from transformers 5.23 on; unset, both are read from the arguments.
        given: dict[str, Any] = {
            name: value for name, value in (("token", token), ("private", private)) if value is not None
        }
        with push_errors(args.hub_model_id or Path(args.folder).absolute().name, token or args.hub_token):
            super().init_hf_repo(**given)


def changed_arguments(args: LongTailTrainingArguments) -> dict[str, Any]:
    """The training arguments that differ from what this machine makes of none, without places and secrets."""
    usual = LongTailTrainingArguments(output_dir=args.output_dir).to_dict()
    return {
        name: value
        for name, value in args.to_dict().items()
        if usual.get(name) != value
        and name not in _NOT_SHOWN
        and not name.startswith("hub_")
        and not is_secret(name, value)
    }


def _listed(value: str | list[str] | None) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else list(value)
