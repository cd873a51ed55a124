from dataclasses import dataclass, field

import pytest
from transformers import IntervalStrategy

from hf_ltr import LongTailTrainingArguments
from hf_ltr.recipe import convert, parse_options


@dataclass
class Data:
    dataset: str = field(default="digits", metadata={"help": "Which images."})
    imbalance_factor: float | None = None
    seed: int = 0


@dataclass
class Model:
    backbone: str = "resnet32_cifar"
    backbone_kwargs: dict | None = None
    pretrained: bool = False
    milestones: list[float] | None = None
    augmentation: list[str] = field(default_factory=lambda: ["auto"])
    head: str | None = None
    report_to: None | str | list[str] = "none"
    strategy: IntervalStrategy | str = "no"


@dataclass
class Stage:
    max_steps: int = -1
    learning_rate: float = 0.1
    save_strategy: str = "epoch"


SECTIONS = {"pretraining": Stage, "finetuning": Stage}


def parse(*argv, yaml=None, tmp_path=None, sections=SECTIONS):
    argv = list(argv)
    if yaml is not None:
        path = tmp_path / "config.yaml"
        path.write_text(yaml, encoding="utf-8")
        argv = ["--config", str(path), *argv]
    return parse_options(argv, [Data, Model], sections=sections, description="A recipe.")


def test_only_what_was_set_is_there():
    parsed = parse()
    assert parsed.values == {} and parsed.sections == {"pretraining": {}, "finetuning": {}}
    assert parsed.on_command_line == set()
    assert parsed.build(Data) == Data() and parsed.build(Model) == Model()
    parsed = parse("--seed", "3", "--head", "cosine")
    assert parsed.of(Data) == {"seed": 3} and parsed.of(Model) == {"head": "cosine"}
    assert parsed.build(Data) == Data(seed=3)


@pytest.mark.parametrize(
    ("argv", "key", "value"),
    [
        (["--imbalance_factor", "1e2"], "imbalance_factor", 100.0),
        (["--imbalance_factor=50"], "imbalance_factor", 50.0),
        (["--imbalance-factor", "50"], "imbalance_factor", 50.0),
        (["--imbalance_factor", "none"], "imbalance_factor", None),
        (["--imbalance_factor", "null"], "imbalance_factor", None),
        (["--seed", "-3"], "seed", -3),
        (["--seed", "1e3"], "seed", 1000),
        # More digits than a float has.
        (["--seed", "9007199254740993"], "seed", 9007199254740993),
        (["--dataset", "50"], "dataset", "50"),
        (["--dataset", "a folder/with spaces"], "dataset", "a folder/with spaces"),
        (["--dataset="], "dataset", ""),
        (["--dataset=a=b"], "dataset", "a=b"),
        (["--pretrained"], "pretrained", True),
        (["--pretrained", "true"], "pretrained", True),
        (["--pretrained", "No"], "pretrained", False),
        (["--pretrained=0"], "pretrained", False),
        (["--milestones", "160", "180"], "milestones", [160.0, 180.0]),
        (["--milestones", "160,180"], "milestones", [160.0, 180.0]),
        (["--milestones", "[160, 180]"], "milestones", [160.0, 180.0]),
        (["--milestones", "160"], "milestones", [160.0]),
        (["--milestones", "none"], "milestones", None),
        (["--augmentation", "random_crop", "cutout"], "augmentation", ["random_crop", "cutout"]),
        (["--augmentation", "none"], "augmentation", ["none"]),
        (["--backbone_kwargs", '{"depth": 4, "qkv_bias": false}'], "backbone_kwargs", {"depth": 4, "qkv_bias": False}),
        (["--backbone_kwargs", "none"], "backbone_kwargs", None),
        (["--head", "None"], "head", None),
        # Here the word is a value of its own: None would be no list of trackers.
        (["--report_to", "none"], "report_to", "none"),
        (["--report_to", "null"], "report_to", None),
        (["--report_to", "tensorboard", "wandb"], "report_to", ["tensorboard", "wandb"]),
        (["--report_to", "tensorboard"], "report_to", "tensorboard"),
        (["--report_to", '["tensorboard"]'], "report_to", ["tensorboard"]),
        (["--strategy", "steps"], "strategy", "steps"),
        (["--strategy", "whenever"], "strategy", "whenever"),
        (["--seed", "1", "--seed", "2"], "seed", 2),
    ],
)
def test_values_of_the_command_line(argv, key, value):
    parsed = parse(*argv)
    assert parsed.values == {key: value}
    assert type(parsed.values[key]) is type(value)


