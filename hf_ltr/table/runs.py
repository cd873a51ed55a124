"""Runs what a table lacks, each result written whole; what two rows share is trained once."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..data import long_tail_info
from ..data.labels import column_labels
from ..data.record import position_hash
from ..environment import provenance
from ..files import clear_temporaries, write_json
from ..markup import GROUP_COLUMNS
from ..methods import Stage, get_method
from ..models import LongTailForImageClassification
from ..models.quiet import quiet_loading
from ..reading import json_form, read_json
from ..redaction import public, without_secrets
from ..trainer import LongTailTrainingArguments, run_stages
from ..trainer.evaluation import evaluate_model, evaluation_arguments, evaluation_computation
from ..trainer.stage_plan import STAGE_FILE
from ..validation import choice
from .checks import RowChecks, check_stage_names
from .cost import TRAINING_FILE, TrainingMeasures, measure_cost
from .plans import Plan, TableData, share_of_process, tau_of
from .protocol import Protocol
from .report import TableReport
from .results import (
    FORMAT,
    MEASURED_SPLITS,
    Result,
    TestSet,
    check_settings,
    encode_classes,
    read_result,
    result_path,
)
from .rows import MethodSpecification, expand_rows


class Table:
    """
    A folder of finished runs under one protocol.

    Args:
        protocol ([`Protocol`]): What all rows share.
        rows (sequence of `str` or [`MethodSpecification`]): The rows, in order; `mem:width={32,64}` are two, and
            `@name` is a set of rows of the protocol.
        seeds (sequence of `int`): Every row is run with each.
        output_dir (`str` or `Path`): `results/` holds one JSON per finished run.
        weights_dir (`str` or `Path`, *optional*): `first_stages/` and `runs/` in it hold the weights; `output_dir` if
            unset. Tables with one folder of weights train nothing twice, one after the other (not at the same time):
            what was chosen on validation images is only evaluated for the table on test images.
        split (`str`, defaults to `"test"`): What the rows are measured on. `"validation"` is for choosing settings:
            no test image is looked at, and the results say so.
        command (`str`, *optional*): For the record.
        log (`Callable`, defaults to `print`): Told on the main process what begins and what is done.

    Example:

    ```python
    >>> from hf_ltr.table import Table, load_protocol
    >>> table = Table(load_protocol("cifar100_lt_40ep"), ["cross_entropy", "crt"], [0], "outputs/table")
    >>> table.run()
    >>> print(table.report().markdown())
    ```
    """

    def __init__(
        self,
        protocol: Protocol,
        rows: Sequence[str | MethodSpecification],
        seeds: Sequence[int],
        output_dir: str | Path,
        *,
        weights_dir: str | Path | None = None,
        split: str = "test",
        command: str | None = None,
        log: Callable[[str], None] = print,
    ):
        self.protocol = protocol
        self.rows = expand_rows(rows, protocol.rows, f"protocol {protocol.name}")
        self.seeds = [int(seed) for seed in seeds]
        given = {"rows": [row.label for row in self.rows], "seeds": [str(seed) for seed in self.seeds]}
        for what, values in given.items():
            if not values:
                raise ValueError(f"A table needs {what}")
            twice = sorted({value for value in values if values.count(value) > 1})
            if twice:
                raise ValueError(f"The {what} must differ, but {', '.join(twice)} is given more than once")
        if not all(0 <= seed < 2**32 for seed in self.seeds):
            raise ValueError(f"Seeds must lie in 0 ... 2**32 - 1, got {self.seeds}")
        self.output_dir = Path(output_dir)
        self.weights_dir = self.output_dir if weights_dir is None else Path(weights_dir)
        self.command = None if command is None else without_secrets(command)
        self._log = log
        self.data = TableData(protocol, choice("split to measure on", split, MEASURED_SPLITS))

    # ------------------------------------------------------------------ for users
    def run(self) -> list[Path]:
        """
        Make the runs that are missing, seed by seed.

        An interrupted call is repaired by repeating it: finished runs are kept, the interrupted one continues from its
        last complete checkpoint. A run that diverges does not keep the others from being made.

        Returns:
            `list[Path]`: the results written by this call.

        Raises:
            `ValueError`: before anything is trained, for a row that cannot be built or trained so, and for a finished
                run of other settings.
            `FloatingPointError`: at the end, naming the runs that diverged.
        """
        test = self.check()
        pairs = [(row, seed) for seed in self.seeds for row in self.rows]
        missing = [(row, seed) for row, seed in pairs if read_result(self.output_dir, row, seed) is None]
        self._wait()  # until every process has seen what is missing, nobody writes
        if self.is_main_process:
            for folder in (self.output_dir, self.output_dir / "results", self.weights_dir / "first_stages"):
                clear_temporaries(folder)
            test.write(self.output_dir)
        self.log(f"{len(pairs) - len(missing)} of {len(pairs)} runs are finished in {self.output_dir}")
        written, diverged = [], []
        for number, (row, seed) in enumerate(missing, start=1):
            place = f"[{number}/{len(missing)}] {row.label}, seed {seed}"
            self.log(place)
            try:
                content = self._make(row, seed, test)
            except FloatingPointError as error:
                diverged.append(f"{row.label}, seed {seed}: {error}")
                self.log(f"{place}: {error}")
                continue
            path = result_path(self.output_dir, row, seed)
            if self.is_main_process:
                write_json(path, content)
            written.append(path)
            metrics = content["metrics"]
            shown = [name for name in GROUP_COLUMNS if name in metrics]
            self.log(f"{place}: {', '.join(f'{name} {100 * metrics[name]:.1f}' for name in shown)}")
        self._wait()
        if diverged:
            raise FloatingPointError(f"{len(diverged)} of {len(missing)} runs diverged. {' '.join(diverged)}")
        return written

    def report(self, **options: Any) -> TableReport:
        """The [`TableReport`] of what is finished; nothing is run. `options` are its other arguments."""
        return TableReport(self.protocol, self.rows, self.seeds, self.output_dir, split=self.data.split, **options)

    def measure_cost(self, baseline: str | None = None, **options: Any) -> dict[str, Any]:
        """
        Paired step times and memory of the rows with the first seed, written to `cost.json` for the report; see
        [`~hf_ltr.table.cost.measure_cost`].
        """
        return measure_cost(
            self.data, self.rows, self.seeds[0], self.output_dir, baseline=baseline, log=self.log, **options
        )

    @property
    def is_main_process(self) -> bool:
        """Only this one writes results and reports."""
        return self._arguments.process_index == 0

    def log(self, text: str) -> None:
        """Announce on the main process."""
        if self.is_main_process:
            self._log(text)

    # ------------------------------------------------------------------ before anything is trained
    def check(self) -> TestSet:
        """
        Find every mistake that can be known before the first run.

        Returns:
            [`TestSet`]: what the rows are measured on.
        """
        check_stage_names(self.protocol)
        checks = RowChecks(self.protocol, self.output_dir, self._arguments.world_size)
        for row in self.rows:
            checks.before_data(row, self.seeds[0])
        test = self._test_set()
        for row in self.rows:
            checks.with_counts(row, self.data.plan(row, self.seeds[0]), self.data.splits(row.name))
            for seed in self.seeds:
                content = read_result(self.output_dir, row, seed)
                if content is not None:
                    self._check_finished(row, seed, content)
        return test

    def _test_set(self) -> TestSet:
        """What the rows are measured on, which has to be what the folder's finished runs were measured on."""
        images, counts = self.data.splits()[self.data.split], self.data.counts()
        row_hash = (long_tail_info(images) or {}).get("row_hash")
        test = TestSet(column_labels(images), list(counts.counts), counts.grouping, row_hash, self.data.split)
        known = TestSet.read(self.output_dir)
        if known is not None and known.row_hash == position_hash(images) is not None:
            # Written before the contents of a folder were hashed.
            known = dataclasses.replace(known, row_hash=row_hash)
        test.check_same(known, self.output_dir)
        return test

    def _check_finished(self, row: MethodSpecification, seed: int, content: Result) -> None:
        expected = self.data.identity(row, seed)
        if content["description"] != expected["description"]:
            try:
                # The same method as before an option was added to it whose default changes nothing.
                rebuilt = get_method(content["description"], class_counts=content["data"]["class_counts"])
                content = {**content, "description": json_form(rebuilt.describe())}
            except ValueError:
                pass  # the comparison names what is different
        if content["data"]["row_hash"] == position_hash(self.data.splits(row.name)["train"]) is not None:
            # Written before the contents of a folder were hashed.
            content = {**content, "data": content["data"] | {"row_hash": expected["data"]["row_hash"]}}
        check_settings(content, expected, result_path(self.output_dir, row, seed))

    # ------------------------------------------------------------------ one run
    def _make(self, row: MethodSpecification, seed: int, test: TestSet) -> Result:
        plan = self.data.plan(row, seed)
        folders = self._train(plan)
        metrics, predictions, computation = self._evaluate(row, plan, folders[-1], test)
        per_class = metrics.pop("per_class_accuracy")
        return json_form(
            {
                "format": FORMAT,
                "row": row.label,
                "seed": seed,
                **self.data.identity(row, seed),
                "overrides": public(self.protocol.overrides),
                "metrics": metrics,
                "per_class_accuracy": per_class,
                "predictions": encode_classes(predictions),
                "stages": [
                    self._stage_record(stage, folder) for stage, folder in zip(plan.stages, folders, strict=True)
                ],
                "selection": "last epoch",
                "computation": computation,
                "processes": self._arguments.world_size,
                "command": self.command,
                **provenance(),
            },
            str,
        )

    def _train(self, plan: Plan) -> list[Path]:
        """Train the stages that are not trained; their folders."""
        data = self.data.splits(plan.row.name)
        processes = self._arguments.world_size
        for stage in plan.stages:
            stage.arguments = share_of_process(stage.arguments, processes)
        common = {
            "config": plan.model_config(),
            "arguments": share_of_process(plan.arguments, processes),
            "train_dataset": data["train"],
            "validation_dataset": data.get("validation"),
            "callbacks": [TrainingMeasures()],
        }
        names = plan.shared_stages(self.data.row_hash(plan.row.name))
        alone: list[Stage] = []
        folders: list[Path] = []
        for stage, name in zip(plan.stages, names, strict=False):
            # Rows call the same stage differently; where it is shared it has one name.
            own = dataclasses.replace(stage, name="train" if stage.method.uses_labels else stage.name)
            own.start = f"stage:{alone[-1].name}" if alone else None
            alone.append(own)
            root = self.weights_dir / "first_stages" / name
            folders = self._take_over(folders, [root / before.name for before in alone[:-1]])
            run_stages(alone, output_dir=root, log=self._log_stage, **common)
            folders.append(root / own.name)
        if len(plan.stages) == len(names):
            return folders
        # Taken over as finished stages of this run: run_stages compares their settings with those it needs.
        folder = self.weights_dir / "runs" / f"{plan.row.file_name}_seed{plan.seed}"
        self._take_over(folders, [folder / stage.name for stage in plan.stages[: len(names)]])
        run_stages(plan.stages, output_dir=folder, log=self._log_stage, **common)
        return [folder / stage.name for stage in plan.stages]

    def _take_over(self, sources: list[Path], targets: list[Path]) -> list[Path]:
        """Copy finished stages where they are not there yet; the targets."""
        if self.is_main_process:
            for source, target in zip(sources, targets, strict=True):
                _copy_folder(source, target)
        self._wait()
        return targets

    def _log_stage(self, text: str) -> None:
        if "finished before" not in text:
            self.log(f"    {text}")

    def _evaluate(
        self, row: MethodSpecification, plan: Plan, folder: Path, test: TestSet
    ) -> tuple[dict[str, Any], np.ndarray, dict[str, str]]:
        """Metrics and predictions on the images that are measured on, and how they were computed."""
        with quiet_loading():
            model = LongTailForImageClassification.from_pretrained(folder)
        assert isinstance(model, LongTailForImageClassification)
        if row.post_hoc:
            model.set_logit_adjustment({"tau": tau_of(row, self.protocol), "remove": list(plan.counts.counts)})
        options = evaluation_arguments(plan.arguments)
        metrics, predictions = evaluate_model(
            model, self.data.splits(row.name)[self.data.split], options, return_predictions=True
        )
        if len(predictions) != len(test.labels):
            raise ValueError(f"{row.label}: {len(predictions)} predictions for {len(test.labels)} {test.split} images")
        return metrics, predictions, evaluation_computation(options)

    def _stage_record(self, stage: Stage, folder: Path) -> dict[str, Any]:
        """What a stage took; zero steps where its classifier is computed and not trained."""
        finished, measures = read_json(folder / STAGE_FILE), folder / TRAINING_FILE
        measured = read_json(measures) if measures.is_file() else {"steps": 0}
        return {
            "name": stage.name,
            "method": stage.method.name,
            "seconds": finished["seconds"],
            "computation": finished.get("computation"),
            "folder": folder.relative_to(self.weights_dir).as_posix(),
            **measured,
        }

    # ------------------------------------------------------------------ processes
    @cached_property
    def _arguments(self) -> LongTailTrainingArguments:
        """Training arguments made once; they start the distributed state where a launcher asks for it."""
        options = evaluation_arguments(self.protocol.arguments)
        return LongTailTrainingArguments(**options, output_dir=str(self.output_dir), report_to="none")

    def _wait(self) -> None:
        """Until every process is here."""
        self._arguments.distributed_state.wait_for_everyone()


def _copy_folder(source: Path, target: Path) -> None:
    """Copy a finished stage in one step; a copy that is there stays."""
    if target.is_dir():
        return
    temporary = target.with_name(f".{target.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(source, temporary)
    temporary.rename(target)
