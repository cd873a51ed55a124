"""Which names can be those of something on the Hub."""

from __future__ import annotations

import pytest

from hf_ltr.naming import check_initial_checkpoint, is_hub_id

HERE = "owner/folder"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / HERE).mkdir(parents=True)


@pytest.mark.parametrize("name", ["uoft-cs/cifar100", "timm/vit_pico.mae_r512", "a/b", "_me/_it_", "0/1"])
def test_an_owner_and_a_name(name):
    assert is_hub_id(name) and is_hub_id(name, bare=True)


@pytest.mark.parametrize(
    "name",
    [None, "", HERE, "a/b/c", "/a/b", "./a/b", "~/a", "../a", "a b/c", "café/x", "a/b:c", "a--b/c", "a/b.git", "-a/b"],
)
def test_what_is_no_hub_id(name):
    assert not is_hub_id(name) and not is_hub_id(name, bare=True)


def test_the_first_models_have_no_owner():
    assert is_hub_id("gpt2", bare=True) and not is_hub_id("gpt2")


def test_a_checkpoint_to_start_from_is_here_or_may_be_on_the_hub():
    for place in (HERE, "facebook/vit-mae-base", "resnet"):
        check_initial_checkpoint(place)
    for place in ("./nowhere", "runs/a/b", "/nowhere"):
        with pytest.raises(FileNotFoundError, match="no checkpoint folder"):
            check_initial_checkpoint(place)
