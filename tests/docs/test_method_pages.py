"""The pages of the methods are generated, complete and up to date."""

from __future__ import annotations

import json
import math
import re
import shutil

import pytest

from docs import method_pages
from docs.docstrings import read_docstring, undocumented
from docs.page_facts import class_facts
from docs.page_numbers import MEASURED_COLUMNS, PUBLISHED_COLUMNS, measured_table, published_table
from hf_ltr import METHODS
from hf_ltr.table import published_results

NAMES = sorted(METHODS)


@pytest.fixture(scope="module")
def generated(repository):
    return method_pages.files(repository)


def test_committed_pages_are_those_that_would_be_written(generated):
    stale = [path.name for path, text in generated.items() if path.read_text(encoding="utf-8") != text]
    assert stale == [], f"run `make pages`: {', '.join(stale)}"


@pytest.mark.parametrize("name", NAMES)
def test_a_method_says_what_it_is_for_and_where_it_comes_from(name):
    method = METHODS[name]
    for text in (method.summary, method.when_to_use):
        assert 40 <= len(text) <= 300 and text.endswith("."), f"{name}: {text!r}"
        assert not text.startswith(name)
    if name in method_pages.WITHOUT_PAPER:
        assert not method.paper and method_pages.WITHOUT_PAPER[name]
        return
    assert set(method.paper) >= {"title", "authors", "year", "url"}
    assert method.paper["url"].startswith("https://") and 2000 <= method.paper["year"] <= 2030


@pytest.mark.parametrize("name", NAMES)
def test_every_option_is_documented(name):
    assert undocumented(METHODS[name]) == []


def test_published_names_are_those_of_the_published_results():
    known = {row["method"] for row in published_results()}
    for name, method in METHODS.items():
        assert set(method.published_names) <= known, name


def test_pages_show_every_option_and_no_value_that_is_none(generated, repository):
    for name, method in METHODS.items():
        page = generated[repository / "recipes" / f"{name}.md"]
        table = page.partition("## Options")[2].partition("\n## ")[0]
        for option in method.option_names():
            assert re.search(rf"^\| `{option}` \| \S.* \| \S.* \|$", table, re.MULTILINE), f"{name}: {option}"
        assert not re.search(r"\bnan\b|\|\s*None\s*\||: None\b", page, re.IGNORECASE), name
        for part in ("**When to use it.**", "**Source.**", "## Run it", "## Good to know", "## Published", "## Ours"):
            assert page.count(part) == 1, f"{name}: {part}"


def test_relative_links_and_configs_of_commands_exist(generated):
    for path, text in generated.items():
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            if not target.startswith("http"):
                assert (path.parent / target).exists(), f"{path.name} links to {target}"
        root = path.parent if path.name == "README.md" else path.parent.parent
        for target in re.findall(r"recipes/\S+\.(?:yaml|py)", text):
            assert (root / target.strip("`()")).exists(), f"{path.name} names {target}"


def test_no_page_without_a_method_and_no_remarks_without_a_page(repository, generated):
    recipes = repository / "recipes"
    assert {path.stem for path in recipes.glob("*.md")} == {*METHODS, *method_pages.RECIPE_TABLES}
    for path in (recipes / "notes").iterdir():
        assert path.stem in METHODS, f"recipes/notes/{path.name} belongs to no method"
        assert path.read_text(encoding="utf-8").strip() in generated[recipes / f"{path.stem}.md"]


