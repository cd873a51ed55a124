"""The code of a model beside its checkpoint, where this package is not installed."""

import json
import os
import subprocess
import sys
import types

import pytest
import torch

from hf_ltr.models import LongTailConfig, LongTailForImageClassification, LongTailImageProcessor, MaskedAutoencoder
from hf_ltr.models.checkpoints.code_files import write_code

READER = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "hf_ltr":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())

import torch
from transformers import AutoImageProcessor, AutoModelForImageClassification

folder = sys.argv[1]
model = AutoModelForImageClassification.from_pretrained(folder, trust_remote_code=True)
images, logits = torch.load(f"{folder}/expected.pt")
with torch.no_grad():
    assert torch.equal(model(images).logits, logits)
processor = AutoImageProcessor.from_pretrained(folder, trust_remote_code=True)
assert type(processor).__name__ == "LongTailImageProcessor" and processor.num_channels == 1
# What was read so is saved with its code again.
model.save_pretrained(f"{folder}/again")
assert not [name for name in sys.modules if name.startswith("hf_ltr")]
"""


@pytest.fixture
def registered(monkeypatch):
    """As after `register_for_auto_class`."""
    monkeypatch.setattr(LongTailConfig, "_auto_class", "AutoConfig")
    monkeypatch.setattr(LongTailForImageClassification, "_auto_class", "AutoModelForImageClassification")
    monkeypatch.setattr(LongTailImageProcessor, "_auto_class", "AutoImageProcessor")


def make_model() -> LongTailForImageClassification:
    torch.manual_seed(0)
    config = LongTailConfig(
        backbone="vit_pico_patch4_16",
        num_channels=1,
        backbone_kwargs={"depth": 1, "embed_dim": 16, "num_heads": 2},
        class_counts=[300, 50, 3],
        modules={"modulator": {"width": 16}},
    )
    return LongTailForImageClassification(config).eval()


def code_in(folder) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.glob("*.py")}


def test_a_process_without_this_package_computes_the_same(tmp_path, registered):
    model, images = make_model(), torch.randn(2, 1, 16, 16)
    model.save_pretrained(tmp_path)
    LongTailImageProcessor.from_config(model.config).save_pretrained(tmp_path)
    with torch.no_grad():
        torch.save((images, model(images).logits), tmp_path / "expected.pt")
    written = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert written["auto_map"] == {
        "AutoConfig": "configuration.LongTailConfig",
        "AutoModelForImageClassification": "modeling.LongTailForImageClassification",
    }
    environment = {**os.environ, "HF_HOME": str(tmp_path / "home"), "PYTHONPATH": ""}
    command = [sys.executable, "-c", READER, str(tmp_path)]
    result = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    again = code_in(tmp_path / "again")
    assert again.items() <= code_in(tmp_path).items() and "modeling.py" in again


def test_the_files_are_the_same_every_time_and_only_where_they_are_asked_for(tmp_path, registered, monkeypatch):
    model = make_model()
    for name in ("one", "two"):
        model.save_pretrained(tmp_path / name)
    assert code_in(tmp_path / "one") == code_in(tmp_path / "two") != {}
    monkeypatch.setattr(LongTailForImageClassification, "_auto_class", None)
    monkeypatch.setattr(LongTailConfig, "_auto_class", None)
    make_model().save_pretrained(tmp_path / "three")
    assert code_in(tmp_path / "three") == {}


def test_all_public_classes_fit_into_one_folder(tmp_path):
    classes = (LongTailConfig, LongTailForImageClassification, MaskedAutoencoder, LongTailImageProcessor)
    texts = [path.read_text() for cls in classes for path in write_code(cls, tmp_path)]
    assert len(set(texts)) == len(code_in(tmp_path))  # no file has written over another one
    imports = [line.split() for text in texts for line in text.splitlines() if line.lstrip().startswith("from .")]
    assert imports and all((tmp_path / f"{module[1:]}.py").is_file() for _, module, *_ in imports)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Writes the files of a package, and returns a class that `models/model.py` defines."""

    def make(files: dict[str, str]) -> type:
        for name, text in files.items():
            path = tmp_path / "package" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        module = types.ModuleType("package.models.model")
        module.__file__ = str(tmp_path / "package" / "models" / "model.py")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        return type("Model", (), {"__module__": module.__name__})

    return make


def test_imports_are_followed_through_folders_and_rewritten(tmp_path, package):
    model = "from ..ground import (\n    number,\n)\nfrom .inner.deep import late  # kept\n"
    files = {
        "models/model.py": model,
        "models/inner/deep.py": "def late():\n    from ...ground import number\n    return number\n",
        "models/unused.py": "",
        "ground.py": "import os\nnumber = 1\n",
    }
    written = write_code(package(files), tmp_path / "flat")
    assert [path.name for path in written] == ["deep.py", "ground.py", "model.py"]
    code = code_in(tmp_path / "flat")
    assert code["model.py"] == model.replace("..ground", ".ground").replace(".inner.deep", ".deep")
    assert code["deep.py"] == files["models/inner/deep.py"].replace("...ground", ".ground")


@pytest.mark.parametrize(
    "line, message",
    [
        ("from ..model import other", "cannot lie in one folder"),
        ("from . import unused", "line 1 of .* imports no file by name"),
        ("from .inner import deep", "imports no file by name"),
    ],
)
def test_what_cannot_lie_flat_is_refused(tmp_path, package, line, message):
    files = {"models/model.py": line, "models/unused.py": "", "models/inner/deep.py": "", "model.py": "other = 1"}
    with pytest.raises(ValueError, match=message):
        write_code(package(files), tmp_path / "flat")
    assert not (tmp_path / "flat").exists()
