"""Rows as they are written: alone, with values in braces, in named sets, and as the baseline that is meant."""

from __future__ import annotations

import pytest
import yaml

from hf_ltr.cli.main import main
from hf_ltr.table import MethodSpecification, Table, TableReport, load_protocol
from hf_ltr.table.plans import Plan
from hf_ltr.table.rows import expand_braces, expand_rows, find_baseline

from .conftest import PROTOCOL

COUNTS = [500, 40, 5]
SETS = {
    "figure4": ["ldam", "ldam:scale={10,20}", "ldam:max_margin={0.3,0.7}"],
    "heads": ["cross_entropy", "ldam:scale=10"],
}


@pytest.mark.parametrize(
    ("text", "name", "options", "label"),
    [
        ("cross_entropy", "cross_entropy", {}, "cross_entropy"),
        (" cross-entropy ", "cross_entropy", {}, "cross_entropy"),
        ("ldam:scale=10,max_margin=0.3", "ldam", {"max_margin": 0.3, "scale": 10}, "ldam:max_margin=0.3,scale=10"),
        ("ldam:max_margin=3e-1", "ldam", {"max_margin": 0.3}, "ldam:max_margin=0.3"),
        ("crt:reinitialize=false", "crt", {"reinitialize": False}, "crt:reinitialize=false"),
        ("crt:sampler=square_root", "crt", {"sampler": "square_root"}, "crt:sampler=square_root"),
        (
            "crt:representation=balanced_softmax",
            "crt",
            {"representation": "balanced_softmax"},
            "crt:representation=balanced_softmax",
        ),
        (
            "crt:representation=(ldam:scale=10,max_margin=0.3),sampler=instance",
            "crt",
            {"representation": {"name": "ldam", "options": {"max_margin": 0.3, "scale": 10}}, "sampler": "instance"},
            "crt:representation=(ldam:max_margin=0.3,scale=10),sampler=instance",
        ),
        (
            "pc_softmax:target_prior=[0.2,0.3,0.5]",
            "pc_softmax",
            {"target_prior": [0.2, 0.3, 0.5]},
            "pc_softmax:target_prior=[0.2,0.3,0.5]",
        ),
    ],
)
def test_a_row_is_read_and_written_back(text, name, options, label):
    row = MethodSpecification.parse(text)
    assert (row.name, row.options, row.post_hoc, row.label) == (name, options, None, label)
    assert MethodSpecification.parse(row.label) == row
    method = row.build(COUNTS)
    assert method.name == name
    for option, value in options.items():
        if option not in ("representation", "base"):
            assert getattr(method, option) == value


def test_the_representation_is_a_method_with_its_options():
    method = MethodSpecification.parse("crt:representation=(ldam:max_margin=0.3)").build(COUNTS)
    assert method.representation.name == "ldam" and method.representation.max_margin == 0.3
    method = MethodSpecification.parse("deferred_reweighting:base=balanced_softmax,beta=0.99").build(COUNTS)
    assert method.base.name == "balanced_softmax" and method.beta == 0.99


def test_options_of_the_row_win_over_those_of_the_protocol():
    row = MethodSpecification.parse("ldam:scale=10")
    method = row.build(COUNTS, {"scale": 20, "max_margin": 0.3})
    assert (method.scale, method.max_margin) == (10, 0.3)


def test_post_hoc_adjustment_is_behind_the_row():
    row = MethodSpecification.parse("deferred_reweighting:base=(ldam:scale=10)+logit_adjustment")
    assert row.post_hoc == "logit_adjustment"
    assert row.label == "deferred_reweighting:base=(ldam:scale=10)+logit_adjustment"
    assert row.trained.label == "deferred_reweighting:base=(ldam:scale=10)"
    assert MethodSpecification.parse(row.label) == row


