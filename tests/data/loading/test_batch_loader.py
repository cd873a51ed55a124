import numpy as np
import PIL.Image
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Value
from torch.utils._python_dispatch import TorchDispatchMode

from hf_ltr.data.loading.batch_loader import BatchLoader
from hf_ltr.data.loading.batches import GlobalBatchSampler, KeyedDataLoader, SequentialShards
from hf_ltr.data.randomness import pack_keys
from hf_ltr.data.samplers import ClassBalancedSampler, InstanceSampler

from .small_sets import LABELS, LARGE, LARGE_DATASET, SMALL, SMALL_DATASET, encoded, image_dataset

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def make_loader(dataset=SMALL_DATASET, **options) -> BatchLoader:
    options = {"num_labels": 3, "image_size": 32, "image_mean": MEAN, "image_std": STD, "train": True} | options
    return BatchLoader(dataset, **options)


def batches(batch_loader: BatchLoader, batch_size: int = 8, world: int = 1, rank: int = 0, epoch: int = 0, **options):
    sampler = GlobalBatchSampler(InstanceSampler(batch_loader.num_rows, seed=1), batch_size, world, rank)
    loader = batch_loader.loader(sampler, **options)
    loader.set_epoch(epoch)
    return [batch_loader.prepare(raw, step) for step, raw in enumerate(loader)]


def by_row(found: list[dict]) -> torch.Tensor:
    """pixel_values in the order of the dataset."""
    index, values = torch.cat([b["index"] for b in found]), torch.cat([b["pixel_values"] for b in found])
    weight = torch.cat([b["weight"] for b in found])
    index, values = index[weight > 0], values[weight > 0]
    assert sorted(index.tolist()) == list(range(len(index)))
    return values[index.argsort()]


def normalised(images: np.ndarray | torch.Tensor) -> torch.Tensor:
    values = torch.from_numpy(np.array(images)).double() / 255
    mean, std = (torch.tensor(v, dtype=torch.float64).view(-1, 1, 1) for v in (MEAN, STD))
    return ((values - mean) / std).float()


