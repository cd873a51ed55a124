"""The pages of the methods are generated, complete and up to date."""

from __future__ import annotations

import re
import shutil

import pytest

from docs import method_pages
from docs.docstrings import undocumented
from docs.markdown import with_blocks
from docs.page import method_page
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
    assert bool(method.paper) is not bool(method.without_paper)
    if not method.paper:
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


def test_relative_links_and_configs_of_commands_exist(generated, repository):
    for path, text in generated.items():
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            if not target.startswith("http"):
                assert (path.parent / target).exists(), f"{path.name} links to {target}"
        for target in re.findall(r"(?<![\w./])recipes/\S+\.(?:yaml|py)", text):
            assert (repository / target.strip("`()")).exists(), f"{path.name} names {target}"


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
    shutil.copytree(repository / "docs" / "searches", copy / "docs" / "searches")
    for name in ("README.md", "docs/README.md"):
        shutil.copy(repository / name, copy / name)
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


def test_a_readme_without_markers_and_a_folder_that_is_no_checkout_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="recipes/configs"):
        method_pages.find_repository(tmp_path)
    (tmp_path / "README.md").write_text("# no table\n", encoding="utf-8")
    with pytest.raises(ValueError, match="README.md.*end of methods"):
        with_blocks(tmp_path / "README.md", {"methods": "a table"})


def test_a_method_without_configs_and_results_says_so(tmp_path):
    page = method_page("mem", tmp_path, [], [])
    assert page.endswith("## Ours\n\nnot run\n") and "## Remarks" not in page


def test_the_index_leads_to_every_page(repository):
    index = (repository / "docs" / "README.md").read_text(encoding="utf-8")
    linked = {(repository / "docs" / target).resolve() for target in re.findall(r"\]\(([^)#]+)\)", index)}
    for place in ("*.md", "recipes/*.md", "recipes/*.py", "model_cards/*.md", "model_cards/*/README.md"):
        for page in repository.glob(place):
            assert page.resolve() in linked, f"docs/README.md does not link {page.relative_to(repository)}"
    assert "(docs/README.md)" in (repository / "README.md").read_text(encoding="utf-8")
