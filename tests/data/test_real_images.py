"""Loading the real images of ../shared/data; skipped where they are not."""

import pytest

from hf_ltr import class_counts, load_long_tailed
from hf_ltr.data import long_tail_info

pytestmark = pytest.mark.usefixtures("datasets_cache")


def files(split):
    return split["file_name"][:]


def test_cifar100_by_rank_is_the_documented_subset(shared_data):
    data = load_long_tailed("cifar100", imbalance_factor=100, order_column="rank", data_dir=shared_data / "cifar100")
    counts = class_counts(data["train"])
    assert counts.total == 10847 and counts.counts[0] == 500 and counts.counts[-1] == 5
    assert {name: len(classes) for name, classes in counts.groups.items()} == {"many": 35, "medium": 35, "few": 30}
    assert class_counts(data["test"]).counts == [100] * 100
    assert counts.names[:3] == ["apple", "aquarium_fish", "baby"] and counts.names[-1] == "worm"
    # The rule of the data's README, row by row.
    ranks, labels = data["train"]["rank"][:], data["train"]["label"][:]
    assert all(rank < int(500 * 100 ** (-label / 99)) for rank, label in zip(ranks, labels, strict=True))
    # The published order of the file.
    assert list(zip(ranks, labels, strict=True)) == sorted(zip(ranks, labels, strict=True))
    # Recorded once, so that the rows of published runs cannot change unnoticed.
    row_hash = "7b843c91f1fbac09d57ac4bdd8a0ace9f971d44d9131836432b140027fa0f00c"
    assert long_tail_info(data["train"])["row_hash"] == row_hash
    assert data["train"][0]["image"].size == (32, 32) and data["train"][0]["image"].mode == "RGB"


@pytest.mark.parametrize("factor", [10, 50, 100])
def test_order_column_gives_the_same_rows_from_both_folders(shared_data, factor):
    options = {"imbalance_factor": factor, "order_column": "rank"}
    whole = load_long_tailed("cifar100", data_dir=shared_data / "cifar100", **options)
    cut = load_long_tailed("cifar100", data_dir=shared_data / "cifar100_if10", **options)
    assert files(whole["train"]) == files(cut["train"])
    assert long_tail_info(whole["train"])["row_hash"] == long_tail_info(cut["train"])["row_hash"]
    # The test files are those of the folder beside it.
    assert files(cut["test"]) == files(whole["test"])


def test_pair_of_folders_joined_by_links(shared_data, tmp_path):
    (tmp_path / "train.parquet").symlink_to(shared_data / "cifar100_if10" / "train-00000-of-00001.parquet")
    (tmp_path / "test.parquet").symlink_to(shared_data / "cifar100" / "test-00000-of-00001.parquet")
    data = load_long_tailed("cifar100", data_dir=tmp_path)
    assert class_counts(data["train"]).total == 19573 and class_counts(data["test"]).total == 10000


@pytest.mark.parametrize("order_column", [None, "rank"])
def test_validation_of_ten_per_class(shared_data, order_column):
    data = load_long_tailed(
        "cifar100",
        imbalance_factor=100,
        validation_per_class=10,
        data_dir=shared_data / "cifar100",
        order_column=order_column,
    )
    assert class_counts(data["train"]).total == 10626 and class_counts(data["train"]).counts[0] == 490
    assert class_counts(data["validation"]).counts == [10] * 100
    assert not set(files(data["train"])) & set(files(data["validation"]))


def test_seeded_subset(shared_data):
    folder = shared_data / "cifar100"
    data = load_long_tailed("cifar100", imbalance_factor=100, data_dir=folder)["train"]
    assert class_counts(data).total == 10847
    assert files(load_long_tailed("cifar100", imbalance_factor=100, data_dir=folder)["train"]) == files(data)
    assert files(load_long_tailed("cifar100", imbalance_factor=100, data_dir=folder, seed=1)["train"]) != files(data)


def test_grocery_at_its_native_distribution(shared_data):
    data = load_long_tailed(shared_data / "grocery96", label_column="coarse_label")
    counts = class_counts(data["train"])
    assert (len(counts), counts.total, max(counts), min(counts)) == (43, 2640, 278, 16)
    assert {split: len(part) for split, part in data.items()} == {"train": 2640, "validation": 296, "test": 2485}
    assert sum(count == 0 for count in class_counts(data["validation"])) == 6
    assert data["train"][0]["image"].size == (96, 96)
    assert len(class_counts(load_long_tailed(shared_data / "grocery96")["train"])) == 81


def test_the_wrong_folder_for_a_benchmark(shared_data):
    with pytest.raises(ValueError, match="cifar10 has 10 classes, but column 'label' of .*cifar100 has 100"):
        load_long_tailed("cifar10", data_dir=shared_data / "cifar100")