@pytest.mark.parametrize(
    ("yaml", "values"),
    [
        # PyYAML reads 1e2 as a string, and 1.0e+2 as a number.
        ("imbalance_factor: 1e2", {"imbalance_factor": 100.0}),
        ("imbalance_factor: 1.0e+2", {"imbalance_factor": 100.0}),
        ("imbalance_factor: 100", {"imbalance_factor": 100.0}),
        ("imbalance_factor:", {"imbalance_factor": None}),
        ("imbalance_factor: null", {"imbalance_factor": None}),
        ("imbalance-factor: 2", {"imbalance_factor": 2.0}),
        ("seed: 1e3", {"seed": 1000}),
        ("dataset: 2018", {"dataset": "2018"}),
        # YAML 1.1 makes a boolean of no, and would end with strategy=False.
        ("strategy: no", {"strategy": "no"}),
        ("dataset: on", {"dataset": "on"}),
        ("pretrained: no", {"pretrained": False}),
        ("pretrained: yes", {"pretrained": True}),
        ("pretrained: True", {"pretrained": True}),
        ("milestones: [160, 1.8e2]", {"milestones": [160.0, 180.0]}),
        ("milestones:\n  - 160\n  - 180\n", {"milestones": [160.0, 180.0]}),
        ("augmentation: cutout", {"augmentation": ["cutout"]}),
        ("backbone_kwargs: {depth: 4}", {"backbone_kwargs": {"depth": 4}}),
        ("backbone_kwargs:\n  depth: 4\n", {"backbone_kwargs": {"depth": 4}}),
        ("report_to: none", {"report_to": "none"}),
        ("# nothing but a comment\n", {}),
        ("", {}),
    ],
)
def test_values_of_yaml(tmp_path, yaml, values):
    parsed = parse(yaml=yaml, tmp_path=tmp_path)
    assert parsed.values == values
    assert all(type(parsed.values[key]) is type(value) for key, value in values.items())
    assert parsed.on_command_line == set()


