"""
One page per method, the tables of README and of the recipes' pages, and the index of all pages, generated from what
the methods say about themselves.

    python -m docs.method_pages           # write what is stale
    python -m docs.method_pages --check   # fail if one of them is not what would be written

Sources: the class (`summary`, `when_to_use`, `paper`, docstring, options), the configs under recipes/configs, the
published results that ship with the package, finished tables under model_cards, and remarks written by hand in
recipes/notes/<method>.md, which are taken over as they are. README, docs/README.md and the page of a recipe of several
stages are written by hand, but for the blocks between their markers.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from hf_ltr.methods import METHODS

from .markdown import with_blocks
from .measured import read_results
from .overviews import measured_rows, methods_index, methods_table, recipe_results, runs_index
from .page import method_page
from .recipe_configs import read_configs
from .search import read_search, search_tables

# Protocols whose tables are shown on the page of a recipe, where they were made.
RECIPE_TABLES = {"mem_vit": ("digits_lt_mae", "cifar100_lt_mae", "grocery96_mae")}


def files(repository: Path) -> dict[Path, str]:
    """Every generated file and its content: the pages of methods, and the pages with generated blocks."""
    configs, results = read_configs(repository), read_results(repository)
    blocks = {
        repository / "README.md": {
            "methods": methods_table(repository, configs),
            "measured": measured_rows(results),
        },
        repository / "docs" / "README.md": {"methods": methods_index(), "runs": runs_index(repository)},
    }
    for recipe, tables in RECIPE_TABLES.items():
        blocks[repository / "recipes" / f"{recipe}.md"] = {
            "search": search_tables(repository, read_search(repository, recipe)),
            "measured": recipe_results(repository, tables),
        }
    pages = {
        repository / "recipes" / f"{name}.md": method_page(name, repository, configs, results) for name in METHODS
    }
    return pages | {page: with_blocks(page, content) for page, content in blocks.items()}


def find_repository(repository: str | Path | None = None) -> Path:
    """The checkout: the one given, or the one this file lies in."""
    found = Path(__file__).resolve().parents[1] if repository is None else Path(repository)
    if not (found / "recipes" / "configs").is_dir():
        raise FileNotFoundError(f"{found} is no checkout with recipes/configs; name one with --repository")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Write the files, or with `--check` say which are stale; 1 if any is."""
    parser = argparse.ArgumentParser(prog="python -m docs.method_pages", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if a file is stale")
    parser.add_argument("--repository", help="the checkout, if it is another one than this file's")
    given = parser.parse_args(argv)
    stale = [
        (path, text)
        for path, text in files(find_repository(given.repository)).items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    for path, text in stale:
        if not given.check:
            path.write_text(text, encoding="utf-8")
        print(f"{'stale' if given.check else 'wrote'} {path}")
    return int(given.check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
