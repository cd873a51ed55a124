"""`hf-ltr table`: methods on one protocol, beside published numbers."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..recipe.commands import command_line, sub_command
from ..recipe.options import parse_options

HELP = "compare methods on one protocol: run what is missing, report with intervals beside published numbers"
CONTINUES = True


@dataclass(kw_only=True)
class TableOptions:
    """Rows, and the protocol they have in common."""

    methods: list[str] = field(
        metadata={
            "help": "Rows: name, name:option=value,..., crt:representation=balanced_softmax, "
            "crt:classifier.learning_rate=0.01 (stage.argument), cross_entropy+logit_adjustment:tau=1.5; "
            "'mem:width={32,64,128}' for a row per value, with a figure over the option; @name for a set of rows of "
            "the protocol.",
            "whole_words": True,
        }
    )
    protocol: str | None = field(
        default=None, metadata={"help": "Name of a protocol of the package, or a YAML file; by the dataset if unset."}
    )
    dataset: str | None = field(default=None, metadata={"help": "For another dataset than the protocol's."})
    imbalance_factor: float | None = field(default=None, metadata={"help": "For another tail than the protocol's."})
    seeds: list[int] = field(default_factory=lambda: [0], metadata={"help": "One run of every row for each."})
    data_dir: str | None = field(default=None, metadata={"help": "Local copy of the dataset."})
    output_dir: str | None = field(default=None, metadata={"help": "outputs/table/<protocol> if unset."})
    split: str = field(
        default="test",
        metadata={
            "help": "What the rows are measured on: validation is for choosing settings and looks at no test image.",
            "choices": ("test", "validation"),
        },
    )
    weights_dir: str | None = field(
        default=None,
        metadata={
            "help": "Where weights are kept, output_dir if unset; with one folder for a table on validation and one "
            "on test images nothing is trained twice."
        },
    )
    baseline: list[str] | None = field(
        default=None,
        metadata={
            "help": "Rows the others are tested against, one table each; cross_entropy if there, else the first.",
            "whole_words": True,
        },
    )
    set: list[str] = field(
        default_factory=list,
        metadata={
            "help": "KEY=VALUE: training arguments (cpu_threads=2), data and model options; stage.key=value for one "
            "stage; max_steps=5 is a short trial of every stage, its schedule shortened with it.",
            "whole_words": True,
            "repeats": True,
        },
    )
    report_only: bool = field(default=False, metadata={"help": "Run nothing, report what is finished."})
    measure_cost: bool = field(default=False, metadata={"help": "Also time a step of every row against the baseline."})
    resamples: int = field(default=2000, metadata={"help": "Of the bootstrap."})

    @property
    def overrides(self) -> dict[str, str | float]:
        """What is to be changed in the protocol."""
        changes: dict[str, str | float] = {}
        for text in self.set:
            key, equals, value = text.partition("=")
            if not equals:
                raise ValueError(f"--set takes KEY=VALUE, got {text!r}")
            changes[key.strip().replace("-", "_")] = value
        own = {"dataset": self.dataset, "imbalance_factor": self.imbalance_factor, "data_dir": self.data_dir}
        return changes | {name: value for name, value in own.items() if value is not None}


def run(argv: list[str]) -> None:
    """Run what is missing and report."""
    options = parse_options(argv, [TableOptions], description=HELP, program="hf-ltr table").build(TableOptions)
    overrides = options.overrides
    from ..table.protocol import default_protocol, load_protocol

    protocol = load_protocol(options.protocol or default_protocol(options.dataset), **overrides)
    # Below the protocol, whose misspelt name is refused before torch is imported.
    from ..table.completion import complete
    from ..table.runs import Table

    name = protocol.folder_name if options.split == "test" else f"{protocol.folder_name}-{options.split}"
    folder = options.output_dir or f"outputs/table/{name}"
    command = command_line(argv, sub_command("table"), made_up_folders=True)
    complete(
        Table(
            protocol,
            options.methods,
            options.seeds,
            folder,
            weights_dir=options.weights_dir,
            split=options.split,
            command=command,
        ),
        baseline=options.baseline,
        resamples=options.resamples,
        report_only=options.report_only,
        measure_cost=options.measure_cost,
    )
