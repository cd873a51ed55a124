"""Small datasets of generated images."""

import io

import numpy as np
import PIL.Image
from datasets import Dataset, Features, Image, Value


def encoded(array: np.ndarray, format: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    PIL.Image.fromarray(array).save(stream, format, **options)
    return stream.getvalue()


def pixels(rows: int, height: int = 32, width: int = 32, channels: int = 3, seed: int = 0) -> np.ndarray:
    shape = (rows, height, width, channels) if channels > 1 else (rows, height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def image_dataset(images, labels=None, **columns) -> Dataset:
    """A dataset with encoded images, as from parquet."""
    items = [{"bytes": item if isinstance(item, bytes) else encoded(item), "path": None} for item in images]
    features = {"image": Image()}
    data = {"image": items, **columns}
    if labels is not None:
        data["label"] = labels
        features["label"] = Value("int64")
    features |= {name: Value("string") for name in columns}
    return Dataset.from_dict(data, features=Features(features))


LABELS = [row % 3 for row in range(37)]
SMALL = pixels(37)
SMALL_DATASET = image_dataset(SMALL, LABELS)
LARGE = [pixels(1, 100 + 7 * row, 150 - 5 * row, seed=row)[0] for row in range(9)]
LARGE_DATASET = image_dataset(LARGE, [row % 3 for row in range(9)])
