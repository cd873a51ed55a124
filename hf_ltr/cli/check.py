"""`hf-ltr check`: damaged images and duplicates of a dataset."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..recipe.data_options import DataOptions
from ..recipe.options import parse_options

HELP = "find damaged images of a dataset, and images that its splits share"
_ABOUT = f"{HELP}. The status is 1 where an image is damaged. Training does not read again what is in order here."


@dataclass(kw_only=True)
class CheckOptions:
    """What is looked at. How the data are read is said as in training."""

    dataset: str = field(
        metadata={"help": "A name of `hf-ltr list datasets`, a Hub id or a folder.", "positional": True}
    )
    full: bool = field(default=False, metadata={"help": "Decode every image, in the place of its header alone."})
    output: str | None = field(default=None, metadata={"help": "Write everything that was found to this JSON file."})
    no_duplicates: bool = field(default=False, metadata={"help": "Do not compare images with each other."})
    workers: int | None = field(default=None, metadata={"help": "Threads; 8 for headers, one per core with full."})
    quiet: bool = field(default=False, metadata={"help": "No progress bar."})

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"workers must be at least 1, got {self.workers}")


def run(argv: list[str]) -> int:
    """Check, print what was found, and return the exit status."""
    parsed = parse_options(
        argv, [CheckOptions, DataOptions], without=("group_scheme",), description=_ABOUT, program="hf-ltr check"
    )
    options = parsed.build(CheckOptions)
    from ..data.labels import stored_labels
    from ..data.loading.check_report import report_content, report_lines
    from ..data.loading.duplicates import DuplicateFinder
    from ..data.loading.image_check import check_images
    from ..files import write_json

    data = parsed.build(DataOptions).load()
    finder = None if options.no_duplicates else DuplicateFinder(data)
    check = check_images(data, full=options.full, workers=options.workers, progress=not options.quiet, visit=finder)
    check.remember()
    duplicates = None if finder is None else finder.find({split: stored_labels(part) for split, part in data.items()})
    if options.output:
        write_json(options.output, report_content(options.dataset, check, duplicates, full=options.full))
    print("\n".join(report_lines(data, check, duplicates, full=options.full)))
    return 1 if check.damaged else 0
