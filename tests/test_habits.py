"""What is said of working on the package is true: targets, hooks, workflows, the index of pages."""

from __future__ import annotations

import re
import tomllib

import yaml


def _text(repository, name: str) -> str:
    return (repository / name).read_text(encoding="utf-8")


def _targets(repository) -> dict[str, list[str]]:
    """Commands by target of the Makefile, `$(BIN)` written out."""
    found: dict[str, list[str]] = {}
    target = ""
    for line in _text(repository, "Makefile").splitlines():
        named = re.match(r"([a-z][\w-]*):(?!=)", line)
        if named:
            target = named[1]
            found[target] = []
        elif line.startswith("\t") and target:
            found[target].append(line.strip().replace("$(BIN)", ".venv/bin"))
        elif not line.startswith("\t"):
            target = ""
    return found


def _workflows(repository) -> dict[str, dict]:
    folder = repository / ".github" / "workflows"
    return {path.name: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.yml"))}


def test_every_target_that_somebody_is_sent_to_exists(repository):
    known = set(_targets(repository))
    assert {"install", "lint", "test", "quickstart", "pages", "hooks"} <= known
    places = ("*.md", "docs/*.md", "recipes/*.md", "docs/*.py", ".github/workflows/*.yml", ".ci/*", ".pre-commit-*")
    files = [path for place in places for path in sorted(repository.glob(place))]
    for path in [*files, repository / "Makefile", repository / "pyproject.toml"]:
        text = path.read_text(encoding="utf-8")
        # In a sentence `make` is a word; a command stands between backticks or begins a line.
        named = re.findall(r"`make ([a-z][\w-]*)[^`]*`|^(?:\s*- run: |\s*)make ([a-z][\w-]*)", text, re.MULTILINE)
        assert {first or second for first, second in named} <= known, path.name


def test_hooks_are_what_lint_runs(repository):
    (local,) = yaml.safe_load(_text(repository, ".pre-commit-config.yaml"))["repos"]
    assert local["repo"] == "local"
    assert [hook["entry"] for hook in local["hooks"]] == _targets(repository)["lint"]
    for hook in local["hooks"]:
        assert hook["language"] == "system" and hook["pass_filenames"] is False, hook["id"]


def test_workflows_call_the_same_targets_on_the_versions_the_package_names(repository):
    workflows = _workflows(repository)
    project = tomllib.loads(_text(repository, "pyproject.toml"))["project"]
    versions = [name.rsplit(" ", 1)[-1] for name in project["classifiers"] if re.search(r"Python :: 3\.\d+$", name)]
    assert workflows["test.yml"]["jobs"]["test"]["strategy"]["matrix"]["python-version"] == versions
    run = [
        step["run"]
        for workflow in workflows.values()
        for job in workflow["jobs"].values()
        for step in job["steps"]
        if "run" in step
    ]
    assert all(command.startswith("make ") for command in run), run
    # What `.ci/run` asks of every change, a service asks too.
    assert set(re.findall(r"^make .*$", _text(repository, ".ci/run"), re.MULTILINE)) <= set(run)
    uses = re.findall(r"uses: (\S+)", "".join(_text(repository, f".github/workflows/{name}") for name in workflows))
    assert uses and all(re.fullmatch(r"actions/[\w-]+@v\d+", action) for action in uses)


def test_the_rooms_that_contributors_read_of_are_those_of_the_contract(repository):
    contracts = tomllib.loads(_text(repository, "pyproject.toml"))["tool"]["importlinter"]["contracts"]
    (rooms,) = [contract["layers"] for contract in contracts if contract.get("containers") == ["hf_ltr"]]
    assert re.findall(r"^\| `(\w+)` \|", _text(repository, "CONTRIBUTING.md"), re.MULTILINE) == rooms[:-1]


def test_files_that_contributors_are_sent_to_exist(repository):
    named = re.findall(r"`((?:hf_ltr|tests|recipes|docs)/[\w./]+)`", _text(repository, "CONTRIBUTING.md"))
    assert len(named) > 5
    assert [name for name in named if not (repository / name).exists()] == []


def test_the_package_needs_nothing_that_is_not_in_the_wheel(repository):
    find = tomllib.loads(_text(repository, "pyproject.toml"))["tool"]["setuptools"]["packages"]["find"]
    assert find["include"] == ["hf_ltr*"]
    outside = re.compile(r"^\s*(?:from|import) (?:docs|tests|recipes|benchmarks)\b", re.MULTILINE)
    for path in (repository / "hf_ltr").rglob("*.py"):
        assert not outside.search(path.read_text(encoding="utf-8")), path.name
