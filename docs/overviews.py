"""What is shown of all methods and runs at once: the tables of README, of a recipe's page, and the index of pages."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_ltr.methods import METHODS

from .facts import stage_names
from .markdown import table, title
from .measured import MEASURED_COLUMNS, Result, measured_table
from .recipe_configs import RecipeConfig, config_to_show

# Whose rows the README shows; the others are on the pages.
README_PROTOCOL = "cifar100_lt_40ep"


def methods_table(repository: Path, configs: list[RecipeConfig]) -> str:
    """README's table of methods."""
    rows = []
    for name, method in METHODS.items():
        config = config_to_show(name, configs)
        link = f"[config]({config.path.relative_to(repository).as_posix()})" if config else ""
        paper = f"[{_short(method.paper)}]({method.paper['url']})" if method.paper else ""
        stages = str(len(stage_names(name)))
        rows.append([f"[`{name}`](recipes/{name}.md)", method.summary, paper, stages, link])
    return table(["name", "what it does", "paper", "stages", "settings"], rows)


def measured_rows(results: list[Result]) -> str:
    """README's measured rows: those of its protocol, best first."""
    rows = [row[1:] for name in METHODS for row in measured_table(results, name) if README_PROTOCOL in row[0]]
    if not rows:
        return "Nothing was measured yet."
    return table(MEASURED_COLUMNS[1:], sorted(rows, key=lambda row: -float(row[1].split()[0])))


def recipe_results(repository: Path, tables: Sequence[str]) -> str:
    """What the tables of some protocols say, from the pages in model_cards; "not run" where there is none."""
    parts = []
    for name in tables:
        page = repository / "model_cards" / name / "README.md"
        if not page.is_file():
            parts.append(f"### {name}\n\nnot run")
            continue
        # The heading and the tables; figure, settings and versions stay on their own page.
        heading, _, body = page.read_text(encoding="utf-8").partition("\n")
        tables_alone = re.split(r"\n(?=!\[|## )", body, maxsplit=1)[0].strip()
        link = f"Figures, settings, commands and versions: [model_cards/{name}](../model_cards/{name}/README.md)."
        parts.append(f"##{heading}\n\n{tables_alone}\n\n{link}")
    return "\n\n".join(parts)


def methods_index() -> str:
    """Every method's page, in the order of the registry."""
    return "\n".join(f"- [`{name}`](../recipes/{name}.md): {method.summary}" for name, method in METHODS.items())


def runs_index(repository: Path) -> str:
    """Every card of a run or table that was really made."""
    folder = repository / "model_cards"
    pages = sorted(folder.glob("*.md")) + sorted(folder.glob("*/README.md"))
    if not pages:
        return "Nothing was measured yet."
    names = [page.relative_to(folder).as_posix().removesuffix("/README.md") for page in pages]
    return "\n".join(
        f"- [{name}](../{page.relative_to(repository).as_posix()}): {title(page)}"
        for name, page in zip(names, pages, strict=True)
    )


def _short(paper: Mapping[str, Any]) -> str:
    """`Cao et al. 2019`."""
    last = [author.split()[-1] for author in paper["authors"].split(", ")]
    return f"{' and '.join(last) if len(last) < 3 else f'{last[0]} et al.'} {paper['year']}"