def test_write_then_check(tmp_path, repository, capsys):
    copy = tmp_path / "checkout"
    shutil.copytree(repository / "recipes", copy / "recipes", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(repository / "model_cards", copy / "model_cards")
    shutil.copy(repository / "README.md", copy)
    page, readme = copy / "recipes" / "crt.md", copy / "README.md"
    page.unlink()
    readme.write_text(readme.read_text(encoding="utf-8").replace("[`crt`]", "[`no`]"), encoding="utf-8")
    (copy / "recipes" / "notes" / "focal.md").write_text("A remark by hand.\n", encoding="utf-8")
    assert method_pages.main(["--check", "--repository", str(copy)]) == 1
    assert not page.exists() and "focal.md" in capsys.readouterr().out
    assert method_pages.main(["--repository", str(copy)]) == 0
    assert method_pages.main(["--check", "--repository", str(copy)]) == 0
    assert "A remark by hand." in (copy / "recipes" / "focal.md").read_text(encoding="utf-8")
    assert readme.read_text(encoding="utf-8") == (repository / "README.md").read_text(encoding="utf-8")


def test_a_readme_without_markers_and_a_folder_that_is_no_checkout_are_refused(tmp_path, repository, monkeypatch):
    with pytest.raises(FileNotFoundError, match="recipes/configs"):
        method_pages.find_repository(tmp_path)
    (tmp_path / "recipes" / "configs").mkdir(parents=True)
    (tmp_path / "README.md").write_text("# no table\n", encoding="utf-8")
    monkeypatch.setattr(method_pages, "method_page", lambda *arguments: "")
    with pytest.raises(ValueError, match="end of methods"):
        method_pages.files(tmp_path)


class Documented:
    """
    First line
    goes on, see [`~hf_ltr.models.CentroidHead`].

    Second paragraph with `code`.

    Args:
        class_counts ([`ClassCounts`] or sequence of `int`): Counts.
        width (`int`, *optional*, defaults to 3): A meaning that
            goes on (with brackets): and a colon.
        low, high (`tuple[int, int]` of shape `(2,)`): Two at once.

    Raises:
        `ValueError`: for nothing.
    """

    def __init__(self, class_counts, width=3, low=0, high=1):
        pass


class Referring(Documented):
    """
    Args:
        width (`int`): See [`Documented`].
        gone (`int`): Not an option.
    """

    def __init__(self, width=3, new=1):
        pass


def test_docstrings_are_read():
    found = read_docstring(Documented)
    assert found.paragraphs == ["First line goes on, see `CentroidHead`.", "Second paragraph with `code`."]
    assert found.arguments == {
        "class_counts": "Counts.",
        "width": "A meaning that goes on (with brackets): and a colon.",
        "low": "Two at once.",
        "high": "Two at once.",
    }
    assert read_docstring(Referring, [Documented]).arguments["width"] == found.arguments["width"]
    assert undocumented(Documented) == []
    assert undocumented(Referring) == ["new", "-gone"]

    class Broken:
        """
        Args:
            width: no type.
        """

    with pytest.raises(ValueError, match="Broken.*width"):
        read_docstring(Broken)


def _row(**changes):
    row = {
        "method": "ce",
        "combined_with": "",
        "dataset": "cifar100_lt",
        "imbalance_factor": 100,
        "backbone": "resnet32",
        "epochs": 200,
        "augmentation": "basic",
        "init": "scratch",
        "top1_all": 38.32,
        "many": None,
        "medium": None,
        "few": None,
        "source": "a",
        "copied_from_other_paper": "no",
        "confidence": "readme",
        "test_shift": "uniform",
        "variant": "",
        "doubtful": False,
    }
    return {**row, **changes}


def test_published_numbers_are_comparable_and_not_repeated():
    rows = [
        _row(),
        _row(source="b", copied_from_other_paper="yes"),
        _row(top1_all=41.4, source="c", copied_from_other_paper="yes", epochs=None, augmentation="unknown"),
        _row(top1_all=1.0, doubtful=True),
        _row(top1_all=2.0, confidence="memory"),
        _row(top1_all=3.0, test_shift="forward"),
        _row(top1_all=4.0, imbalance_factor=50),
        _row(top1_all=5.0, combined_with="pc"),
        _row(top1_all=6.0, dataset="cifar10_lt"),
        _row(top1_all=7.0, method="bsce"),
        _row(top1_all=8.0, backbone="resnet34"),
        _row(top1_all=None),
        _row(dataset="imagenet_lt", imbalance_factor=256, backbone="vit_b", init="mae_own", few=10.0, variant="e2e"),
    ]
    cells = [dict(zip(PUBLISHED_COLUMNS, row, strict=True)) for row in published_table(rows, ("ce",))]
    assert [row["all"] for row in cells] == ["38.32", "41.4", "38.32"]
    assert [row["source"] for row in cells] == ["a", "c (copied there)", "a"]
    assert (cells[1]["epochs"], cells[1]["augmentation"]) == ("not stated", "not stated")
    assert (cells[2]["network"], cells[2]["few"], cells[2]["what"]) == ("ViT-B, own MAE pretraining", "10.0", "")
    only = [_row(backbone="resnet34", method="weight_balancing")]
    assert len(published_table(only, ("weight_balancing",))) == 1
    las = [
        _row(method="las", variant="used as single-stage loss"),
        _row(method="las", variant="decoupled", source="d"),
    ]
    assert published_table(las, ("las",), "las_stage2")[0][-1] == "d"
    assert published_table(las, ("las",), "label_aware_smoothing")[0][-1] == "a"
    assert published_table(rows, ()) == []


def _write_result(folder, seed, accuracy, row="crt", name="crt", **metrics):
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "row": row,
        "seed": seed,
        "settings": {"protocol": "p"},
        "description": {"name": name, "options": {}},
        "metrics": {"accuracy": accuracy, **metrics},
    }
    (folder / f"{row}_seed{seed}.json").write_text(json.dumps(content), encoding="utf-8")