def test_command_line_wins_wherever_it_stands(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("seed: 1\ndataset: cifar100\nfinetuning:\n  max_steps: 600\n  learning_rate: 1e-4\n")
    for argv in (["--seed", "2", "--config", str(path)], [f"--config={path}", "--seed=2"]):
        parsed = parse(*argv, "--finetuning.max_steps", "5")
        assert parsed.values == {"seed": 2, "dataset": "cifar100"}
        assert parsed.sections == {"pretraining": {}, "finetuning": {"max_steps": 5, "learning_rate": 1e-4}}


def test_later_config_wins(tmp_path):
    for name, seed in (("a", 1), ("b", 2)):
        (tmp_path / f"{name}.yaml").write_text(f"seed: {seed}\n{'head: cosine' if name == 'a' else ''}\n")
    parsed = parse("--config", str(tmp_path / "a.yaml"), "--config", str(tmp_path / "b.yaml"))
    assert parsed.values == {"seed": 2, "head": "cosine"}


def test_sections(tmp_path):
    yaml = "pretraining:\n  max-steps: 3\n  save_strategy: no\nfinetuning:\n"
    parsed = parse("--finetuning.learning-rate", "2e-3", yaml=yaml, tmp_path=tmp_path)
    assert parsed.sections == {
        "pretraining": {"max_steps": 3, "save_strategy": "no"},
        "finetuning": {"learning_rate": 0.002},
    }
    assert parse(yaml="finetuning.max_steps: 4", tmp_path=tmp_path).sections["finetuning"] == {"max_steps": 4}


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ["--imbalance_facotr", "5"],
            r"Unknown option on the command line: 'imbalance_facotr'\. .*'imbalance_factor'",
        ),
        (["--lr", "5"], r"Unknown option on the command line: 'lr'.*Valid names: .*backbone, .*seed"),
        (["--finetunning.max_steps", "5"], r"Unknown section on the command line: 'finetunning'\. .*'finetuning'"),
        (
            ["--finetuning.max_step", "5"],
            r"Unknown option of section finetuning on the command line: 'max_step'\. .*'max_steps'",
        ),
        (["--finetuning", "5"], r"Unknown option .*'finetuning'\. .*'finetuning\.<option>'"),
        (["digits"], r"Unexpected argument 'digits': options are written --name value"),
        (["-s", "3"], r"Unexpected argument '-s'"),
        (["--seed", "three"], r"seed must be an integer, got 'three'"),
        (["--seed", "0.5"], r"seed must be an integer, got '0\.5'"),
        (["--seed", "inf"], r"seed must be an integer, got 'inf'"),
        (["--seed", "1", "2"], r"seed must be an integer, got \['1', '2'\]"),
        (["--seed"], r"seed must be an integer, got no value"),
        (["--dataset"], r"dataset must be a string, got no value"),
        (["--dataset", "a", "b"], r"dataset must be a string, got \['a', 'b'\]"),
        (["--imbalance_factor", "ten"], r"imbalance_factor must be a number, got 'ten'"),
        (["--pretrained", "maybe"], r"pretrained must be true or false, got 'maybe'"),
        (["--milestones", "160", "late"], r"milestones must be a list of numbers, got \['160', 'late'\]"),
        (["--milestones", "[160, 180"], r"milestones must be a list of numbers.*no JSON: Expecting"),
        (["--backbone_kwargs", "{depth: 4}"], r"backbone_kwargs must be a JSON object, got '{depth: 4}' \(no JSON"),
        (["--backbone_kwargs", "[1]"], r"backbone_kwargs must be a JSON object, got '\[1\]'"),
        (["--finetuning.max_steps", "all"], r"finetuning\.max_steps must be an integer, got 'all'"),
        (["--config"], "--config needs the path of one YAML file"),
        (["--config", "a.yaml", "b.yaml"], "--config needs the path of one YAML file"),
    ],
)
def test_mistakes_on_the_command_line(argv, message):
    with pytest.raises(ValueError, match=message):
        parse(*argv)


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("imbalance_facotr: 5", r"Unknown option in .*config\.yaml: 'imbalance_facotr'\. .*'imbalance_factor'"),
        ("finetunning:\n  max_steps: 5", r"Unknown option in .*: 'finetunning'\. .*'finetuning\.<option>'"),
        ("finetuning:\n  max_step: 5", r"Unknown option of section finetuning in .*: 'max_step'\. .*'max_steps'"),
        ("finetuning: 5", r"Unknown option in .*: 'finetuning'"),
        ("seed: true", r"seed must be an integer, got True"),
        ("seed: [1, 2]", r"seed must be an integer, got \[1, 2\]"),
        ("seed:", r"seed must be an integer, got None"),
        ("dataset: {a: 1}", r"dataset must be a string, got {'a': 1}"),
        ("- seed\n- 5", r"config\.yaml must hold `key: value` lines, got \['seed', 5\]"),
        ("seed: [1", r"config\.yaml is not YAML: .*line \d"),
    ],
)
def test_mistakes_in_yaml(tmp_path, yaml, message):
    with pytest.raises(ValueError, match=message):
        parse(yaml=yaml, tmp_path=tmp_path)


def test_recipe_without_sections():
    with pytest.raises(ValueError, match=r"Unknown section .*: 'finetuning'"):
        parse("--finetuning.max_steps", "5", sections=None)


