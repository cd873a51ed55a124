import platform
import subprocess

import torch

from hf_ltr import environment
from hf_ltr.environment import git_commit, hardware, package_versions


def test_versions_are_the_installed_ones():
    versions = package_versions(["torch", "numpy", "no-such-package"])
    assert set(versions) == {"python", "hf_ltr", "torch", "numpy"}
    assert versions["python"] == platform.python_version()
    assert versions["torch"].split("+")[0] == torch.__version__.split("+")[0]


def test_hardware_is_one_line():
    line = hardware()
    assert line and "\n" not in line and any(character.isdigit() for character in line)


def test_commit(tmp_path, tmp_path_factory, monkeypatch):
    def git(*arguments):
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        return subprocess.run(
            ["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True, text=True
        ).stdout.strip()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(environment, "__file__", str(tmp_path / "file"))
    assert git_commit() is None
    git("init", "--quiet")
    assert git_commit() is None
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "--quiet", "--no-verify", "-m", "first")
    commit = git("rev-parse", "HEAD")
    assert git_commit() == commit
    (tmp_path / "other").write_text("untracked files do not count")
    assert git_commit() == commit
    (tmp_path / "file").write_text("two")
    assert git_commit() == f"{commit}-dirty"

    # A run from a folder outside any working tree belongs to the checkout of the package, if it is in one.
    outside = tmp_path_factory.mktemp("outside")
    monkeypatch.chdir(outside)
    assert git_commit() == f"{commit}-dirty"
    monkeypatch.setattr(environment, "__file__", str(tmp_path / "other"))
    assert git_commit() is None, "an untracked file is no part of the repository around it"
    monkeypatch.chdir(tmp_path)
    assert git_commit() == f"{commit}-dirty"
