"""
Opening a dataset of iNaturalist's size: time, memory, and the look for missing images.

A list of 437,513 rows in the class counts of iNaturalist 2018 and a tree of as many (empty) files are made in a
temporary folder, with the official order of classes; then `load_long_tailed("inat18", ...)` opens them, from list
files and from JSON annotations, and once more without looking for the images. Memory is the growth of the resident
set, measured in a fresh process. Files on a local disk are in the cache of the system, those of a network file system
take what the network takes.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from common import argument_parser, machine

GOAL_SECONDS, GOAL_MIB = 0.5, 200
KINDS = ("lists", "lists, images not looked for", "gzipped lists", "json")
CHILD = """
import dataclasses, sys, time
sys.path.insert(0, sys.argv[3])
from common import peak_memory, reset_peak_memory
import datasets, pyarrow.compute, pyarrow.csv, pyarrow.json
from hf_ltr import class_counts, load_long_tailed
from hf_ltr.data.sources.lists.split_lists import official_lists
load_long_tailed("digits")
# The lists of this benchmark take the place of the published ones, for their checksums to be verified as theirs are.
for name, checksum in zip(("iNaturalist18_train", "iNaturalist18_val"), sys.argv[4:]):
    known = official_lists()[name]
    kind_of_checksum = "sha256" if known.sha256 else "git_blob_sha1"
    official_lists()[name] = dataclasses.replace(known, **{kind_of_checksum: checksum})
kind, root = sys.argv[1], sys.argv[2]
options = {"list_dir": root + {"gzipped lists": "/gz", "json": "/json"}.get(kind, "/plain")}
before = reset_peak_memory()
start, start_processor = time.perf_counter(), time.process_time()
data = load_long_tailed("inat18", data_dir=root, check_images="not looked" not in kind, **options)
seconds, processor = time.perf_counter() - start, time.process_time() - start_processor
grown = (peak_memory() - before) / 2**20
start = time.perf_counter()
counts = class_counts(data["train"])
print(seconds, processor, grown, time.perf_counter() - start, len(data["train"]), len(counts))
"""


def make_tree(root: Path) -> list[str]:
    """Lists (plain, gzipped, JSON) and empty image files; the checksums of the lists, of the kind of the real ones."""
    import gzip

    from hf_ltr.data.sources.lists.split_lists import official_counts, official_lists

    checksums = []
    counts = np.asarray(official_counts("inat18").counts)
    generator = np.random.default_rng(0)
    for split, stem, json_stem, labels in (
        ("train", "iNaturalist18_train", "train2018", np.repeat(np.arange(len(counts)), counts)),
        ("val", "iNaturalist18_val", "val2018", np.repeat(np.arange(len(counts)), 3)),
    ):
        labels = generator.permutation(labels).tolist()
        names = [
            f"train_val2018/Kingdom{label % 14}/{label}/{split}{row:026x}.jpg" for row, label in enumerate(labels)
        ]
        for label in sorted(set(labels)):
            (root / f"train_val2018/Kingdom{label % 14}/{label}").mkdir(parents=True, exist_ok=True)
        for name in names:
            os.close(os.open(root / name, os.O_CREAT))
        text = "".join(f"{name} {label}\n" for name, label in zip(names, labels, strict=True)).encode()
        checksums.append(official_lists()[stem].checksum_of(text).rpartition(" ")[2])
        for folder in ("plain", "gz", "json"):
            (root / folder).mkdir(exist_ok=True)
        (root / "plain" / f"{stem}.txt").write_bytes(text)
        (root / "gz" / f"{stem}.txt.gz").write_bytes(gzip.compress(text))
        images = [
            {"license": 3, "file_name": name, "rights_holder": "a photographer", "height": 600, "width": 800, "id": i}
            for i, name in enumerate(names, start=1)
        ]
        owners = [{"image_id": i, "category_id": label, "id": i} for i, label in enumerate(labels, start=1)]
        categories = [{"id": i, "name": f"Genus species{i}", "supercategory": "K"} for i in range(len(counts))]
        content = {"images": images, "annotations": owners, "categories": categories}
        (root / "json" / f"{json_stem}.json").write_text(json.dumps(content))
    return checksums


def main() -> None:
    options = argument_parser(__doc__, rounds=3).parse_args()
    print(machine(options.threads))
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        checksums = make_tree(Path(folder))
        print(f"tree of images made in {time.perf_counter() - start:.0f} s")
        results: dict[str, list[list[float]]] = {kind: [] for kind in KINDS}
        environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
        for _ in range(options.rounds):
            for kind in KINDS:
                command = [sys.executable, "-c", CHILD, kind, folder, str(Path(__file__).parent), *checksums]
                done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
                results[kind].append([float(value) for value in done.stdout.split()])
    print(
        f"goal: {GOAL_SECONDS} s, {GOAL_MIB} MiB for {results['lists'][0][4]:,.0f} training rows (and 24,426 others)"
    )
    heading = f"{'opened from':<32}{'open s (min/median)':>22}{'processor s':>14}"
    print(f"{heading}{'peak growth MiB':>18}{'class_counts ms':>18}")
    for kind, found in results.items():
        seconds, processor, grown, counting = ([row[column] for row in found] for column in range(4))
        print(
            f"{kind:<32}{f'{min(seconds):.2f}/{statistics.median(seconds):.2f}':>22}{min(processor):>14.2f}{max(grown):>18.0f}"
            f"{min(counting) * 1e3:>18.1f}"
        )
    looked = statistics.median(
        checked[0] - unchecked[0] for checked, unchecked in zip(results[KINDS[0]], results[KINDS[1]], strict=True)
    )
    print(f"looking for all images: {looked:.2f} s of the first line")


if __name__ == "__main__":
    main()