def test_different_rows_have_different_file_names():
    texts = ["ldam", "ldam:scale=10", "ldam:scale=1", "crt:representation=(ldam:scale=10)", "ldam+logit_adjustment"]
    names = [MethodSpecification.parse(text).file_name for text in texts]
    assert len(set(names)) == len(names)
    assert not any(set(name) & set('/\\:*?"<>|() ') for name in names)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cross_entropi", "Unknown method: 'cross_entropi'.*'cross_entropy'"),
        ("crt:representation=cross_entropi", "Unknown method: 'cross_entropi'"),
        ("ldam:scale", "'scale' is not one"),
        ("ldam:scale=1,scale=2", "gives scale twice"),
        ("cross_entropy+logit_adjustmnt", "Unknown post-hoc adjustment.*'logit_adjustment'"),
        ("crt:representation=(cross_entropy+logit_adjustment)", "belongs behind the whole row"),
    ],
)
def test_a_mistake_is_named(text, message):
    with pytest.raises(ValueError, match=message):
        MethodSpecification.parse(text)


def test_an_unknown_option_is_named_when_the_method_is_built():
    with pytest.raises(ValueError, match="Unknown option of ldam: 'margin'.*'max_margin'"):
        MethodSpecification.parse("ldam:margin=1").build(COUNTS)


def test_rows_separated_by_commas():
    with pytest.raises(ValueError, match=r"Unknown method: 'crt,lws'.*Rows are separated by spaces\."):
        MethodSpecification.parse("crt,lws")


@pytest.fixture
def protocol(write_protocol):
    return load_protocol(write_protocol(rows=SETS))


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("mem", ["mem"]),
        ("mem:width={32,64,128}", ["mem:width=32", "mem:width=64", "mem:width=128"]),
        ("mem:width={ 32 , 64 },depth=2", ["mem:width=32,depth=2", "mem:width=64,depth=2"]),
        ("a:b={1,2},c={3,4}", ["a:b=1,c=3", "a:b=1,c=4", "a:b=2,c=3", "a:b=2,c=4"]),
        (
            "crt:representation=(ldam:scale={10,30})",
            [f"crt:representation=(ldam:scale={scale})" for scale in (10, 30)],
        ),
        (
            "crt:representation={focal,(ldam:scale=10,max_margin=0.3)}+logit_adjustment",
            [
                "crt:representation=focal+logit_adjustment",
                "crt:representation=(ldam:scale=10,max_margin=0.3)+logit_adjustment",
            ],
        ),
        ("a:b={[1,2],[3,4]}", ["a:b=[1,2]", "a:b=[3,4]"]),
        # Braces of JSON are a value.
        ('a:b={"x":1,"y":2}', ['a:b={"x":1,"y":2}']),
        ("a:b={}", ["a:b={}"]),
        ('a:b={{"x":1},{"y":{"z":2}}}', ['a:b={"x":1}', 'a:b={"y":{"z":2}}']),
        ('a:b={"x":1},c={1,2}', ['a:b={"x":1},c=1', 'a:b={"x":1},c=2']),
        ("a:b={1}", ["a:b=1"]),
    ],
)
def test_braces_are_expanded_as_a_shell_does(text, rows):
    assert expand_braces(text) == rows


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mem:width={32,64", "not closed"),
        ("mem:width=32,64}", "not opened"),
        ("mem:width={32,,64}", "empty alternative"),
        ("mem:width={32,}", "empty alternative"),
    ],
)
def test_broken_braces_are_named(text, message):
    with pytest.raises(ValueError, match=message):
        expand_braces(text)


def test_a_set_stands_for_its_rows(protocol):
    labels = [row.label for row in expand_rows(["crt", "@figure4"], SETS, "a test")]
    assert labels == ["crt", "ldam", "ldam:scale=10", "ldam:scale=20", "ldam:max_margin=0.3", "ldam:max_margin=0.7"]
    # Specifications are taken as they are.
    row = MethodSpecification.parse("crt")
    assert expand_rows([row], SETS, "a test") == [row]


