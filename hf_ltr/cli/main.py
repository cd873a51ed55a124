"""`hf-ltr`: what is there, and how good a checkpoint is. Training is `accelerate launch recipes/<recipe>.py`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; heavy libraries are imported by the sub-command that needs them."""
    parser = argparse.ArgumentParser(prog="hf-ltr", description="Long-tailed image recognition on Hugging Face.")
    commands = parser.add_subparsers(dest="command", required=True)

    listing = commands.add_parser("list", help="methods, samplers, datasets and own backbones")
    listing.add_argument(
        "what", nargs="?", choices=("methods", "samplers", "datasets", "backbones"), default="methods"
    )

    evaluate = commands.add_parser("evaluate", help="accuracy of a checkpoint per group and per class")
    evaluate.add_argument("checkpoint", help="folder or Hub id of a LongTailForImageClassification")
    evaluate.add_argument("--dataset", required=True, help="digits, cifar10, cifar100, a Hub id or a folder")
    evaluate.add_argument("--data_dir", help="local copy of a named dataset")
    evaluate.add_argument("--split", default="test")
    evaluate.add_argument("--batch_size", type=int, default=512)
    evaluate.add_argument("--per_class", action="store_true", help="also print accuracy per class")
    evaluate.add_argument("--output", help="write the metrics to this JSON file")

    options = parser.parse_args(argv)
    command = {"list": _list, "evaluate": _evaluate}[options.command]
    try:
        command(options)
    except (ValueError, FileNotFoundError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _list(options: argparse.Namespace) -> None:
    if options.what == "methods":
        from ..methods import METHODS

        for name, method in METHODS.items():
            title = method.paper.get("title", "")
            print(f"{name:24}{', '.join(method.option_names()) or '-'}{f'  ({title})' if title else ''}")
    elif options.what == "samplers":
        from ..data.samplers import SAMPLERS

        for name, sampler in SAMPLERS.items():
            print(f"{name:24}{(sampler.__doc__ or '').strip().splitlines()[0]}")
    elif options.what == "datasets":
        from ..data.datasets import DATASETS

        for name in DATASETS:
            print(name)
        print("any Hub id, folder of parquet files or folder of images")
    else:
        from ..models import OWN_BACKBONES

        print("\n".join(OWN_BACKBONES))
        print("any name of timm.list_models()")


def _evaluate(options: argparse.Namespace) -> None:
    from ..data import load_long_tailed
    from ..evaluation import format_table, write_metrics
    from ..models import LongTailForImageClassification
    from ..models.quiet import quiet_loading
    from ..naming import unknown_name
    from ..trainer.evaluation import evaluate_model

    if not Path(options.checkpoint).exists() and options.checkpoint.count("/") != 1:
        raise FileNotFoundError(f"There is no folder {options.checkpoint!r}; a Hub id has the form owner/name")
    data = load_long_tailed(options.dataset, data_dir=options.data_dir)
    if options.split not in data:
        raise unknown_name("split", options.split, data)
    with quiet_loading():
        model = LongTailForImageClassification.from_pretrained(options.checkpoint)
    metrics = evaluate_model(model, data[options.split], {"per_device_eval_batch_size": options.batch_size})
    per_class = metrics.pop("per_class_accuracy")
    print(
        format_table({options.checkpoint: metrics}, columns=("accuracy", "balanced_accuracy", "many", "medium", "few"))
    )
    if options.per_class:
        names = [model.config.id2label[index] for index in range(model.config.num_labels)]
        print(json.dumps(dict(zip(names, per_class, strict=True)), indent=2))
    if options.output:
        write_metrics(options.output, {**metrics, "per_class_accuracy": per_class})


if __name__ == "__main__":
    sys.exit(main())
