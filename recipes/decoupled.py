"""
Representation first, classifier second: the methods of two stages.

    accelerate launch recipes/decoupled.py --config recipes/configs/decoupled/digits_lt.yaml
    accelerate launch recipes/decoupled.py --config recipes/configs/decoupled/cifar100_lt_crt.yaml

A local copy of CIFAR-100 is given with --data_dir.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hf_ltr.cli.options import parse_options
from hf_ltr.cli.recipe import DataOptions, ModelOptions, command_line, fail_clearly, run_recipe

STAGES = ("representation", "classifier")


@dataclass
class DecoupledOptions:
    """Options of this recipe."""

    method: str = field(default="crt", metadata={"help": "A method of two stages."})
    method_options: dict | None = field(default=None, metadata={"help": "Its options, JSON."})
    representation_method: str = field(default="cross_entropy", metadata={"help": "Method of the first stage."})
    representation_options: dict | None = field(default=None, metadata={"help": "Its options, JSON."})


def main(argv: list[str]) -> None:
    from hf_ltr import LongTailTrainingArguments, get_method

    options = parse_options(
        argv,
        [DecoupledOptions, DataOptions, ModelOptions, LongTailTrainingArguments],
        sections=dict.fromkeys(STAGES, LongTailTrainingArguments),
        description=__doc__,
    )
    recipe, data_options = options.build(DecoupledOptions), options.build(DataOptions)
    data = data_options.load()
    counts = data_options.counts(data)
    representation = get_method(
        recipe.representation_method, class_counts=counts, **(recipe.representation_options or {})
    )
    method = get_method(
        recipe.method, class_counts=counts, representation=representation, **(recipe.method_options or {})
    )
    results, report, push_to = run_recipe(
        method.stages(),
        data=data,
        counts=counts,
        options=options,
        default_output_dir=f"outputs/decoupled/{recipe.method}",
        command=command_line(argv),
    )
    for name, result in results.items():
        report.add(recipe.method if name == "classifier" else f"{name}: {recipe.representation_method}", result)
    report.finish(results["classifier"], method=method, stages=list(results.values()), push_to=push_to)


if __name__ == "__main__":
    fail_clearly(main)
