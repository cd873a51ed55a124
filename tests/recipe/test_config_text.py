"""`--print_config` and `config.yaml`: what was resolved, as `--config` reads it again."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_ltr.reading import parse_yaml, yaml_text
from hf_ltr.recipe import DataOptions, ModelOptions, parse_options

TOKEN = "hf_Zz0123456789abcdefghijklmnop"
WORDS = st.text(max_size=12) | st.sampled_from(["no", "1e-3", "007", "12:30", "2026-01-01", "null", "~", "a: b", "#x"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)


@dataclass
class Own:
    method: str = field(metadata={"help": "Which.", "positional": True})
    options: dict | None = None
    hub_token: str | None = None
    run_name: str | None = None


@dataclass
class Stage:
    max_steps: int = -1
    learning_rate: float = 0.1


def parse(*argv, **options):
    kinds = [Own, DataOptions, ModelOptions]
    return parse_options(argv, kinds, sections={"one": Stage, "two": Stage}, **options)


def printed(capsys, *argv) -> str:
    with pytest.raises(SystemExit) as stop:
        parse(*argv, "--print_config")
    assert stop.value.code == 0
    return capsys.readouterr().out


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), VALUES, max_size=4))
def test_written_yaml_is_read_as_the_same_values(content):
    assert parse_yaml(yaml_text(content), "text") == content


def test_what_is_printed_is_a_config_again(tmp_path, capsys):
    (tmp_path / "a.yaml").write_text("dataset: x\nbackbone: y\none: {max_steps: 3, learning_rate: 1e-3}\n")
    (tmp_path / "b.yaml").write_text("dataset: no\none: {max_steps: 4}\n")
    argv = ["crt", "--config", str(tmp_path / "a.yaml"), "--two.max_steps=7", "--config", str(tmp_path / "b.yaml")]
    argv += ["--options", '{"a": [1, 2.5, "1e-3"], "b": {"c": null}}', "--image_mean", "0.5", "1e-7"]
    text = printed(capsys, *argv)
    assert "# num_channels: 3\n" in text and "\nbackbone: y\n" in text
    (tmp_path / "printed.yaml").write_text(text)
    first, again = parse(*argv), parse("--config", str(tmp_path / "printed.yaml"))
    assert (again.values, again.sections) == (first.values, first.sections)
    assert first.values["dataset"] == "no" and first.sections["one"] == {"max_steps": 4, "learning_rate": 1e-3}
    assert again.text == first.text == text
    # The command line wins over what was printed, too.
    assert parse("--config", str(tmp_path / "printed.yaml"), "--backbone", "z").values["backbone"] == "z"


def test_secrets_are_named_and_left_out(capsys):
    text = printed(capsys, "crt", "--hub-token", TOKEN, "--run_name", f"with {TOKEN}")
    assert TOKEN not in text and "# hub_token: <hidden>\n" in text and "# run_name: <hidden>\n" in text
    values = parse_yaml(text, "text")
    assert "hub_token" not in values and "run_name" not in values
    text = printed(capsys, "crt", "--options", '{"nested": {"api_key": "abcdefgh"}}')
    assert "abcdefgh" not in text and "options" not in parse_yaml(text, "text")


def test_one_process_prints(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert printed(capsys, "crt") == ""


def test_every_sub_command_prints_its_config_and_does_nothing(capsys, tmp_path, monkeypatch):
    from hf_ltr.cli.main import main

    monkeypatch.chdir(tmp_path)
    commands = {
        "evaluate": ["nowhere", "--dataset", "digits", "--per_class"],
        "adjust": ["nowhere", "--method", "tau_norm", "--output_dir", "out", "--taus", "0.5", "1"],
        "check": ["digits", "--full"],
        "prepare": ["digits", "--output", "out", "--validation-per-class", "2"],
        "table": ["--methods", "focal:gamma=1,x=2", "crt", "--set", "a=1", "--set", "b=1,2", "c=3"],
        "train": ["focal", "--dataset", "digits"],
        "list": ["samplers"],
    }
    found = {}
    for name, argv in commands.items():
        with pytest.raises(SystemExit) as stop:
            main([name, *argv, "--print-config"])
        assert stop.value.code == 0
        found[name] = parse_yaml(capsys.readouterr().out, name)
    assert found["evaluate"] == {"checkpoint": "nowhere", "dataset": "digits", "per_class": True}
    assert found["adjust"]["output"] == "out" and found["adjust"]["taus"] == [0.5, 1.0]
    assert found["prepare"]["validation_per_class"] == 2 and found["list"] == {"what": "samplers"}
    assert found["table"]["methods"] == ["focal:gamma=1,x=2", "crt"]
    assert found["table"]["set"] == ["a=1", "b=1,2", "c=3"]
    assert found["train"] == {"method": "focal", "dataset": "digits", "output_dir": "outputs/focal"}
    assert not list(Path(tmp_path).iterdir())
