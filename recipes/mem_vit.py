"""
MEM on a ViT: masked autoencoding on the long-tailed images, fine-tuning, and the mutual exclusive modulator.

    accelerate launch recipes/mem_vit.py                                     # digits-LT, minutes on two CPU cores
    accelerate launch recipes/mem_vit.py --dataset path/to/my_images         # with configs/mem_vit/own_images.yaml
    accelerate launch recipes/mem_vit.py --config recipes/configs/mem_vit/cifar100_lt.yaml --data_dir path/to/cifar100
    accelerate launch recipes/mem_vit.py --config recipes/configs/mem_vit/own_images.yaml --dataset path/to/my_images \
        --start facebook/vit-mae-base --backbone vit_base_patch16_224 --image_size 224

Classifier re-training and post-hoc logit adjustment on the same representation are run and reported beside MEM:
without them a gain of MEM proves nothing. Started again after an interruption, the same command continues where it
stopped and ends with the same weights. What the paper says, leaves open, and was measured: recipes/mem_vit.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from hf_ltr.recipe.early import check_options, check_paths, replaced
from hf_ltr.recipe.options import parse_options
from hf_ltr.recipe.recipe import DataOptions, ModelOptions, command_line, fail_clearly, run_recipe, take_statistics

CONFIGS = Path(__file__).parent / "configs" / "mem_vit"
STAGES = ("pretraining", "finetuning", "classifier", "lws", "las_stage2", "modulator")


# What stands beside MEM: a method whose last stage is a classifier on the same representation, or this.
LOGIT_ADJUSTMENT = "logit_adjustment"
NAMES = {"crt": "cRT", "lws": "LWS", "tau_norm": "tau-normalised"}


@dataclass
class MemOptions:
    """Options of this recipe."""

    method_options: dict | None = field(default=None, metadata={"help": 'Options of mem, JSON: {"top_k": 5}.'})
    classifier_options: dict | None = field(default=None, metadata={"help": "Options of crt, JSON."})
    pretraining_model: dict | None = field(
        default=None, metadata={"help": 'Fields of the model that differ in pretraining, JSON: {"image_size": 128}.'}
    )
    start: str | None = field(
        default=None, metadata={"help": "Folder or Hub id to fine-tune instead of pretraining, such as a ViTMAE."}
    )
    new_classifier: bool = field(
        default=False, metadata={"help": "Begin with a new head: for a start that was trained for other classes."}
    )
    compare: list[str] = field(
        default_factory=lambda: [LOGIT_ADJUSTMENT, "crt"],
        metadata={
            "help": "Run beside MEM: logit_adjustment (post-hoc), crt, lws, tau_norm, ncm, las_stage2; or none."
        },
    )
    tau: float = field(default=1.0, metadata={"help": "Strength of the post-hoc logit adjustment."})


def comparisons(recipe: MemOptions, counts, classifier_arguments: dict) -> list:
    """Stages of the methods beside MEM, each a classifier on the fine-tuned network, trained alike."""
    from hf_ltr import METHODS, get_method
    from hf_ltr.methods import Stage
    from hf_ltr.methods.decoupled import DecoupledMethod
    from hf_ltr.naming import unknown_name

    stages = []
    for name in recipe.compare:
        if name in (LOGIT_ADJUSTMENT, "none"):
            continue
        if name not in METHODS or not issubclass(METHODS[name], DecoupledMethod):
            known = [known for known, kind in METHODS.items() if issubclass(kind, DecoupledMethod)]
            raise unknown_name("method to compare with", name, [LOGIT_ADJUSTMENT, *known, "none"])
        options = (recipe.classifier_options or {}) if name == "crt" else {}
        method = get_method(name, class_counts=counts, **options)
        arguments = method.classifier_arguments()
        if method.trains_classifier:
            arguments |= classifier_arguments
        stages.append(
            Stage(
                "classifier" if name == "crt" else name,
                method,
                start="stage:finetuning",
                # Stochastic depth is of fine-tuning: a frozen network that drops paths is another one in every step.
                config={"drop_path_rate": 0.0},
                arguments=arguments,
            )
        )
    return stages


def build_method(recipe: MemOptions, counts):
    """MEM, without its own pretraining where there are weights to start from."""
    from hf_ltr import get_method

    options = dict(recipe.method_options or {})
    if recipe.start is not None and options.setdefault("pretraining", False):
        raise ValueError("start names weights to fine-tune, so there is no pretraining: leave one of the two out")
    return get_method("mem", class_counts=counts, **options)


def main(argv: list[str]) -> None:
    command = command_line(argv)
    given = {argument.partition("=")[0].replace("-", "_") for argument in argv if argument.startswith("-")}
    if not given & {"__config", "_h", "__help"}:
        # Stages of a transformer have nothing in common with the defaults of the training arguments (SGD for a CNN).
        default = "own_images.yaml" if "__dataset" in given else "digits_lt.yaml"
        argv = ["--config", str(CONFIGS / default), *argv]
    check_paths(argv)
    from hf_ltr import LongTailTrainingArguments

    options = parse_options(
        argv,
        [MemOptions, DataOptions, ModelOptions, LongTailTrainingArguments],
        sections=dict.fromkeys(STAGES, LongTailTrainingArguments),
        description=__doc__,
    )
    recipe, data_options, model_options = (options.build(kind) for kind in (MemOptions, DataOptions, ModelOptions))
    if recipe.new_classifier and recipe.start is None:
        raise ValueError("new_classifier is for weights to start from: name them with start")
    own = ("method_options", "classifier_options")

    def build(counts, known):
        comparisons(replaced(recipe, known, *own), counts, {})
        return build_method(replaced(recipe, known, *own), counts)

    check_options(options, build)
    data = data_options.load()
    counts = data_options.counts(data)
    if recipe.start is not None:
        take_statistics(options, recipe.start)
    mem = build_method(recipe, counts)
    *stages, modulator = mem.stages()
    if mem.pretraining:
        stages[0].config |= {
            "masked_autoencoder": model_options.masked_autoencoder,
            **(recipe.pretraining_model or {}),
        }
    else:
        stages[0].start, stages[0].new_classifier = recipe.start, recipe.new_classifier
        # A config may describe the pretraining that is left out; whoever asks for it here is mistaken.
        unused = {"__pretraining_model", "__masked_autoencoder"} & given
        unused |= {option for option in given if option.startswith("__pretraining.")}
        if unused:
            name = sorted(unused)[0].replace("__", "--", 1)
            raise ValueError(f"{name} is for pretraining, and this run has none")
        options.sections["pretraining"] = {}
    compared = comparisons(recipe, counts, options.sections.get("classifier", {}))
    stages += compared
    results, report, push_to = run_recipe(
        [*stages, modulator],
        data=data,
        counts=counts,
        options=options,
        default_output_dir="outputs/mem_vit",
        command=command,
    )
    report.add("fine-tuned, cross-entropy", results["finetuning"])
    if LOGIT_ADJUSTMENT in recipe.compare:
        from hf_ltr.recipe.post_hoc import add_logit_adjustment

        add_logit_adjustment(report, "+ logit adjustment, post-hoc", results["finetuning"], tau=recipe.tau)
    for stage in compared:
        report.add(f"+ {NAMES.get(stage.method.name, stage.method.name)}", results[stage.name])
    report.add("+ MEM", results["modulator"])
    report.finish(results["modulator"], method=mem, stages=list(results.values()), push_to=push_to)


if __name__ == "__main__":
    fail_clearly(main)
