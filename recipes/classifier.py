"""
One network, one loss: any single-stage method.

    accelerate launch recipes/classifier.py --config recipes/configs/classifier/digits_lt.yaml --method focal
    accelerate launch recipes/classifier.py --dataset path/to/images --backbone resnet50 --method ldam_drw

With --masked_autoencoding '{}' a vision transformer is pretrained on the training images first.
Settings of papers, with their sources, are in recipes/configs/classifier/; a local copy is given with --data_dir.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hf_ltr.recipe.early import check_options, check_paths, replaced
from hf_ltr.recipe.options import parse_options
from hf_ltr.recipe.recipe import DataOptions, ModelOptions, command_line, fail_clearly, run_recipe, take_statistics

STAGES = ("pretraining",)


@dataclass
class ClassifierOptions:
    """Options of this recipe."""

    method: str = field(default="cross_entropy", metadata={"help": "A name that `hf-ltr list` shows."})
    method_options: dict | None = field(default=None, metadata={"help": 'Its options, JSON: {"max_margin": 0.3}.'})
    masked_autoencoding: dict | None = field(
        default=None, metadata={"help": 'Pretrain on the training images, options as JSON: {"mask_ratio": 0.75}.'}
    )
    pretraining_model: dict | None = field(
        default=None, metadata={"help": 'Fields of the model that differ in pretraining, JSON: {"image_size": 128}.'}
    )
    start: str | None = field(default=None, metadata={"help": "Folder or Hub id of weights to start from."})
    new_classifier: bool = field(
        default=False, metadata={"help": "Begin with a new head: for a start that was trained for other classes."}
    )
    tau: float | None = field(default=None, metadata={"help": "Also report post-hoc logit adjustment with this tau."})


def build_method(recipe: ClassifierOptions, counts):
    """The method of one stage, or a `ValueError` for one that has several."""
    from hf_ltr import get_method

    method = get_method(recipe.method, class_counts=counts, **(recipe.method_options or {}))
    if len(method.stages()) > 1:
        raise ValueError(
            f"{recipe.method} has several stages; use recipes/decoupled.py (or recipes/mem_vit.py for mem)"
        )
    return method


def build_stages(recipe: ClassifierOptions, method, options) -> list:
    """The method's one stage, behind pretraining where that is asked for."""
    from hf_ltr import get_method
    from hf_ltr.methods.pretraining import with_pretraining

    stages = method.stages()
    if recipe.start is not None:
        stages[0].start = recipe.start
        stages[0].new_classifier = recipe.new_classifier
        take_statistics(options, recipe.start)
    if recipe.masked_autoencoding is None:
        if recipe.pretraining_model or options.sections.get("pretraining"):
            raise ValueError("there are options of pretraining, but masked_autoencoding is not set ({}: its defaults)")
        return stages
    pretraining = get_method("masked_autoencoding", class_counts=method.class_counts, **recipe.masked_autoencoding)
    stages = with_pretraining(stages, pretraining)
    decoder = options.build(ModelOptions).masked_autoencoder
    stages[0].config |= {"masked_autoencoder": decoder, **(recipe.pretraining_model or {})}
    return stages


def main(argv: list[str]) -> None:
    check_paths(argv)
    from hf_ltr import LongTailTrainingArguments

    options = parse_options(
        argv,
        [ClassifierOptions, DataOptions, ModelOptions, LongTailTrainingArguments],
        sections=dict.fromkeys(STAGES, LongTailTrainingArguments),
        description=__doc__,
    )
    recipe, data_options = options.build(ClassifierOptions), options.build(DataOptions)
    if recipe.new_classifier and recipe.start is None:
        raise ValueError("new_classifier is for weights to start from: name them with start")
    check_options(options, lambda counts, known: build_method(replaced(recipe, known, "method_options"), counts))
    data = data_options.load()
    counts = data_options.counts(data)
    method = build_method(recipe, counts)
    results, report, push_to = run_recipe(
        build_stages(recipe, method, options),
        data=data,
        counts=counts,
        options=options,
        default_output_dir=f"outputs/classifier/{recipe.method}",
        command=command_line(argv),
    )
    report.add(recipe.method, results["train"])
    if recipe.tau is not None:
        from hf_ltr.recipe.post_hoc import add_logit_adjustment

        add_logit_adjustment(report, "+ logit adjustment, post-hoc", results["train"], tau=recipe.tau)
    report.finish(results["train"], method=method, stages=list(results.values()), push_to=push_to)


if __name__ == "__main__":
    fail_clearly(main)
