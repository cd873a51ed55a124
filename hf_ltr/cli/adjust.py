"""`hf-ltr adjust`: a long-tail adjustment of any image classifier that transformers loads."""

from __future__ import annotations

import argparse
import typing
from pathlib import Path

from ..adjustment.options import ADJUSTMENTS

HELP = "adjust a trained classifier for a long tail, without training its backbone"

_TRAINING = ("epochs", "learning_rate", "sampler", "seed")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the sub-command."""
    from ..recipe.recipe import add_data_arguments

    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "methods:\n" + "\n".join(f"  {name:18}{what}" for name, what in ADJUSTMENTS.items())
    parser.add_argument("checkpoint", help="folder or Hub id of an image classifier")
    parser.add_argument("--method", required=True, choices=tuple(ADJUSTMENTS), help="see below")
    parser.add_argument(
        "--output", "--output_dir", required=True, help="folder for the adjusted checkpoint, not there yet"
    )
    parser.add_argument("--image_processor", help="folder or Hub id of the processor, if not with the checkpoint")
    data = parser.add_argument_group(
        "data",
        "Training counts come from --class_counts, from the train split of --dataset, or from the config of a model "
        "trained with hf_ltr. Give the options of the training run: images it was trained on are no validation data.",
    )
    add_data_arguments(data)
    data.add_argument("--class_counts", help="JSON file: list in label order, or counts by class name")
    data.add_argument("--target_prior", help="JSON file of the same form: prior at test time, for pc_softmax")
    data.add_argument(
        "--trust_class_order",
        action="store_true",
        help="take classes by number where names do not agree (the same names are matched by name in any order)",
    )
    data.add_argument("--evaluate_test", action="store_true", help="print test figures too, once, at the end")
    strength = parser.add_argument_group("strength")
    strength.add_argument(
        "--tau", type=float, help="of logit_adjustment or tau_norm; unset: best on the validation split, or 1 without"
    )
    strength.add_argument("--taus", type=float, nargs="+", help="values to try on it (default 0, 0.1, ..., 2)")
    training = parser.add_argument_group("training of crt and lws")
    training.add_argument("--epochs", type=float, help="10 for crt, 5 for lws; at least 1,000 steps")
    training.add_argument("--learning_rate", type=float, help="default 0.2")
    training.add_argument("--sampler", help="default class_aware")
    training.add_argument("--seed", type=int, help="of initial weights and sampling, default 0")
    machine = parser.add_argument_group("machine")
    machine.add_argument("--batch_size", type=int, default=64, help="images per forward pass (default 64)")
    machine.add_argument("--num_workers", type=int, help="processes that decode images")
    machine.add_argument("--device", help="cuda where there is one, else cpu")
    machine.add_argument("--quiet", action="store_true", help="no progress bars")


def run(options: argparse.Namespace) -> None:
    """Adjust, print before and after, and say where the result is."""
    from ..data.sources.source_names import check_source
    from ..recipe.early import require_folder_or_hub_id

    for place in (options.checkpoint, options.image_processor):
        if place is not None:
            require_folder_or_hub_id(place)
    for name in ("class_counts", "target_prior"):
        place = getattr(options, name)
        if place is not None and not Path(place).expanduser().is_file():
            raise FileNotFoundError(f"There is no file {place}, given as --{name}")
    if options.dataset is not None:
        check_source(options.dataset, options.data_dir)
    from ..adjustment import AdjustmentOptions, RetrainingOptions, adjust_checkpoint
    from ..adjustment.checkpoint import check_output
    from ..redaction import name_of_place

    training = {name: getattr(options, name) for name in _TRAINING if getattr(options, name) is not None}
    if training and options.method not in ("crt", "lws"):
        raise ValueError(f"--{next(iter(training))} belongs to crt and lws, not to {options.method}")
    adjustment = AdjustmentOptions(options.method, options.tau, options.taus, RetrainingOptions(**training))
    check_output(options.output)
    data_options = _data_options(options)
    data = data_options.load() if data_options is not None else None
    report = adjust_checkpoint(
        options.checkpoint,
        options.output,
        adjustment,
        data=data,
        class_counts=options.class_counts,
        target_prior=options.target_prior,
        group_scheme=options.group_scheme or "thresholds",
        image_processor=options.image_processor,
        trust_class_order=options.trust_class_order,
        evaluate_test=options.evaluate_test,
        dataset_name=None if options.dataset is None else name_of_place(options.dataset),
        batch_size=options.batch_size,
        num_workers=options.num_workers,
        device=options.device,
        progress=not options.quiet,
        spelling="--{}",
    )
    print(f"\n{report.summary()}\n\nModel, processor, metrics.json and README.md are in {report.folder}")


def _data_options(options: argparse.Namespace) -> typing.Any:
    """The options of the data, converted by the types of their fields; `None` without a dataset."""
    from ..recipe.recipe import DataOptions, given_data_options

    given = given_data_options(options)
    if "dataset" not in given:
        unused = [name for name in given if name != "group_scheme"]
        if unused or options.evaluate_test:
            raise ValueError(f"--{unused[0] if unused else 'evaluate_test'} needs --dataset")
        return None
    return DataOptions(**given)
