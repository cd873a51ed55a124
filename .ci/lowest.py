"""Print the lower bounds of pyproject.toml as exact pins, for `make test-lowest`."""

import re
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
print(" ".join(re.sub(r"\s*>=\s*", "==", requirement) for requirement in project["dependencies"]))
