"""`hf-ltr prepare`: decode and resize a dataset once."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..recipe.data_options import DataOptions
from ..recipe.options import parse_options

HELP = "decode and resize a dataset once, into Parquet files that train from then on"
CONTINUES = True


@dataclass(kw_only=True)
class PrepareOptions:
    """What is written, and where."""

    dataset: str = field(
        metadata={"help": "A name of `hf-ltr list datasets`, a Hub id or a folder.", "positional": True}
    )
    output: str = field(metadata={"help": "Folder to write; the same command again continues there."})
    size: int = field(default=256, metadata={"help": "Pixels of the shorter side."})
    format: str = field(default="jpeg", metadata={"help": "jpeg, webp or png."})
    quality: int = field(default=90, metadata={"help": "Of JPEG and WebP, 1 to 100."})
    interpolation: str = field(default="bicubic", metadata={"help": "bicubic or bilinear."})
    workers: int | None = field(default=None, metadata={"help": "Threads; one per core if unset."})
    shard_rows: int = field(default=4096, metadata={"help": "Images per file."})
    seed: int = field(default=0, metadata={"help": "Of the chosen rows."})
    any_lists: bool = field(default=False, metadata={"help": "Take split lists that are not the published ones."})


def run(argv: list[str]) -> None:
    """Prepare, and say how to use the result."""
    parsed = parse_options(
        argv,
        [PrepareOptions, DataOptions],
        without=("subset_seed", "group_scheme"),
        description=HELP,
        program="hf-ltr prepare",
    )
    options = parsed.build(PrepareOptions)
    from ..data.sources.prepare import Preparation, prepare

    preparation = Preparation(options.size, options.format, options.quality, options.interpolation, options.shard_rows)
    source = DataOptions(**parsed.of(DataOptions), subset_seed=options.seed)
    data = source.load(check_lists=not options.any_lists)
    folder = prepare(data, options.output, preparation, workers=options.workers)
    rows = ", ".join(f"{split} {len(part):,}" for split, part in data.items())
    stored = sum(file.stat().st_size for file in folder.glob("*.parquet"))
    print(f"{rows} images in {folder} ({stored / 2**20:,.1f} MiB). Use it with --dataset {folder}")
