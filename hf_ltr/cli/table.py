"""`hf-ltr table`: methods on one protocol, beside published numbers."""

from __future__ import annotations

import argparse
import os
from typing import Any

HELP = "compare methods on one protocol: run what is missing, report with intervals beside published numbers"
CONTINUES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Every option is accepted with hyphens and with underscores."""

    def option(name: str, **kwargs: object) -> None:
        spellings = dict.fromkeys((f"--{name}", f"--{name.replace('_', '-')}"))
        parser.add_argument(*spellings, dest=name, **kwargs)

    option("protocol", help="name of a protocol of the package, or a YAML file; by the dataset if not given")
    option("dataset", help="for another dataset than the protocol's")
    option("imbalance_factor", type=float, help="for another tail than the protocol's")
    option(
        "methods",
        nargs="+",
        required=True,
        metavar="ROW",
        help=(
            "name, name:option=value,..., crt:representation=balanced_softmax, cross_entropy+logit_adjustment; "
            "'mem:width={32,64,128}' for a row per value, with a figure over the option; @name for a set of rows of "
            "the protocol"
        ),
    )
    option("seeds", nargs="+", type=int, default=[0])
    option("data_dir", help="local copy of the dataset")
    option("output_dir", help="outputs/table/<protocol> if not given")
    option(
        "baseline",
        nargs="+",
        metavar="ROW",
        help="rows the others are tested against, one table each; cross_entropy if it is there, else the first",
    )
    option(
        "set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="training arguments (cpu_threads=2), data and model options; stage.key=value for one stage; max_steps=5 "
        "is a short trial of every stage, its schedule shortened with it",
    )
    option("report_only", action="store_true", help="run nothing, report what is finished")
    option("measure_cost", action="store_true", help="also time a step of every row against the baseline")
    option("resamples", type=int, default=2000, help="of the bootstrap")


def run(options: argparse.Namespace) -> None:
    """Run what is missing and report."""
    import sys

    from ..redaction import public
    from ..table.protocol import DEFAULT_PROTOCOLS, load_protocol, protocol_names

    overrides = {}
    for text in options.set:
        key, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"--set takes KEY=VALUE, got {text!r}")
        overrides[key.strip().replace("-", "_")] = value
    for name in ("dataset", "imbalance_factor", "data_dir"):
        if getattr(options, name) is not None:
            overrides[name] = getattr(options, name)
    name = options.protocol
    if name is None:
        name = DEFAULT_PROTOCOLS.get(options.dataset)
        if name is None:
            raise ValueError(
                f"There is no default protocol for the dataset {options.dataset!r}; name one with --protocol "
                f"({', '.join(protocol_names())}, or a YAML file)"
            )
    protocol = load_protocol(name, **overrides)
    from ..table import Table

    table = Table(
        protocol,
        options.methods,
        options.seeds,
        options.output_dir or f"outputs/table/{_folder_name(protocol)}",
        command=_command(sys.argv[1:]),
    )
    changed = ", ".join(f"{key}={value}" for key, value in public(protocol.overrides).items())
    table.log(f"Protocol {protocol.name}{f', changed: {changed}' if changed else ''}")
    if options.measure_cost and os.environ.get("WORLD_SIZE", "1") != "1":
        raise ValueError("--measure_cost takes one process; call the table without a launcher for it")
    # Mistakes in what the report is to say are found before hours of training, not after.
    report = table.report(baseline=options.baseline, resamples=options.resamples)
    diverged = None
    if not options.report_only:
        try:
            table.run()
        except FloatingPointError as error:
            # The rows that did not diverge are reported all the same.
            diverged = error
        if options.measure_cost and diverged is None:
            table.measure_cost(baseline=report.baseline if options.baseline else None)
    if table.is_main_process:
        report = table.report(baseline=options.baseline, resamples=options.resamples)
        print(f"\n{report.markdown()}\n")
        print(f"Written: {', '.join(str(path) for path in report.write())}")
    if diverged is not None:
        raise diverged


def _folder_name(protocol: Any) -> str:
    """The protocol's name, and what was changed about its data: another tail is another table, and so is a trial."""
    from ..redaction import public

    changed = [
        f"-{key}={public(value, key)}"
        for key, value in protocol.overrides.items()
        if key in protocol.data or "max_steps" in key
    ]
    return f"{protocol.name}{''.join(changed)}"


def _command(argv: list[str]) -> str:
    """The command as others could repeat it: their folders are elsewhere, and secrets are nobody's business."""
    from pathlib import Path

    from ..redaction import public_command

    shown = [f"path/to/{Path(argument).name}" if os.path.isabs(argument) else argument for argument in argv]
    processes = os.environ.get("WORLD_SIZE", "1")
    launched = ["accelerate", "launch", "--num_processes", processes, "-m", "hf_ltr.cli.main"]
    return public_command(launched if processes != "1" else ["hf-ltr"], shown)