@pytest.mark.parametrize(
    ("rows", "labels"),
    [
        (["@heads", "@figure4"], ["cross_entropy", "ldam:scale=10", "ldam", "ldam:scale=20"]),
        (["ldam", "@heads", "cross_entropy"], ["ldam", "cross_entropy", "ldam:scale=10"]),
        (["cross_entropy", "@heads"], ["cross_entropy", "ldam:scale=10"]),
    ],
)
def test_a_row_of_a_set_that_is_there_is_left_out(protocol, rows, labels):
    assert [row.label for row in expand_rows(rows, SETS, "a test")][: len(labels)] == labels
    found = [row.label for row in expand_rows(rows, SETS, "a test")]
    assert len(set(found)) == len(found)


def test_a_row_that_is_written_twice_is_refused(protocol, tmp_path):
    with pytest.raises(ValueError, match="ldam:scale=10 is given more than once"):
        Table(protocol, ["ldam:scale=10", "ldam:scale={10,20}"], [0], tmp_path)


def test_an_unknown_set_is_named_with_the_nearest(protocol, protocol_file, tmp_path):
    with pytest.raises(ValueError, match="Unknown set of rows in protocol tiny: 'figure3'.*'figure4'"):
        Table(protocol, ["@figure3"], [0], tmp_path)
    with pytest.raises(ValueError, match=r"'figure4'.*\(none\)"):
        TableReport(load_protocol(protocol_file), ["@figure4"], [0], tmp_path)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["mem"], "rows must hold lists of rows by name"),
        ({"a": "mem"}, "rows, a must be a list"),
        ({"a": []}, "rows, a must be a list"),
        ({"a": [3]}, "rows, a must be a list"),
        ({"a": ["mme"]}, "rows, a: Unknown method: 'mme'.*'mem'"),
        ({"a": ["mem:width={32"]}, "rows, a: .*not closed"),
        ({"a": ["mem", "mem:width={32,32}"]}, "rows, a has mem:width=32 more than once"),
        ({"a": ["mem"], "b": ["@a"]}, "rows, b: .*another set"),
    ],
)
def test_mistakes_in_the_sets_of_a_protocol_are_named(write_protocol, rows, message):
    with pytest.raises(ValueError, match=message):
        load_protocol(write_protocol(rows=rows))


def test_sets_decide_no_number(protocol, protocol_file):
    row = MethodSpecification.parse("ldam")
    plans = [Plan.make(one, row, 0, [500, 40, 5]) for one in (protocol, load_protocol(protocol_file))]
    assert plans[0].settings() == plans[1].settings()


def test_the_baseline_need_not_be_written_out():
    rows = [MethodSpecification.parse(text) for text in ("crt:sampler=instance", "ldam:scale=10", "ldam:scale=20")]
    assert find_baseline("crt", rows) == find_baseline("crt:sampler=instance", rows) == "crt:sampler=instance"
    assert find_baseline("ldam:scale=20", rows) == "ldam:scale=20"
    with pytest.raises(ValueError, match="'ldam' could be ldam:scale=10 or ldam:scale=20"):
        find_baseline("ldam", rows)
    for text in ("focal", "crt:sampler=reverse", "crt+logit_adjustment"):
        with pytest.raises(ValueError, match="must be one of the rows"):
            find_baseline(text, rows)
    # Exactly what is written comes before what could be meant.
    rows.append(MethodSpecification.parse("ldam"))
    assert find_baseline("ldam", rows) == "ldam"