class HostReads(TorchDispatchMode):
    """Counts reads of single values from tensors and operations whose output size depends on values."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.overloadpacket in (
            torch.ops.aten._local_scalar_dense,
            torch.ops.aten.nonzero,
            torch.ops.aten.masked_select,
        ):
            self.count += 1
        return function(*args, **(kwargs or {}))


def test_evaluation_batches():
    batch_loader = make_loader(train=False)
    assert batch_loader.loading == "resident" and batch_loader.augmentation == [] and batch_loader.num_rows == 37
    assert batch_loader.labels.tolist() == LABELS and batch_loader.labels.dtype == torch.int64
    found = [batch_loader.prepare(raw) for raw in batch_loader.loader(SequentialShards(37, 10))]
    assert [len(batch["labels"]) for batch in found] == [10, 10, 10, 7]
    values = torch.cat([batch["pixel_values"] for batch in found])
    torch.testing.assert_close(values, normalised(SMALL.transpose(0, 3, 1, 2)), atol=1e-5, rtol=0)
    assert torch.cat([batch["labels"] for batch in found]).tolist() == LABELS
    assert torch.cat([batch["index"] for batch in found]).tolist() == list(range(37))
    assert set(found[0]) == {"pixel_values", "labels", "index", "keys", "weight"}
    assert found[0]["pixel_values"].dtype == torch.float32 and found[0]["weight"].tolist() == [1.0] * 10


def test_training_batches_are_crops_and_flips():
    batch_loader = make_loader()
    assert batch_loader.augmentation == ["random_crop", "horizontal_flip"]
    raw = next(iter(batch_loader.loader(GlobalBatchSampler(InstanceSampler(37), 8))))
    assert set(raw) == {"keys"} and raw["keys"].dtype == torch.int64
    batch = batch_loader.prepare(raw)
    for row, value, label in zip(batch["index"].tolist(), batch["pixel_values"], batch["labels"], strict=True):
        assert label == LABELS[row]
        padded = normalised(np.pad(SMALL[row].transpose(2, 0, 1), ((0, 0), (4, 4), (4, 4))))
        candidates = [padded[:, t : t + 32, left : left + 32] for t in range(9) for left in range(9)]
        candidates += [candidate.flip(2) for candidate in candidates]
        assert min((candidate - value).abs().max() for candidate in candidates) < 1e-5


def test_padding_rows_have_no_weight():
    found = [batches(make_loader(SMALL_DATASET.select(range(9))), 2, world=4, rank=rank) for rank in range(4)]
    weights = [part[-1]["weight"].tolist() for part in found]
    assert sorted(weights) == [[0.0], [0.0], [0.0], [1.0]]
    assert torch.cat([by_row([batch for part in found for batch in part])]).shape[0] == 9


def test_repeated_rows_are_augmented_differently():
    batch_loader = make_loader(SMALL_DATASET.select(range(3)))
    sampler = ClassBalancedSampler([0, 0, 1], num_samples=12)
    batch = batch_loader.prepare(next(iter(batch_loader.loader(GlobalBatchSampler(sampler, 12)))))
    repeated = batch["pixel_values"][batch["index"] == 2]
    assert len(repeated) > 3 and len({tuple(v.flatten().tolist()) for v in repeated}) > 2


ALL_OPTIONS = {
    "augmentation": ["random_crop", "horizontal_flip", "rotation", "color_jitter", "cutout", "random_erasing"],
    "mixup_alpha": 0.8,
    "cutmix_alpha": 1.0,
    "label_smoothing": 0.1,
    "views": ("train", "train", "eval"),
}


def test_same_for_any_process_count():
    batch_loader = make_loader(**ALL_OPTIONS)
    one = batches(batch_loader, 16, epoch=2)
    for world, size in ((2, 8), (4, 4)):
        ranks = [batches(batch_loader, size, world, rank, epoch=2) for rank in range(world)]
        for step, whole in enumerate(one):
            for name in ("pixel_values", "targets", "labels", "index", "keys"):
                parts = torch.cat([part[step][name][part[step]["weight"] > 0] for part in ranks])
                assert torch.equal(parts, whole[name]), name
            for view in (0, 1):
                parts = [part[step]["extra_views"][view][part[step]["weight"] > 0] for part in ranks]
                assert torch.equal(torch.cat(parts), whole["extra_views"][view])


def test_same_after_a_restart_and_different_in_each_epoch():
    first = by_row(batches(make_loader(), epoch=1))
    assert torch.equal(first, by_row(batches(make_loader(), epoch=1)))
    assert not torch.equal(first, by_row(batches(make_loader(), epoch=2)))
    assert not torch.equal(first, by_row(batches(make_loader(seed=1), epoch=1)))


@pytest.mark.parametrize("augmentation", [["random_crop", "autoaugment", "horizontal_flip", "cutout"], ["rotation"]])
def test_same_for_any_number_of_workers(augmentation):
    batch_loader = make_loader(augmentation=augmentation)
    assert batch_loader.loading == "resident"
    expected = by_row(batches(batch_loader, 10))
    for options in ({"num_workers": 2}, {"num_workers": 1, "persistent_workers": True, "prefetch_factor": 3}):
        assert torch.equal(by_row(batches(batch_loader, 10, **options)), expected)


@pytest.mark.parametrize("workers", [0, 2])
def test_resident_and_decoding_workers_agree(workers):
    """The same images whether they are kept or decoded each time."""
    augmentation = ["random_crop", "horizontal_flip", "cutout"]
    resident = make_loader(augmentation=augmentation)
    decoding = make_loader(augmentation=augmentation, loading="workers")
    assert (resident.loading, decoding.loading) == ("resident", "workers")
    assert torch.equal(by_row(batches(decoding, 10, num_workers=workers)), by_row(batches(resident, 7)))


def test_global_generators_are_untouched():
    batch_loader = make_loader(augmentation=["random_crop", "autoaugment", "random_erasing"], mixup_alpha=0.5)
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    batches(batch_loader)
    batches(batch_loader, num_workers=1)
    assert torch.equal(torch.get_rng_state(), states[0]) and (np.random.get_state()[1] == states[1]).all()


def test_cutout_and_erasing_act_on_normalised_pixels():
    plain = by_row(batches(make_loader(augmentation="none")))
    cut = by_row(batches(make_loader(augmentation=["cutout"])))
    changed = (cut != plain).any(dim=1)
    assert (cut.permute(0, 2, 3, 1)[changed] == 0).all() and changed.flatten(1).any(dim=1).all()
    erased = by_row(batches(make_loader(augmentation=["random_erasing"])))
    erased = erased[(erased != plain)]
    assert erased.numel() > 500 and abs(erased.mean()) < 0.15 and abs(erased.std() - 1) < 0.1


@pytest.mark.parametrize("crop", ["random_crop", "random_resized_crop"])
def test_prepare_reads_nothing_back(crop):
    batch_loader = make_loader(**ALL_OPTIONS | {"augmentation": [crop, *ALL_OPTIONS["augmentation"][1:]]})
    raws = list(batch_loader.loader(GlobalBatchSampler(InstanceSampler(37), 8)))
    batch_loader.prepare(raws[0])
    with HostReads() as reads:
        for step, raw in enumerate(raws):
            batch_loader.prepare(raw, step)
    assert reads.count == 0
    with HostReads() as reads:
        torch.ones(1).item()
    assert reads.count == 1


def test_large_images_are_decoded_by_workers():
    batch_loader = make_loader(LARGE_DATASET, image_size=24)
    assert batch_loader.loading == "workers" and batch_loader.augmentation == [
        "random_resized_crop",
        "horizontal_flip",
    ]
    loader = batch_loader.loader(GlobalBatchSampler(InstanceSampler(9), 4))
    raw = next(iter(loader))
    assert raw["images"].dtype == torch.uint8 and raw["images"].shape == (4, 3, 24, 24)
    expected = by_row(batches(batch_loader, 4))
    for options in ({"num_workers": 2}, {"batch_size": 2, "num_workers": 1}):
        assert torch.equal(by_row(batches(batch_loader, **options)), expected)
    assert not torch.equal(by_row(batches(batch_loader, 4, epoch=1)), expected)


def test_random_resized_crop_of_large_images_is_cut_before_resizing():
    """A box as large as the image gives the antialiased image itself; a small one a part at full resolution."""
    whole = make_loader(
        LARGE_DATASET,
        image_size=24,
        augmentation=["random_resized_crop"],
        augmentation_options={"random_resized_crop": {"scale": (1.0, 1.0), "ratio": (0.1, 10.0)}},
    )
    keys = pack_keys(0, torch.zeros(9, dtype=torch.int64), torch.arange(9))
    heights, widths = (torch.tensor([image.shape[axis] for image in LARGE]) for axis in (0, 1))
    boxes = whole.views[0].boxes(keys, heights, widths, 0)
    values = by_row(batches(whole, 4))
    for image, box, value in zip(LARGE, boxes.tolist(), values, strict=True):
        top, left, height, width = box
        cut = PIL.Image.fromarray(image[top : top + height, left : left + width]).resize((24, 24), PIL.Image.BICUBIC)
        expected = normalised(np.asarray(cut).transpose(2, 0, 1))
        assert (value - expected).abs().max() < 2.1 / 255 / min(STD)


def test_evaluation_resizes_and_cuts_out_the_centre():
    batch_loader = make_loader(LARGE_DATASET, image_size=28, train=False, eval_resize_ratio=28 / 32)
    values = torch.cat(
        [batch_loader.prepare(raw)["pixel_values"] for raw in batch_loader.loader(SequentialShards(9, 4))]
    )
    for image, value in zip(LARGE, values, strict=True):
        short = min(image.shape[:2])
        size = [round(side * 32 / short) for side in image.shape[:2]]
        resized = PIL.Image.fromarray(image).resize((size[1], size[0]), PIL.Image.BICUBIC)
        top, left = (size[0] - 28) // 2, (size[1] - 28) // 2
        expected = normalised(np.asarray(resized)[top : top + 28, left : left + 28].transpose(2, 0, 1))
        assert (value - expected).abs().max() < 2.1 / 255 / min(STD)


def test_large_images_with_policy_and_views():
    options = {
        "image_size": 24,
        "augmentation": ["random_resized_crop", "horizontal_flip", "randaugment", "random_erasing"],
        "views": ("train", "eval", "weak"),
        "view_augmentations": {"weak": ["horizontal_flip"]},
    }
    batch_loader = make_loader(LARGE_DATASET, **options)
    batch = batches(batch_loader, 9)[0]
    again = batches(batch_loader, 9, num_workers=2)[0]
    plain, weak = batch["extra_views"]
    assert torch.equal(batch["pixel_values"], again["pixel_values"]) and torch.equal(weak, again["extra_views"][1])
    assert (batch["pixel_values"] != plain).flatten(1).any(dim=1).all()
    flipped = (weak == plain.flip(3)).flatten(1).all(dim=1)
    assert ((weak == plain).flatten(1).all(dim=1) | flipped).all() and 0 < flipped.sum() < 9


def test_large_images_kept_resident():
    """They are stored larger than the input where a random resized crop will cut from them, else at its size."""
    kept = make_loader(LARGE_DATASET, image_size=28, loading="resident")
    assert kept.images.shape == (9, 3, 32, 32)
    assert by_row(batches(kept, 4)).shape == (9, 3, 28, 28)
    evaluation = make_loader(LARGE_DATASET, image_size=28, loading="resident", train=False)
    assert evaluation.images.shape == (9, 3, 28, 28)
    upsampled = make_loader(image_size=48, augmentation=["random_resized_crop"])
    assert upsampled.images.shape == (37, 3, 48, 48)


def test_resident_limit():
    assert make_loader(resident_limit_bytes=37 * 3 * 32 * 32).loading == "resident"
    assert make_loader(resident_limit_bytes=37 * 3 * 32 * 32 - 1).loading == "workers"


class Ready(torch.utils.data.Dataset):
    def __init__(self, as_tuple: bool = False):
        self.values = torch.randn(10, 3, 4, 4, generator=torch.Generator().manual_seed(0))
        self.as_tuple = as_tuple

    def __len__(self):
        return 10

    def __getitem__(self, row):
        item = {"pixel_values": self.values[row], "labels": row % 3}
        return tuple(item.values()) if self.as_tuple else item


@pytest.mark.parametrize("as_tuple", [False, True])
def test_ready_pixel_values_pass_through(as_tuple):
    batch_loader = make_loader(Ready(as_tuple), image_size=4, label_smoothing=0.1)
    assert batch_loader.loading == "ready" and batch_loader.labels.tolist() == [row % 3 for row in range(10)]
    found = batches(batch_loader, 4)
    assert torch.equal(by_row(found), Ready().values)
    assert found[0]["labels"].tolist() == [row % 3 for row in found[0]["index"].tolist()]
    assert found[0]["targets"].shape == (4, 3)
    with pytest.raises(ValueError, match="ready pixel_values"):
        make_loader(Ready(), image_size=4, augmentation=["horizontal_flip"])


def test_datasets_with_a_transform_pass_through():
    def transform(rows):
        return {"pixel_values": [torch.ones(3, 4, 4) * label for label in rows["label"]], "labels": rows["label"]}

    batch_loader = make_loader(SMALL_DATASET.with_transform(transform), image_size=4)
    assert batch_loader.loading == "ready" and batch_loader.labels.tolist() == LABELS
    assert by_row(batches(batch_loader))[:, 0, 0, 0].tolist() == LABELS


class Items(torch.utils.data.Dataset):
    def __init__(self, kind):
        self.kind = kind

    def __len__(self):
        return 37

    def __getitem__(self, row):
        image = PIL.Image.fromarray(SMALL[row])
        return (image, LABELS[row]) if self.kind == "tuple" else {"image": image, "label": LABELS[row]}


@pytest.mark.parametrize("kind", ["dict", "tuple", "arrays", "selected", "list"])
def test_other_datasets_give_the_same_batches(kind):
    dataset = {
        "arrays": {"image": SMALL, "label": np.array(LABELS)},
        "selected": Dataset.from_dict(SMALL_DATASET[:0], SMALL_DATASET.features),
        "list": [{"image": image, "label": label} for image, label in zip(SMALL, LABELS, strict=True)],
    }.get(kind, Items(kind))
    if kind == "selected":
        dataset = image_dataset(SMALL[::-1], LABELS[::-1]).select(range(36, -1, -1))
    batch_loader = make_loader(dataset)
    assert batch_loader.labels.tolist() == LABELS and batch_loader.loading == "resident"
    assert torch.equal(by_row(batches(batch_loader)), by_row(batches(make_loader())))


def test_training_without_labels():
    batch_loader = make_loader(SMALL_DATASET.remove_columns("label"), num_labels=None)
    assert batch_loader.labels is None and "labels" not in batches(batch_loader)[0]
    with pytest.raises(ValueError, match="need labels"):
        make_loader(SMALL_DATASET.remove_columns("label"), mixup_alpha=0.8)
    with pytest.raises(ValueError, match="no label column 'label' in the dataset; its columns are 'image'"):
        make_loader(SMALL_DATASET.remove_columns("label"), train=False)


def test_targets_only_when_mixed_or_smoothed():
    assert "targets" not in batches(make_loader())[0]
    assert "targets" in batches(make_loader(label_smoothing=0.1))[0]
    assert "targets" not in batches(make_loader(label_smoothing=0.1, mixup_alpha=1.0, train=False))[0]


def test_mixing_follows_the_step():
    batch_loader, plain = make_loader(mixup_alpha=1.0), make_loader()
    raw = next(iter(batch_loader.loader(GlobalBatchSampler(InstanceSampler(37), 8))))
    values = plain.prepare(raw)["pixel_values"]
    for step in (0, 5):
        weight = batch_loader.mixing.draw(step, 32, 32).weight
        mixed = batch_loader.prepare(raw, step)["pixel_values"]
        torch.testing.assert_close(mixed[0], weight * values[0] + (1 - weight) * values[1])
    assert not torch.equal(batch_loader.prepare(raw, 0)["pixel_values"], batch_loader.prepare(raw, 5)["pixel_values"])
    with pytest.raises(ValueError, match="batch size per process is 7"):
        batch_loader.loader(GlobalBatchSampler(InstanceSampler(37), 7))


def test_views():
    batch = batches(make_loader(views=("train", "train", "eval"), augmentation="random_crop,cutout"))[0]
    second, plain = batch["extra_views"]
    assert (batch["pixel_values"] != second).flatten(1).any(dim=1).all()
    expected = normalised(SMALL[batch["index"].numpy()].transpose(0, 3, 1, 2))
    torch.testing.assert_close(plain, expected, atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="Unknown view: 'strong'"):
        make_loader(views=("train", "strong"))


def test_channels_last():
    batch = batches(make_loader(memory_format=torch.channels_last, views=("train", "train")))[0]
    assert batch["pixel_values"].is_contiguous(memory_format=torch.channels_last)
    assert batch["extra_views"][0].is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(batch["pixel_values"], batches(make_loader())[0]["pixel_values"])


def test_loaders_of_keys_need_no_workers():
    loader = make_loader().loader(SequentialShards(37, 8), num_workers=4, persistent_workers=True, pin_memory=True)
    assert isinstance(loader, KeyedDataLoader) and loader.num_workers == 0 and not loader.pin_memory
    assert len(loader.dataset) == 37


@pytest.mark.parametrize("dataset", ["decoded", "ready"])
def test_loaders_of_images_have_the_workers_they_are_given(dataset):
    batch_loader = make_loader(loading="workers") if dataset == "decoded" else make_loader(Ready(), image_size=4)
    loader = batch_loader.loader(SequentialShards(10, 4), num_workers=2, prefetch_factor=3, persistent_workers=True)
    assert (loader.num_workers, loader.prefetch_factor, loader.persistent_workers) == (2, 3, True)


def test_photographs_of_shared_data(shared_data, tmp_path):
    path = shared_data / "grocery96" / "validation-00000-of-00001.parquet"
    dataset = Dataset.from_parquet(str(path), cache_dir=str(tmp_path))
    batch_loader = BatchLoader(
        dataset.select(range(64)), num_labels=81, image_size=96, image_mean=MEAN, image_std=STD, train=True
    )
    assert batch_loader.loading == "resident" and batch_loader.augmentation == ["random_crop", "horizontal_flip"]
    assert by_row(batches(batch_loader, 16)).shape == (64, 3, 96, 96)


def test_unreadable_images_are_named():
    images = [encoded(image) for image in SMALL[:12]]
    images[4], images[9] = b"no image", images[9][:60]
    dataset = image_dataset(images, [0] * 12, file_name=[f"photo_{row}.png" for row in range(12)])
    with pytest.raises(ValueError) as caught:
        make_loader(dataset)
    message = str(caught.value)
    assert "2 images" in message and "row 4 (photo_4.png): UnidentifiedImageError" in message
    assert "row 9 (photo_9.png)" in message


@pytest.mark.parametrize("workers", [0, 1])
def test_unreadable_images_of_workers_are_named(workers):
    images = [encoded(image) for image in LARGE]
    images[7] = images[7][: len(images[7]) // 2]  # its header is fine
    batch_loader = make_loader(image_dataset(images), num_labels=None)
    with pytest.raises(ValueError, match="row 7: OSError"):
        batches(batch_loader, num_workers=workers)
    images[2] = b"not even a header"
    with pytest.raises(ValueError, match="row 2: UnidentifiedImageError"):
        make_loader(image_dataset(images), num_labels=None)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 3, 2, 5], "label of row 2 is 3, outside the classes 0..2 \\(2 such rows\\)"),
        ([0, 1, 2, -1, 0], "label of row 3 is -1"),
        ([0, None, 2, 1, 0], "row 1 has no label"),
    ],
)
def test_wrong_labels(labels, message):
    with pytest.raises(ValueError, match=message):
        make_loader(image_dataset(SMALL[:5], labels))


def test_labels_of_other_types():
    strings = SMALL_DATASET.select(range(3)).cast_column("label", Value("string"))
    with pytest.raises(ValueError, match="class_encode_column"):
        make_loader(strings)
    named = SMALL_DATASET.cast_column("label", ClassLabel(names=["a", "b", "c"]))
    assert make_loader(named).labels.tolist() == LABELS
    with pytest.raises(ValueError, match="label of row 1 is 0.5"):
        make_loader({"image": SMALL[:2], "label": [0.0, 0.5]})


def test_wrong_columns_and_datasets():
    with pytest.raises(ValueError, match="no image column 'img' in the dataset; its columns are 'image', 'label'"):
        make_loader(image_column="img")
    with pytest.raises(ValueError, match="no image column 'image' in the dataset; its columns are 'picture', 'label'"):
        make_loader([{"picture": SMALL[0], "label": 0}])
    with pytest.raises(TypeError, match=r"one split.*train, test.*DatasetDict.*dataset\['train'\]"):
        make_loader(DatasetDict(train=SMALL_DATASET, test=SMALL_DATASET))
    with pytest.raises(TypeError, match="without streaming"):
        make_loader(SMALL_DATASET.to_iterable_dataset())
    with pytest.raises(ValueError, match="empty"):
        make_loader(SMALL_DATASET.select([]))
    with pytest.raises(ValueError, match="different lengths"):
        make_loader({"image": SMALL, "label": [0]})
    with pytest.raises(ValueError, match="must be uint8"):
        make_loader({"image": SMALL.astype(np.float32), "label": LABELS})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"augmentation": ["random_corp"]}, "Did you mean 'random_crop'"),
        ({"augmentation_options": {"random_crop": {"pading": 2}}}, "Did you mean 'padding'"),
        ({"augmentation_options": {"cutout": {"size": 2}}}, "options for 'cutout'"),
        ({"loading": "residnt"}, "Unknown loading: 'residnt'. Did you mean 'resident'"),
        ({"image_mean": (0.5,)}, "one value per channel \\(3\\)"),
        ({"image_std": (0.5, 0.0, 0.5)}, "std positive"),
        ({"views": ()}, "between 1 and 256 views"),
        ({"mixup_alpha": -1.0}, "mixup_alpha"),
        ({"loading": "workers", "augmentation": ["horizontal_flip", "random_resized_crop"]}, "must come first"),
        ({"loading": "workers", "augmentation": ["random_window", "random_resized_crop"]}, "only crop of its kind"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        make_loader(**options)


def test_options_for_training_are_ignored_in_evaluation():
    batch_loader = make_loader(train=False, augmentation=["cutout"], augmentation_options={"cutout": {"size": 2}})
    assert batch_loader.augmentation == []
    batch_loader = make_loader(train=False, views=("train", "weak"), view_augmentations={"weak": ["random_crop"]})
    batch = batch_loader.prepare(next(iter(batch_loader.loader(SequentialShards(37, 10)))))
    assert torch.equal(batch["extra_views"][0], batch["pixel_values"])


@pytest.mark.parametrize("workers", [0, 1])
def test_random_window_of_large_images_follows_each_images_own_size(workers):
    """Resize the shorter side, then a random window: every image as torchvision would make it alone."""
    from torchvision.transforms.v2 import functional

    batch_loader = make_loader(LARGE_DATASET, augmentation="random_window, horizontal_flip", interpolation="bilinear")
    assert batch_loader.loading == "workers"
    found = batches(batch_loader, 4, num_workers=workers)
    keys, values = torch.cat([b["keys"] for b in found]), torch.cat([b["pixel_values"] for b in found])
    draws = batch_loader.views[0].uniforms("pixel", keys, batch_loader.seed)
    for key, window, flip, value in zip(keys, draws["random_window"], draws["horizontal_flip"], values, strict=True):
        image = torch.from_numpy(LARGE[int(key) & 0xFFFFFFFF]).permute(2, 0, 1)
        resized = functional.resize(image, [37], antialias=True)  # 32 / 0.875
        top, left = (int(draw * (side - 31)) for draw, side in zip(window.tolist(), resized.shape[1:], strict=True))
        expected = functional.crop(resized, top, left, 32, 32)
        expected = expected.flip(2) if flip < 0.5 else expected
        torch.testing.assert_close(value, normalised(expected), atol=1e-5, rtol=0)


def test_random_window_resident_is_cut_from_the_kept_square():
    batch_loader = make_loader(LARGE_DATASET, augmentation=["random_window"], loading="resident")
    assert batch_loader.images.shape[2:] == (37, 37)
    first, second = by_row(batches(batch_loader)), by_row(batches(batch_loader, epoch=1))
    assert first.shape == (9, 3, 32, 32) and not torch.equal(first, second)
    stored = normalised(batch_loader.images.numpy())
    windows = stored[0].unfold(1, 32, 1).unfold(2, 32, 1).permute(1, 2, 0, 3, 4).reshape(36, -1)
    assert ((windows - first[0].reshape(1, -1)).abs().amax(dim=1) < 1e-5).sum() == 1
