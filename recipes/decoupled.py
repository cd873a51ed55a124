"""
Representation first, classifier second: the methods of two stages.

    accelerate launch recipes/decoupled.py --config recipes/configs/decoupled/digits_lt.yaml
    accelerate launch recipes/decoupled.py --config recipes/configs/decoupled/cifar100_lt_crt.yaml

A local copy of CIFAR-100 is given with --data_dir. Training arguments of one stage are set with
--representation.<option> and --classifier.<option>; they win over those the method brings along.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from hf_ltr.recipe.early import check_options, check_paths, replaced
from hf_ltr.recipe.options import parse_options
from hf_ltr.recipe.recipe import DataOptions, ModelOptions, command_line, fail_clearly, run_recipe

STAGES = ("representation", "classifier")


@dataclass
class DecoupledOptions:
    """Options of this recipe."""

    method: str = field(default="crt", metadata={"help": "A method of two stages."})
    method_options: dict | None = field(default=None, metadata={"help": "Its options, JSON."})
    representation_method: str = field(default="cross_entropy", metadata={"help": "Method of the first stage."})
    representation_options: dict | None = field(default=None, metadata={"help": "Its options, JSON."})


def build_method(recipe: DecoupledOptions, counts):
    """The method with its representation, or a `ValueError` for one that has other stages."""
    from hf_ltr import METHODS, get_method
    from hf_ltr.methods.decoupled import DecoupledMethod

    if recipe.method in METHODS and not issubclass(METHODS[recipe.method], DecoupledMethod):
        raise ValueError(
            f"{recipe.method} is no method of two stages; use recipes/classifier.py (or recipes/mem_vit.py for mem)"
        )
    representation = get_method(
        recipe.representation_method, class_counts=counts, **(recipe.representation_options or {})
    )
    return get_method(
        recipe.method, class_counts=counts, representation=representation, **(recipe.method_options or {})
    )


def tell(text: str) -> None:
    """Print once, also where several processes run this script."""
    if os.environ.get("RANK", "0") == "0":
        print(text)


def main(argv: list[str]) -> None:
    check_paths(argv)
    from hf_ltr import LongTailTrainingArguments

    options = parse_options(
        argv,
        [DecoupledOptions, DataOptions, ModelOptions, LongTailTrainingArguments],
        sections=dict.fromkeys(STAGES, LongTailTrainingArguments),
        description=__doc__,
    )
    recipe, data_options = options.build(DecoupledOptions), options.build(DataOptions)
    own = ("method_options", "representation_options")
    check_options(options, lambda counts, known: build_method(replaced(recipe, known, *own), counts))
    data = data_options.load()
    method = build_method(recipe, data_options.counts(data))
    if not method.trains_classifier:
        unused = [name for name in ("num_train_epochs", "max_steps") if options.sections["classifier"].pop(name, None)]
        if unused:
            tell(f"The classifier of {recipe.method} is computed, not trained: classifier.{unused[0]} has no effect.")
    results, report, push_to = run_recipe(
        method.stages(),
        data=data,
        counts=method.class_counts,
        options=options,
        default_output_dir=f"outputs/decoupled/{recipe.method}",
        command=command_line(argv),
    )
    representation, classifier = (results[name] for name in STAGES)
    report.add(f"representation: {recipe.representation_method}", representation)
    report.add(recipe.method, classifier)
    report.finish(classifier, method=method, stages=list(results.values()), push_to=push_to)
    from hf_ltr import LongTailConfig

    tau = (LongTailConfig.from_pretrained(classifier.folder).head_options or {}).get("tau")
    if tau is not None:
        tell(f"tau = {tau}{'' if method.tau is not None else ', chosen on the validation split'}")


if __name__ == "__main__":
    fail_clearly(main)
