"""The model card: what a run knows about itself, and nothing else."""

from __future__ import annotations

import re
import string
from importlib import resources
from pathlib import Path

from ..files import write_text
from ..markup import markdown
from ..redaction import without_secrets
from . import sections
from .facts import CardFacts
from .metadata import metadata

# In every card of this package: one that somebody wrote, or took this line out of, is theirs and is kept.
MARKER = "<!-- Written by hf_ltr with the model, and again when it is saved; without this line the card is kept. -->"


def model_card(facts: CardFacts) -> str:
    """
    Render the card: YAML metadata with a model index of the results per group, then prose and tables.

    Args:
        facts ([`CardFacts`])

    Returns:
        `str`: Markdown, ready for README.md.

    Raises:
        `ValueError`: for a metric that is not finite, by its name.
    """
    template = resources.files(__package__).joinpath("card_template.md").read_text(encoding="utf-8")
    facts = facts.published()
    text = string.Template(template).substitute(
        metadata=metadata(facts).to_yaml().strip(),
        marker=MARKER,
        title=markdown(facts.model_name),
        summary=sections.summary(facts),
        usage=sections.usage(facts),
        method=sections.method(facts),
        data=sections.data(facts),
        results=sections.results(facts),
        paper_results=sections.paper_results(facts),
        figures=sections.figures(facts),
        training=sections.training(facts),
        environment=sections.environment(facts),
        limitations=sections.limitations(facts),
        citation=sections.citation(facts),
    )
    # Sections without facts leave empty lines behind.
    return without_secrets(re.sub(r"\n{3,}", "\n\n", text).strip() + "\n")


def write_model_card(folder: str | Path, facts: CardFacts) -> Path:
    """Write the card to `folder/README.md` and return its path."""
    return write_text(Path(folder) / "README.md", model_card(facts))


def has_own_card(folder: str | Path) -> bool:
    """Whether somebody else's card is in `folder`, which saving a model must not write over."""
    try:
        return MARKER not in (Path(folder) / "README.md").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
