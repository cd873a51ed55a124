"""
MEM on a ViT: masked autoencoding on the long-tailed images, fine-tuning, and the mutual exclusive modulator.

    accelerate launch recipes/mem_vit.py                                     # digits-LT, minutes on two CPU cores
    accelerate launch recipes/mem_vit.py --dataset path/to/my_images         # with configs/mem_vit/own_images.yaml
    accelerate launch recipes/mem_vit.py --config recipes/configs/mem_vit/cifar100_lt.yaml --data_dir path/to/cifar100

Classifier re-training and post-hoc logit adjustment on the same representation are run and reported beside MEM:
without them a gain of MEM proves nothing. Started again after an interruption, the same command continues where it
stopped and ends with the same weights.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from hf_ltr.cli.options import parse_options
from hf_ltr.cli.recipe import DataOptions, ModelOptions, command_line, fail_clearly, run_recipe

CONFIGS = Path(__file__).parent / "configs" / "mem_vit"
STAGES = ("pretraining", "finetuning", "classifier", "modulator")


@dataclass
class MemOptions:
    """Options of this recipe."""

    method_options: dict | None = field(default=None, metadata={"help": 'Options of mem, JSON: {"top_k": 5}.'})
    classifier_options: dict | None = field(default=None, metadata={"help": "Options of crt, JSON."})
    compare: bool = field(default=True, metadata={"help": "Also run cRT and post-hoc logit adjustment."})
    tau: float = field(default=1.0, metadata={"help": "Strength of the post-hoc logit adjustment."})


def main(argv: list[str]) -> None:
    from hf_ltr import LongTailTrainingArguments, get_method
    from hf_ltr.methods import Stage

    command = command_line(argv)
    given = {argument.partition("=")[0] for argument in argv}
    if not given & {"--config", "-h", "--help"}:
        # Stages of a transformer have nothing in common with the defaults of the training arguments (SGD for a CNN).
        default = "own_images.yaml" if "--dataset" in given else "digits_lt.yaml"
        argv = ["--config", str(CONFIGS / default), *argv]
    options = parse_options(
        argv,
        [MemOptions, DataOptions, ModelOptions, LongTailTrainingArguments],
        sections=dict.fromkeys(STAGES, LongTailTrainingArguments),
        description=__doc__,
    )
    recipe, data_options, model_options = (options.build(kind) for kind in (MemOptions, DataOptions, ModelOptions))
    data = data_options.load()
    counts = data_options.counts(data)
    mem = get_method("mem", class_counts=counts, **(recipe.method_options or {}))
    *stages, modulator = mem.stages()
    stages[0].config["masked_autoencoder"] = model_options.masked_autoencoder
    if recipe.compare:
        crt = get_method("crt", class_counts=counts, **(recipe.classifier_options or {}))
        stages.append(Stage("classifier", crt, start="stage:finetuning"))
    results, report, push_to = run_recipe(
        [*stages, modulator],
        data=data,
        counts=counts,
        options=options,
        default_output_dir="outputs/mem_vit",
        command=command,
    )
    report.add("fine-tuned, cross-entropy", results["finetuning"])
    if recipe.compare:
        report.add_logit_adjustment("+ logit adjustment, post-hoc", results["finetuning"], tau=recipe.tau)
        report.add("+ cRT", results["classifier"])
    report.add("+ MEM", results["modulator"])
    report.finish(results["modulator"], method=mem, stages=list(results.values()), push_to=push_to)


if __name__ == "__main__":
    fail_clearly(main)
