"""Tables measured on validation images: for choosing settings, with the weights kept for the table on test images."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hf_ltr import load_long_tailed
from hf_ltr.cli.main import main
from hf_ltr.data.labels import column_labels
from hf_ltr.evaluation import long_tail_metrics
from hf_ltr.table import Table, TableReport, load_protocol
from hf_ltr.table.results import TestSet, decode_classes

from .conftest import quiet, result

ROWS = ["cross_entropy", "crt", "tau_norm", "cross_entropy+logit_adjustment:tau=0.5"]


def table(protocol, folder, split="validation", rows=ROWS, **options):
    return Table(protocol, rows, [0], folder, split=split, log=lambda text: None, **options)


@pytest.fixture(scope="module")
def folders(protocol_file, tmp_path_factory):
    """Folders of the table on validation images, and of the weights."""
    root = tmp_path_factory.mktemp("search")
    table(load_protocol(protocol_file), root / "validation", weights_dir=root / "weights").run()
    return root / "validation", root / "weights"


def test_the_images_are_those_of_validation(folders):
    folder = folders[0]
    images = load_long_tailed("digits", imbalance_factor=50)["validation"]
    test = TestSet.read(folder)
    assert (test.split, len(test.labels)) == ("validation", len(images) == 100 and 100)
    for name in ("cross_entropy", "crt"):
        content = result(folder, name)
        assert content["settings"]["split"] == "validation"
        metrics = long_tail_metrics(decode_classes(content["predictions"]), column_labels(images), test.class_counts)
        assert content["metrics"]["accuracy"] == pytest.approx(metrics["accuracy"], abs=1e-12)


def test_the_report_says_that_it_is_for_choosing(folders, protocol_file):
    report = TableReport(load_protocol(protocol_file), ROWS, [0], folders[0], split="validation", resamples=50)
    text = report.page()
    assert "measured on validation images" in text and "none of these numbers is a result" in text
    assert "published" not in text and "on the test images" not in text and "Validation images: 100" in text
    assert "Chose something on the same images that measure it here: tau_norm." in text


def test_the_table_on_test_images_trains_nothing_again(folders, protocol_file, tmp_path, trainings):
    protocol = load_protocol(protocol_file)
    table(protocol, tmp_path, "test", weights_dir=folders[1]).run()
    assert trainings == []
    content = result(tmp_path, "crt")
    assert "split" not in content["settings"] and content["predictions"]["images"] == 400
    assert (folders[1] / content["stages"][-1]["folder"] / "model.safetensors").is_file()
    assert "on the test images" in table(protocol, tmp_path, "test", ["crt"]).report(resamples=50).markdown()


def test_one_folder_is_not_both(folders, protocol_file):
    with pytest.raises(ValueError, match="measured on validation images, not on test images"):
        quiet(load_protocol(protocol_file), ["cross_entropy"], folders[0]).run()


def test_a_result_on_validation_images_is_none_on_test_images(folders, protocol_file):
    with pytest.raises(ValueError, match="other settings.*split"):
        TableReport(load_protocol(protocol_file), ["crt"], [0], folders[0], resamples=50).markdown()


def test_own_strength_of_the_adjustment(folders, protocol_file):
    content = json.loads(next((folders[0] / "results").glob("*tau=0.5*")).read_text())
    assert content["settings"]["post_hoc"] == {"logit_adjustment": {"tau": 0.5}}
    plain = result(folders[0], "cross_entropy")
    assert not np.array_equal(decode_classes(content["predictions"]), decode_classes(plain["predictions"]))


def test_without_validation_images_it_says_what_to_do(write_protocol, tmp_path):
    with pytest.raises(ValueError, match="validation_per_class"):
        data = {"dataset": str(_without_validation(tmp_path))}
        table(load_protocol(write_protocol(data=data)), tmp_path / "out", rows=["cross_entropy"]).check()


def test_an_unknown_split_is_named(protocol_file, tmp_path):
    with pytest.raises(ValueError, match="validation"):
        table(load_protocol(protocol_file), tmp_path, "valid")


def test_the_command_has_its_own_folder(protocol_file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main(["table", "--protocol", str(protocol_file), "--methods", "cross_entropy", "--split", "validation"])
    folder = tmp_path / "outputs" / "table" / "tiny-validation"
    assert (folder / "README.md").is_file() and not (folder / "published.csv").exists()
    assert TestSet.read(folder).split == "validation"
    assert "on the validation images" in capsys.readouterr().out


def _without_validation(folder):
    """A folder of images in two splits."""
    from PIL import Image

    for split in ("train", "test"):
        for label in ("a", "b"):
            place = folder / "images" / split / label
            place.mkdir(parents=True)
            for number in range(3):
                Image.new("L", (16, 16), number).save(place / f"{number}.png")
    return folder / "images"
