"""What leaves the machine: no secret, and no path but the name at its end."""

from __future__ import annotations

import copy
import io
import json
import shlex

import pytest
import torch

from hf_ltr.redaction import HIDDEN, is_secret, name_of_place, public, public_command, remember_secret, without_secrets

TOKEN = "hf_Aa0123456789abcdefghijklmnop"


@pytest.mark.parametrize(
    "name",
    "hub_token --hub-token train.hub_token token tokens api_key apiKey APIKEY WANDB_API_KEY key keys access-key "
    "password db_passwd pwd passphrase client_secret secrets credentials use_auth_token hubToken key_file".split(),
)
def test_secrets_by_name(name):
    assert is_secret(name, "abc") and public({name: "abc"}) == {name: HIDDEN}
    assert public({name: ["abc", {"x": "y"}]}) == {name: HIDDEN}
    assert not is_secret(name, None) and not is_secret(name, True) and not is_secret(name, "none")


@pytest.mark.parametrize(
    "name, value",
    [
        ("average_tokens_across_devices", "false"),
        ("include_num_input_tokens_seen", "all"),
        ("num_tokens", 196),
        ("tokens", "5"),
        ("class_token", "x"),
        ("class_token_init", "zeros"),
        ("mask_token", "mean"),
        ("label_key", "label"),
        ("image_key", "img"),
        ("tokenizer", "bert"),
        ("global_pool", "token"),
        ("monkey", "grivet"),
        ("keyboard", "qwerty"),
        ("keep", "x"),
        ("secretary", "x"),
    ],
)
def test_what_describes_a_model_or_a_column_is_no_secret(name, value):
    assert not is_secret(name, value) and public({name: value}) == {name: value}


def test_a_secret_is_hidden_by_its_value_wherever_it_turns_up():
    remember_secret("s3cret-value")
    assert public({"run_name": "run of s3cret-value", "n": 3}) == {"run_name": f"run of {HIDDEN}", "n": 3}
    # Found behind the value that repeats it, too.
    assert public({"a": "x correct horse y", "password": "correct horse"})["a"] == f"x {HIDDEN} y"
    remember_secret('with "quotes"')
    assert "quotes" not in without_secrets(json.dumps({"a": 'with "quotes"'}))
    remember_secret("abc")  # too short to be looked for
    assert without_secrets("the abc of it") == "the abc of it"


def test_secrets_by_form_and_of_the_environment(monkeypatch):
    assert without_secrets(f"see {TOKEN}.") == f"see {HIDDEN}."
    assert without_secrets("https://me:pass@host/x") == f"https://{HIDDEN}@host/x"
    assert name_of_place("https://host/x.zip?token=abc&a=b") == f"https://host/x.zip?token={HIDDEN}"
    assert without_secrets("Bearer abc123") == f"Bearer {HIDDEN}"
    for text in ("hf_transfer", "hf_hub_download", "hf_ltr", "https://host/x@1", "a" * 40):
        assert without_secrets(text) == text
    monkeypatch.setenv("HF_TOKEN", "0rganisation-token-c3f81a5e7")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEX4MPLEKEY")
    for value in ("0rganisation-token-c3f81a5e7", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEX4MPLEKEY"):
        assert without_secrets(f"a {value}") == f"a {HIDDEN}"


def test_a_secret_inside_another_leaves_nothing_of_it(monkeypatch):
    monkeypatch.setenv("MY_PASSWORD", TOKEN[8:26])
    monkeypatch.setenv("OTHER_PASSWORD", f"before-{TOKEN}-behind")
    assert without_secrets(f"see {TOKEN}.") == f"see {HIDDEN}."
    assert without_secrets(f"a {TOKEN[8:26]} b before-{TOKEN}-behind") == f"a {HIDDEN} b {HIDDEN}"


def test_ordinary_words_survive_a_secret_that_is_called_like_them(monkeypatch):
    words = "cifar100 test1234 uoft-cs/cifar100 vit_base_patch16_224 12345678 balanced_softmax".split()
    for number, word in enumerate(words):
        monkeypatch.setenv(f"SECRET_KEY_{number}", word)
    text = " ".join([*words, "Bearer Island, standard bearer dogs"])
    assert without_secrets(text) == text
    # Of a folder's name, not somebody's secret: the word stands elsewhere too.
    assert public("token=images") == f"token={HIDDEN}" and without_secrets("all images") == "all images"
    # A measure of a set that is called so.
    assert public({"eval_secret_accuracy": 0.5, "password": 0.25}) == {"eval_secret_accuracy": 0.5, "password": 0.25}


@pytest.mark.parametrize(
    "place, name",
    [
        ("/home/me/photos", "photos"),
        ("/home/me/My Photos/", "My Photos"),
        ("~/photos", "photos"),
        ("~", "folder"),
        ("~bob/pics", "pics"),
        ("../photos", "photos"),
        ("./photos", "photos"),
        ("a/b/photos", "photos"),
        ("a/../../photos", "photos"),
        ("C:\\Users\\me\\photos", "photos"),
        ("D:/pics/photos", "photos"),
        ("\\\\server\\share\\photos", "photos"),
        ("..\\photos", "photos"),
        ("file:///home/me/photos", "photos"),
        ("/", "folder"),
        ("uoft-cs/cifar100", "uoft-cs/cifar100"),
        ("digits", "digits"),
        ("https://me:pass@host/photos", f"https://{HIDDEN}@host/photos"),
    ],
)
def test_a_place_is_called_by_its_last_part(place, name):
    assert name_of_place(place) == name
    if name != place and "://h" not in place and place != "a/b/photos":
        assert public({"anything": place}) == {"anything": name}
    assert public({"dataset": place}) == {"dataset": name}


def test_a_folder_here_that_looks_like_a_hub_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "photos").mkdir(parents=True)
    assert name_of_place("data/photos") == "photos" and name_of_place("data/others") == "data/others"
    assert name_of_place(".") == tmp_path.name and name_of_place("data/..") == tmp_path.name


