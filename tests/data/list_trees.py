"""Small copies of ImageNet-LT, Places-LT and iNaturalist 2018: the same list formats and folders, few classes."""

import gzip
import json
from pathlib import Path

from .conftest import encoded_image

# Rows per class in label order, not sorted.
COUNTS = [3, 7, 2, 5, 1, 4, 2, 3, 2, 1, 2, 6]
WNIDS = [f"n{10_000_000 + 37 * index:08}" for index in range(len(COUNTS))]


def imagenet_rows(counts=COUNTS, per_class=2) -> dict[str, list[tuple[str, int]]]:
    rows = {"ImageNet_LT_train": [], "ImageNet_LT_val": [], "ImageNet_LT_test": []}
    for label, (wnid, count) in enumerate(zip(WNIDS, counts, strict=True)):
        rows["ImageNet_LT_train"] += [(f"train/{wnid}/{wnid}_{i}.JPEG", label) for i in range(count)]
        rows["ImageNet_LT_val"] += [(f"train/{wnid}/{wnid}_{50 + i}.JPEG", label) for i in range(per_class)]
        rows["ImageNet_LT_test"] += [(f"val/{wnid}/ILSVRC_{label}_{i}.JPEG", label) for i in range(per_class)]
    return rows


def inat_rows(counts=COUNTS) -> dict[str, list[tuple[str, int]]]:
    """Folders are category numbers; the rows are mixed."""
    rows = {"iNaturalist18_train": [], "iNaturalist18_val": []}
    for label, count in enumerate(counts):
        folder = f"train_val2018/{('Aves', 'Fungi')[label % 2]}/{label}"
        rows["iNaturalist18_train"] += [(f"{folder}/{label:04x}{i:04x}.jpg", label) for i in range(count)]
        rows["iNaturalist18_val"] += [(f"{folder}/val{label:04x}.jpg", label)]
    rows["iNaturalist18_train"].sort(key=lambda row: row[0][-8:])
    return rows


def write_lists(folder: Path, rows: dict[str, list[tuple[str, int]]], compressed: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in rows.items():
        text = "".join(f"{path} {label}\n" for path, label in lines).encode()
        (folder / f"{name}.txt{'.gz' if compressed else ''}").write_bytes(gzip.compress(text) if compressed else text)


def write_annotations(folder: Path, rows: dict[str, list[tuple[str, int]]], names: list[str] | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for list_name, file in (("iNaturalist18_train", "train2018.json"), ("iNaturalist18_val", "val2018.json")):
        images = [
            {
                "license": 1,
                "file_name": path,
                "rights_holder": 'a "holder" }, {',
                "width": 4,
                "height": 4,
                "id": 100 + i,
            }
            for i, (path, _) in enumerate(rows[list_name])
        ]
        labels = [{"id": i, "image_id": 100 + i, "category_id": label} for i, (_, label) in enumerate(rows[list_name])]
        number = 1 + max(label for _, label in rows[list_name])
        categories = [{"id": i, "name": (names or {i: str(i) for i in range(number)})[i]} for i in range(number)]
        content = {"info": {"year": 2018}, "images": images, "annotations": labels[::-1], "categories": categories}
        (folder / file).write_text(json.dumps(content, indent=1))


def write_images(root: Path, rows: dict[str, list[tuple[str, int]]]) -> None:
    value = 0
    for lines in rows.values():
        for path, _ in lines:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(encoded_image(value % 256))
            value += 1
