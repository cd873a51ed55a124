"""`hf-ltr list`: what there is."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..recipe.options import parse_options

HELP = "methods, samplers, datasets and own backbones"
_KINDS = ("methods", "samplers", "datasets", "backbones")


@dataclass
class ListOptions:
    """What is listed."""

    what: str = field(default="methods", metadata={"help": "What to list.", "positional": True, "choices": _KINDS})


def run(argv: list[str]) -> None:
    """Print one line per thing."""
    options = parse_options(argv, [ListOptions], description=HELP, program="hf-ltr list").build(ListOptions)
    if options.what == "methods":
        from ..methods import METHODS

        for name, method in METHODS.items():
            title = method.paper.get("title", "")
            presets = f"; presets: {', '.join(method.presets)}" if method.presets else ""
            print(f"{name:24}{', '.join(method.option_names()) or '-'}{presets}{f'  ({title})' if title else ''}")
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