def test_a_command_without_secrets_and_paths(repository):
    config = repository / "recipes/configs/classifier/digits_lt.yaml"
    arguments = {
        f"--config {config}": "--config recipes/configs/classifier/digits_lt.yaml",
        "--dataset /home/me/photos": "--dataset photos",
        "--dataset=~/photos": "--dataset=photos",
        "--dataset uoft-cs/cifar100": "--dataset uoft-cs/cifar100",
        "--hub_token some-token": f"--hub_token {HIDDEN}",
        "--hub-token=other-token": f"--hub-token={HIDDEN}",
        "--modulator.hub_token third-token": f"--modulator.hub_token {HIDDEN}",
        '--options {"start":"/x/y","api_key":"fourth-token","tau":1}': (
            f'--options {{"start": "y", "api_key": "{HIDDEN}", "tau": 1}}'
        ),
        '--options {"tau":1.0}': '--options {"tau":1.0}',
        "--options {api_key:sixth-token": f"--options {{api_key:{HIDDEN}",
        "--set data_dir=/x/y max_steps=5 hub_token=fifth-token": f"--set data_dir=y max_steps=5 hub_token={HIDDEN}",
        "--methods crt:start=/home/me/x,foo=1 mem:width={32,64}": "--methods crt:start=x,foo=1 mem:width={32,64}",
        "--run_name fourth-token-some-token": f"--run_name {HIDDEN}-{HIDDEN}",
        "--momentum .5 --seed -1 --flag": "--momentum .5 --seed -1 --flag",
        '--options {"^a\\.b/":{"lr_scale":10}}': '--options {"^a\\.b/":{"lr_scale":10}}',
        "--x https://host/a/b": "--x https://host/a/b",
        "--y see:/a/b:/c/d,~/e/f": "--y see:b:d,f",
    }
    for given, shown in arguments.items():
        words = given.split(" ")
        assert shlex.split(public_command([], words)) == shown.split(" ", len(words) - 1), given
    together = public_command(["/x/recipes/classifier.py"], [word for given in arguments for word in given.split(" ")])
    assert together.startswith("recipes/classifier.py ") and "-token" not in together.replace("hub-token", "")
    assert "/home" not in together and "~" not in together


def test_pickled_arguments_hold_no_token_and_no_path_but_copies_do(tmp_path):
    from hf_ltr import LongTailTrainingArguments

    args = LongTailTrainingArguments(output_dir=str(tmp_path / "run"), hub_token=TOKEN, run_name=f"run {TOKEN}")
    file = io.BytesIO()
    torch.save(args, file)
    assert TOKEN.encode() not in file.getvalue() and str(tmp_path).encode() not in file.getvalue()
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    assert (loaded.hub_token, loaded.output_dir, loaded.learning_rate) == (None, "run", args.learning_rate)
    for twin in (args, copy.copy(args), copy.deepcopy(args)):
        assert (twin.hub_token, twin.output_dir) == (TOKEN, str(tmp_path / "run"))
    for text in (str(args), repr(args), args.to_json_string(), str(args.to_sanitized_dict()["hub_token"])):
        assert TOKEN not in text
    assert str(tmp_path) not in args.to_json_string()


def test_an_error_about_a_secret_does_not_show_it():
    from hf_ltr.recipe import convert

    with pytest.raises(ValueError, match="api_key must be an integer, got a hidden value"):
        convert("abcdef", int, "api_key")