def test_config_that_is_not_there(tmp_path):
    (tmp_path / "digits_lt.yaml").write_text("seed: 1\n")
    with pytest.raises(FileNotFoundError, match=r"digit_lt\.yaml: no such file\. Did you mean .*/digits_lt\.yaml\?"):
        parse("--config", str(tmp_path / "digit_lt.yaml"))
    with pytest.raises(FileNotFoundError, match=r"quux: no such file\. There: digits_lt\.yaml\."):
        parse("--config", str(tmp_path / "quux"))
    with pytest.raises(FileNotFoundError, match="no such file"):
        parse("--config", str(tmp_path / "nowhere" / "digits_lt.yaml"))
    with pytest.raises(FileNotFoundError, match="no such file"):
        parse("--config", str(tmp_path))


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_shows_every_own_option_with_its_default(capsys, flag):
    with pytest.raises(SystemExit) as stop:
        parse("--seed", "not read", flag)
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith("A recipe.")
    assert "--dataset  (default digits)  Which images." in text
    assert "--augmentation  (default ['auto'])" in text
    assert "--imbalance_factor  (default None)" in text
    assert "--finetuning.<option> value: any field of Stage, for the stage 'finetuning' only" in text


@dataclass
class Command:
    checkpoint: str = field(metadata={"help": "Folder of it.", "positional": True})
    dataset: str = field(metadata={"help": "Which images.", "old_names": ("images",)})
    what: str = field(default="all", metadata={"positional": True, "choices": ("all", "some")})
    rows: list[str] = field(default_factory=list, metadata={"whole_words": True, "repeats": True})
    quiet: bool = False


def command(*argv):
    return parse_options(argv, [Command]).values


@pytest.mark.parametrize(
    "argv",
    [
        ["here", "--dataset", "digits", "--quiet"],
        ["--dataset", "digits", "--quiet", "here"],
        ["--quiet", "here", "--images=digits"],
        ["--quiet", "true", "--dataset", "digits", "here"],
        ["--checkpoint", "here", "--dataset", "digits", "--quiet"],
    ],
)
def test_arguments_that_stand_without_a_name(argv):
    assert command(*argv) == {"checkpoint": "here", "dataset": "digits", "quiet": True}


def test_places_are_filled_in_order_and_choices_are_checked():
    assert command("here", "some", "--dataset", "x")["what"] == "some"
    with pytest.raises(ValueError, match=r"Unknown what: 'sme'\. Did you mean 'some'"):
        command("here", "sme", "--dataset", "x")
    with pytest.raises(ValueError, match=r"Unexpected argument 'more'"):
        command("here", "some", "more", "--dataset", "x")
    with pytest.raises(ValueError, match="dataset must be a string, got "):
        command("here", "some", "--dataset", "x", "y")


def test_what_has_to_be_given_is_named():
    with pytest.raises(ValueError, match=r"^checkpoint is missing: Folder of it; --dataset is missing: Which images$"):
        command()
    with pytest.raises(ValueError, match=r"^--dataset is missing: Which images$"):
        command("here")


def test_words_of_a_list_stay_whole_and_add_up(tmp_path):
    argv = ["here", "--dataset", "x", "--rows", "a:b=1,2", "--rows", "c", "d"]
    assert command(*argv)["rows"] == ["a:b=1,2", "c", "d"]
    (tmp_path / "config.yaml").write_text("rows: [from, yaml]\nimages: y\ncheckpoint: there\n")
    config = ["--config", str(tmp_path / "config.yaml")]
    assert command(*config) == {"rows": ["from", "yaml"], "dataset": "y", "checkpoint": "there"}
    assert command(*config, "--rows", "own")["rows"] == ["own"]


def test_help_of_a_command(capsys):
    with pytest.raises(SystemExit):
        parse_options(["--help"], [Command], program="tool", description="Does it.", defaults={"quiet": True})
    text = capsys.readouterr().out
    assert text.startswith("usage: tool CHECKPOINT --dataset DATASET [WHAT] [--option value ...]\n\nDoes it.")
    assert "  CHECKPOINT  (must be given)  Folder of it." in text
    assert "  WHAT  (default all; all, some)" in text and "--quiet  (default True)" in text