def test_measured_numbers_are_means_over_seeds(tmp_path):
    folder = tmp_path / "model_cards" / "table" / "results"
    _write_result(folder, 0, 0.40, few=0.1)
    _write_result(folder, 1, 0.42, few=0.2)
    _write_result(folder, 0, 0.5, row="crt:norm=eval")
    _write_result(folder, 0, 0.9, row="focal", name="focal")
    cells = [dict(zip(MEASURED_COLUMNS, row, strict=True)) for row in measured_table(tmp_path, "crt")]
    assert [row["what"] for row in cells] == ["`crt`", "`crt:norm=eval`"]
    assert cells[0]["all"] == f"41.0 ± {math.sqrt(2):.1f}" and cells[0]["many"] == ""
    assert (cells[0]["seeds"], cells[1]["all"], cells[1]["seeds"]) == ("2", "50.0", "1")
    assert measured_table(tmp_path, "lws") == []
    _write_result(folder, 2, float("nan"))
    with pytest.raises(ValueError, match="crt_seed2.json"):
        measured_table(tmp_path, "crt")


def test_a_method_without_results_says_so(tmp_path, repository):
    (tmp_path / "recipes").mkdir()
    shutil.copytree(repository / "recipes" / "configs", tmp_path / "recipes" / "configs")
    page = method_pages.method_page("mem", tmp_path)
    assert page.endswith("## Ours\n\nnot run\n") and "## Remarks" not in page


def test_facts_are_asked_of_the_method():
    names = ("crt", "ldam", "pc_softmax", "mem", "balanced_softmax", "lade", "cdb", "ncm")
    facts = {name: " ".join(class_facts(name)) for name in names}
    assert "whole batch" in facts["lade"] and "whole batch" not in facts["balanced_softmax"]
    assert "validation images" in facts["cdb"] and "validation images" not in facts["crt"]
    assert "`classifier` (nothing is trained)" in facts["ncm"] and "FSDP" in facts["ncm"]
    assert "2 stages: `representation` (`cross_entropy`), then `classifier`" in facts["crt"]
    assert "head `cosine` of scale 30" in facts["ldam"] and "Hard labels only" in facts["ldam"]
    assert "in the model's config" in facts["pc_softmax"] and "possible" in facts["pc_softmax"]
    assert "3 stages" in facts["mem"]
    assert "corrects twice" in facts["balanced_softmax"] and "at least one training image" in facts["balanced_softmax"]
    assert "at least one training image" not in facts["crt"] and "corrects twice" not in facts["crt"]