def test_sets_braces_and_baselines_on_the_command_line(tmp_path, capsys):
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump({**PROTOCOL, "rows": SETS}), encoding="utf-8")
    command = ["table", "--protocol", str(path), "--report_only", "--output_dir", str(tmp_path / "t")]
    assert (
        main([*command, "--methods", "@heads", "crt:sampler={instance,square_root}", "--baseline", "cross_entropy"])
        == 0
    )
    printed = capsys.readouterr().out
    for row in ("cross_entropy", "ldam:scale=10", "crt:sampler=instance", "crt:sampler=square_root"):
        assert f"| {row} " in printed
    assert main([*command, "--methods", "@head"]) == 2
    assert "Unknown set of rows in protocol tiny: 'head'. Did you mean 'heads'?" in capsys.readouterr().err
    assert main([*command, "--methods", "@heads", "--baseline", "cross_entropy", "crt"]) == 2
    assert "Unknown baseline: 'crt'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "arguments", "tau", "label"),
    [
        (
            "crt:classifier.learning_rate=1e-2,sampler=instance",
            {"classifier.learning_rate": 0.01},
            None,
            "crt:sampler=instance,classifier.learning_rate=0.01",
        ),
        ("cross_entropy+logit_adjustment:tau=1.5", {}, 1.5, "cross_entropy+logit_adjustment:tau=1.5"),
        (
            "cross_entropy:train.num_train_epochs=3 + logit_adjustment: tau = 2",
            {"train.num_train_epochs": 3},
            2,
            "cross_entropy:train.num_train_epochs=3+logit_adjustment:tau=2",
        ),
    ],
)
def test_a_row_may_have_training_arguments_and_a_strength_of_its_own(text, arguments, tau, label):
    row = MethodSpecification.parse(text)
    assert (row.arguments, row.tau, row.label) == (arguments, tau, label)
    assert MethodSpecification.parse(row.label) == row
    assert row.trained.arguments == arguments and row.trained.tau is None
    assert not set(row.file_name) & set(":/ ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cross_entropy+logit_adjustment:tao=1", "tau"),
        ("cross_entropy+logit_adjustment:tau", r"\+logit_adjustment:tau=value"),
        ("cross_entropy+logit_adjustment:tau=-1", "at least 0"),
        ("cross_entropy+logit_adjustment:tau=much", "number"),
        ("cross_entropy+logit_adjustment:tau=1,tau=2", "twice"),
        ("crt:classifier.learning_rate=1,classifier.learning_rate=2", "twice"),
        ("crt:representation=(cross_entropy:train.learning_rate=1)", "belong to the whole row"),
    ],
)
def test_what_cannot_be_read_of_them_is_named(text, message):
    with pytest.raises(ValueError, match=message):
        MethodSpecification.parse(text)


def test_arguments_of_a_row_win_over_the_protocols_and_have_the_type_of_their_field(protocol_file):
    protocol = load_protocol(protocol_file)
    row = MethodSpecification.parse("crt:classifier.num_train_epochs=2,classifier.learning_rate=1")
    plan = Plan.make(protocol, row, 0, COUNTS)
    first, second = (plan.arguments_of(stage) for stage in plan.stages)
    assert (second["num_train_epochs"], second["learning_rate"]) == (2.0, 1.0)
    assert isinstance(second["learning_rate"], float)
    assert first["learning_rate"] == protocol.arguments["learning_rate"] and first["num_train_epochs"] == 2
    plain = Plan.make(protocol, MethodSpecification.parse("crt"), 0, COUNTS)
    assert plan.shared_stages("rows") == plain.shared_stages("rows"), "the stage before is still trained once"
    longer = Plan.make(protocol, MethodSpecification.parse("crt:representation.num_train_epochs=3"), 0, COUNTS)
    assert longer.shared_stages("rows") != plain.shared_stages("rows")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("crt:clasifier.learning_rate=1", "classifier"),
        ("crt:classifier.learning_rat=1", "learning_rate"),
        ("crt:classifier.seed=1", "The table sets it"),
        ("crt:classifier.learning_rate=fast", "classifier.learning_rate"),
    ],
)
def test_a_mistake_in_an_argument_of_a_row_is_found_before_the_data_are_read(text, message, protocol_file, tmp_path):
    table = Table(load_protocol(protocol_file), [text], [0], tmp_path, log=lambda text: None)
    table.data.splits = None  # would be called
    with pytest.raises(ValueError, match=message):
        table.check()


def test_the_preset_of_a_row_wins_over_the_protocols_options():
    row = MethodSpecification.parse("mem:preset=literal,top_k=2")
    method = row.build(COUNTS, {"activation": "exp", "top_k": 3, "width": 32})
    assert (method.activation, method.top_k, method.width) == ("none", 2, 32), "what it does not name stays"
    protocols = MethodSpecification.parse("mem:activation=exp").build(COUNTS, {"preset": "literal"})
    assert (protocols.activation, protocols.fusion_normalization) == ("exp", "none")
