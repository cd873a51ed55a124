"""The code of README.md runs: with a small folder, a small network and few epochs in the place of the user's."""

from __future__ import annotations

import functools
import json
import re
import runpy
import shlex

import numpy as np
import pytest
from huggingface_hub import ModelCard
from PIL import Image

from hf_ltr.cli.main import main


def code_blocks(repository) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (repository / "README.md").read_text(encoding="utf-8"), flags=re.S)


@pytest.fixture
def images(tmp_path):
    generator = np.random.default_rng(0)
    folder = tmp_path / "images"
    for name, count, level in (("apple", 12, 60), ("pear", 6, 120), ("quince", 3, 180)):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = generator.integers(0, 60, (24, 20, 3)) + level
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{number}.png")
    return folder


def substitute(code: str, replacements: dict[str, str]) -> str:
    for old, new in replacements.items():
        assert old in code, f"README.md no longer contains {old!r}"
        code = code.replace(old, new)
    return code


def test_bring_your_own_images_then_the_pipeline(repository, images, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    own_data, as_checkpoint = code_blocks(repository)[:2]
    names: dict = {}
    code = substitute(
        own_data,
        {
            "path/to/images": str(images),
            'backbone="resnet50", backbone_pretrained=True': 'backbone="resnet20_cifar"',
            "num_train_epochs=30": "num_train_epochs=1, disable_tqdm=True",
        },
    )
    assert len([line for line in own_data.splitlines() if line.strip()]) <= 12, "no longer ten lines"
    exec(code, names)
    metrics = names["trainer"].evaluate(names["data"]["test"])
    assert {"eval_accuracy", "eval_balanced_accuracy", "eval_few"} <= set(metrics)
    assert names["counts"].names == ["apple", "pear", "quince"]
    config = json.loads((tmp_path / "runs/mine/config.json").read_text())
    assert config["method"] == {"name": "balanced_softmax", "options": {}} and config["class_counts"]
    card = ModelCard.load(tmp_path / "runs/mine/README.md")
    assert card.data.model_name == "balanced_softmax on images"
    assert {result.dataset_split for result in card.data.eval_results} == {"test"}
    assert str(tmp_path) not in card.content and "Hash of the training rows" in card.text
    Image.new("RGB", (30, 30)).save("photo.jpg")
    scope: dict = {}
    exec(as_checkpoint.replace('pipeline("image', 'answer = pipeline("image'), scope)
    assert {entry["label"] for entry in scope["answer"]} == {"apple", "pear", "quince"}


def test_both_commands_are_shown_and_exist(repository):
    readme, makefile = (repository / "README.md").read_text(), (repository / "Makefile").read_text()
    for command in ("quickstart", "test"):
        assert f"make {command}" in readme
        assert re.search(rf"^{command}:", makefile, flags=re.M)
    assert "make test" in (repository / ".ci" / "run").read_text()


def commands(repository) -> list[list[str]]:
    """Every command of the package that README, pages or a script's own help shows: program, then words."""
    texts = [repository / "README.md", *sorted((repository / "recipes").glob("*.md"))]
    texts += sorted((repository / "recipes").glob("*.py"))
    found = []
    for path in texts:
        text = re.sub(r"\\\\?\n\s*", " ", path.read_text(encoding="utf-8"))
        for line in re.findall(r"^ *((?:accelerate launch recipes/|hf-ltr )[^\n]*)", text, flags=re.M):
            found.append(shlex.split(line.replace("hf-ltr", "hf_ltr", 1), comments=True))
    return found


def test_commands_that_are_shown_are_understood(repository, monkeypatch, capsys):
    """Each is resolved as far as `--print_config`, which touches nothing."""
    monkeypatch.chdir(repository)
    monkeypatch.setattr("hf_ltr.recipe.training.check_paths", lambda argv: None)
    shown = commands(repository)
    assert len(shown) > 30 and {"train", "adjust", "table"} <= {words[1] for words in shown if words[0] == "hf_ltr"}
    for words in shown:
        if words[0] == "hf_ltr":
            run = functools.partial(main, words[1:])
        else:
            script = runpy.run_path(words[2])["main"]
            run = functools.partial(script, words[3:])
        run.args[0].append("--print_config")
        with pytest.raises(SystemExit) as stop:
            assert run() == 0, (words, capsys.readouterr().err)
        assert stop.value.code == 0, words
        assert capsys.readouterr().out.startswith("# Options of hf_ltr"), words
