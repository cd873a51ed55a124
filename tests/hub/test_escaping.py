"""Names from other people are read as they stand: no markup, no YAML, no formula, no second line."""

from __future__ import annotations

import re

import pytest
import yaml
from huggingface_hub import ModelCard

from hf_ltr.hub import CardFacts, model_card, write_model_card
from hf_ltr.markup import figure_text, one_line
from hf_ltr.reporting import plot_group_accuracy, plot_per_class_accuracy

NAMES = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "a | b || c",
    "two\nlines\r\n# heading",
    "\n---\nlicense: mit\n---\n",
    "```\nrm -rf /\n```",
    "`code` and ``more``",
    "**bold** __strong__ _x_ ~~gone~~",
    "[link](javascript:alert(1)) ![i](x)",
    "https://evil.example/x www.evil.example",
    "$x^2$ and $$y$$ \\(z\\)",
    "null",
    "yes",
    "- item",
    "{{ card_data }} {% for x in y %} $metadata ${title}",
    "key: value # comment",
    "!!python/object:os.system",
    "*alias &anchor",
    "0x10",
    "2024-01-01",
    "'quote\" \\",
    "bell\x07 nul\x00 esc\x1b[31m \u202ereversed\u2028line",
    "half \udcff of a character",
    "图像 données 🦀",
    "trailing \\",
    "&lt;b&gt; &amp;",
    "x" * 5000,
    " ",
    "#",
]


def facts_with(name: str) -> CardFacts:
    metrics = {"accuracy": 0.5, "many": 0.5, "few": 0.5}
    return CardFacts(
        model_name=name,
        model_id=name,
        method="mem",
        options={"note": name, name: 1},
        backbone=name,
        initial_weights={"name": name, "license": name},
        tags=[name],
        dataset=name,
        dataset_name=name,
        test_split=name,
        class_counts=[200, 50, 3],
        row_hash=name,
        metrics=metrics,
        comparisons={name: metrics},
        selection="the last epoch",
        arguments={"run_name": name},
        command=f"python x.py --name {name}",
        commit=name,
        hardware=name,
        figures={name: "figures/groups.png"},
    )


@pytest.mark.parametrize("name", NAMES, ids=[str(number) for number in range(len(NAMES))])
def test_a_card_holds_any_name(name, tmp_path):
    path = write_model_card(tmp_path, facts_with(name))
    text = path.read_text(encoding="utf-8")
    front = re.match(r"---\n(.*?)\n---\n", text, flags=re.S)
    metadata = yaml.safe_load(front.group(1))
    assert set(metadata) <= {
        *("license", "license_name", "library_name", "pipeline_tag", "tags", "metrics", "model-index"),
        *("base_model", "datasets"),
    }
    assert all(isinstance(tag, str) for tag in metadata["tags"])
    assert re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", metadata["license"])
    card = ModelCard.load(path)
    assert card.data.model_name == one_line(name) or not one_line(name)
    assert len(card.data.eval_results) == 3
    # The sections are those of the card, and no line of the name begins anything.
    prose = re.sub(r"^(`{3,}).*?^\1$", "", card.text, flags=re.S | re.M)
    headings = [line for line in prose.splitlines() if line.startswith("#")]
    assert headings[0].startswith("# ") and [line for line in headings if line.startswith("## ")] == [
        *("## How to use", "## Method", "## Training data", "## Results", "## Figures", "## Training"),
        *("## Environment", "## Limitations"),
    ]
    assert len([line for line in prose.splitlines() if line.startswith("|")]) == 4
    assert not [line for line in prose.splitlines() if line.startswith("|") and _cells(line) != 5]
    bare = re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)", "", prose)  # without code
    assert not re.search(r"(?<!\\)<(?!!--)|(?<!\\)://|(?<!\\)\]\((?!figures)", bare)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\u202e\u2028]", text)
    assert max(len(line) for line in prose.splitlines()) < 2500


def _cells(line: str) -> int:
    return len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) - 1


def test_figures_draw_any_name(tmp_path, recwarn):
    pytest.importorskip("matplotlib")
    rows = {name: {"accuracy": 0.5, "many": 0.25} for name in [*NAMES, "$a_b$", "$\\frac{$", "_hidden"]}
    plot_group_accuracy(tmp_path / "groups.png", rows)
    plot_per_class_accuracy(tmp_path / "classes.png", [5, 3], {name: [0.5, 0.1] for name in list(rows)[-8:]})
    assert (tmp_path / "groups.png").stat().st_size > 1000
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]
    assert figure_text("$x$") == r"\$x\$" and figure_text("_x") == " _x" and len(figure_text("x" * 500)) == 60


def test_a_card_of_nothing_but_a_name():
    for name in NAMES:
        ModelCard(model_card(CardFacts(model_name=name)))


def test_adjusted_checkpoints_and_tables(tmp_path):
    from hf_ltr.adjustment.report import AdjustmentReport

    for name in NAMES:
        report = AdjustmentReport("tau_norm", name, str(tmp_path), {"tau": 0.5, "class_counts": [3, 2]}, dataset=name)
        report.write()
        card = ModelCard.load(tmp_path / "README.md")
        assert card.data.pipeline_tag == "image-classification"
        assert len([line for line in card.text.splitlines() if line.startswith("#")]) == 2
        assert "<script" not in re.sub(r"`[^`]*`", "", card.text).replace("\\<", "")


def test_class_names_in_the_card_of_a_dataset():
    import datasets

    from hf_ltr.data import dataset_card

    names = [f"{number} {name}" for number, name in enumerate(NAMES)]
    features = datasets.Features(
        {"label": datasets.ClassLabel(names=[name.encode("utf-8", "replace").decode() for name in names])}
    )
    split = datasets.Dataset.from_dict({"label": list(range(len(names)))}, features=features)
    text = dataset_card(datasets.DatasetDict({"train": split}))
    yaml.safe_load(text.split("---")[1])
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == len(names) + 2 and all(_cells(line) == 2 for line in rows)
    assert "<script" not in text.replace("\\<", "")