def test_sections_may_follow_from_the_options(tmp_path):
    def sections(values):
        return {values["dataset"]: Stage} if "dataset" in values else {}

    def parse_them(*argv):
        return parse_options(argv, [Data], sections=sections)

    (tmp_path / "config.yaml").write_text("mine: {max_steps: 3}\ndataset: mine\n")
    assert parse_them("--config", str(tmp_path / "config.yaml")).sections == {"mine": {"max_steps": 3}}
    assert parse_them("--own.max_steps", "4", "--dataset", "own").sections == {"own": {"max_steps": 4}}
    with pytest.raises(ValueError, match=r"Unknown section on the command line: 'own'"):
        parse_them("--own.max_steps", "4")


def test_first_dataclass_gives_the_type():
    @dataclass
    class Other:
        seed: str = ""

    assert parse_options(["--seed", "5"], [Data, Other]).values == {"seed": 5}
    assert parse_options(["--seed", "5"], [Other, Data]).values == {"seed": "5"}


# The real thing: every field of the training arguments, inherited ones too.


def arguments(*argv):
    return parse_options(argv, [LongTailTrainingArguments]).values


def test_training_arguments_of_every_type(tmp_path):
    values = arguments(
        *("--output_dir", str(tmp_path), "--learning_rate", "1e-4", "--num_train_epochs", "3", "--max_steps", "10"),
        *("--eval_strategy", "no", "--lr_milestones", "160", "180", "--augmentation", "random_crop,cutout"),
        *("--augmentation_options", '{"cutout": {"size": 8}}', "--report_to", "none", "--use_cpu"),
        *(
            "--data_seed",
            "none",
            "--save_total_limit",
            "2",
            "--dataloader_drop_last",
            "false",
            "--optim",
            "adamw_torch",
        ),
    )
    assert values["learning_rate"] == 1e-4 and values["augmentation_options"] == {"cutout": {"size": 8}}
    built = LongTailTrainingArguments(**values)
    assert built.learning_rate == 1e-4 and built.max_steps == 10 and built.eval_strategy == IntervalStrategy.NO
    assert built.lr_milestones == [160.0, 180.0] and built.augmentation == ["random_crop", "cutout"]
    assert built.report_to == [] and built.use_cpu is True and built.data_seed is None
    assert built.dataloader_drop_last is False


def test_help_of_the_training_arguments(capsys):
    with pytest.raises(SystemExit):
        arguments("--help")
    text = capsys.readouterr().out
    assert "--learning_rate  (default 0.1)" in text and "every field of TrainingArguments" in text


def test_misspelt_training_argument():
    with pytest.raises(ValueError, match=r"'learnin_rate'\. Did you mean 'learning_rate'"):
        arguments("--learnin_rate", "1")


def test_misspelt_option_that_is_no_field():
    with pytest.raises(ValueError, match=r"'confg'\. Did you mean 'config'"):
        arguments("--confg", "a.yaml")


def test_convert_names_what_it_expects():
    with pytest.raises(ValueError, match="x must be true or false or a list of integers, got 'y'"):
        convert("y", bool | list[int], "x")
    assert convert(None, int | None, "x") is None
    assert convert(3, str, "x") == "3"
    assert convert([1, "2"], list[int], "x") == [1, 2]


def test_splits_are_a_text_or_pairs(tmp_path):
    from hf_ltr.recipe import DataOptions

    config = tmp_path / "config.yaml"
    config.write_text("splits:\n  train: [train, extra]\n  test: holdout\n")
    for arguments in (["--config", str(config)], ["--splits", '{"train": ["train", "extra"], "test": "holdout"}']):
        assert parse_options(arguments, [DataOptions]).values["splits"] == {
            "train": ["train", "extra"],
            "test": "holdout",
        }
    said = "train=train+extra,test=holdout"
    assert parse_options([f"--splits={said}"], [DataOptions]).values["splits"] == said
