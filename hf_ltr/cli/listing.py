"""`hf-ltr list`: what there is."""

from __future__ import annotations

import argparse

HELP = "methods, samplers, datasets and own backbones"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the sub-command."""
    parser.add_argument("what", nargs="?", choices=("methods", "samplers", "datasets", "backbones"), default="methods")


def run(options: argparse.Namespace) -> None:
    """Print one line per thing."""
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
        from ..data.sources.source_names import DATASETS

        for name in DATASETS:
            print(name)
        print("any Hub id, folder of parquet files or folder of images")
    else:
        from ..models import OWN_BACKBONES

        print("\n".join(OWN_BACKBONES))
        print("any name of timm.list_models()")
