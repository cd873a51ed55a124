"""`hf-ltr prepare`: decode and resize a dataset once."""

from __future__ import annotations

import argparse

HELP = "decode and resize a dataset once, into Parquet files that train from then on"
CONTINUES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the sub-command."""
    parser.add_argument("dataset", help="a name of `hf-ltr list datasets`, a Hub id or a folder")
    parser.add_argument("--output", required=True, help="folder to write; the same command again continues there")
    parser.add_argument("--data_dir", help="your copy of a named dataset: the folder of its images")
    parser.add_argument("--list_dir", help="folder of the split lists, if not in data_dir")
    parser.add_argument("--size", type=int, default=256, help="pixels of the shorter side (256)")
    parser.add_argument("--format", default="jpeg", help="jpeg, webp or png (jpeg)")
    parser.add_argument("--quality", type=int, default=90, help="of JPEG and WebP, 1 to 100 (90)")
    parser.add_argument("--interpolation", default="bicubic", help="bicubic or bilinear (bicubic)")
    parser.add_argument("--workers", type=int, help="threads (one per core)")
    parser.add_argument("--shard_rows", type=int, default=4096, help="images per file (4096)")
    parser.add_argument("--imbalance_factor", type=float, help="cut a long tail: head over tail")
    parser.add_argument("--imbalance_type", default="exponential", help="exponential or step")
    parser.add_argument("--order_column", help="column that fixes which rows stay")
    parser.add_argument("--image_column", help="if it is not found by itself")
    parser.add_argument("--label_column", help="if it is not found by itself")
    parser.add_argument("--labels_from", help="folders, or the table with the labels, where a folder has two readings")
    parser.add_argument("--splits", help="train=NAME,test=NAME where names do not say it; others are left out")
    parser.add_argument("--dataset_config", help="configuration of a dataset with several")
    parser.add_argument("--validation_per_class", type=int, default=0, help="rows per class held out for validation")
    parser.add_argument("--seed", type=int, default=0, help="seed of the chosen rows")
    parser.add_argument("--any_lists", action="store_true", help="take split lists that are not the published ones")


def run(options: argparse.Namespace) -> None:
    """Prepare, and say how to use the result."""
    from ..data import load_long_tailed
    from ..data.sources.prepare import Preparation, prepare

    preparation = Preparation(options.size, options.format, options.quality, options.interpolation, options.shard_rows)
    data = load_long_tailed(
        options.dataset,
        imbalance_factor=options.imbalance_factor,
        imbalance_type=options.imbalance_type,
        order_column=options.order_column,
        data_dir=options.data_dir,
        image_column=options.image_column,
        label_column=options.label_column,
        labels_from=options.labels_from,
        splits=options.splits,
        dataset_config=options.dataset_config,
        validation_per_class=options.validation_per_class,
        seed=options.seed,
        list_dir=options.list_dir,
        check_lists=not options.any_lists,
    )
    folder = prepare(data, options.output, preparation, workers=options.workers)
    rows = ", ".join(f"{split} {len(part):,}" for split, part in data.items())
    stored = sum(file.stat().st_size for file in folder.glob("*.parquet"))
    print(f"{rows} images in {folder} ({stored / 2**20:,.1f} MiB). Use it with --dataset {folder}")
