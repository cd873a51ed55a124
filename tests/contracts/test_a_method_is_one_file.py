"""
The promise: a method with an option, an auxiliary network and a metric of its own is one file and its lines in the
registries. It keeps the contract, and has a page, a row of a table and a card, without anything else knowing of it.
"""

from __future__ import annotations

import importlib
import json
import math
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from docs.page import method_page
from hf_ltr import METHODS, get_method
from hf_ltr.cli.main import main
from hf_ltr.methods import check_options
from hf_ltr.models.modules import MODULES
from hf_ltr.table import Table
from hf_ltr.table.checks import RowChecks
from hf_ltr.table.protocol import load_protocol
from hf_ltr.table.rows import MethodSpecification

from ..table.conftest import PROTOCOL
from . import test_every_method as contract
from .builders import make_trainer

NAME, MODULE = "hesitant", "hesitation"


def register(folder: str) -> None:
    """What a user's `__init__.py` would do; the two workers do it too."""
    sys.path.insert(0, folder)
    try:
        added = importlib.import_module("others.hesitant")
    finally:
        sys.path.remove(folder)
    METHODS[NAME] = added.Hesitant
    MODULES[MODULE] = added.Hesitation


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A folder whose package `others` holds the method's file and nothing else, registered."""
    folder = tmp_path_factory.mktemp("packages")
    (folder / "others").mkdir()
    (folder / "others" / "__init__.py").touch()
    shutil.copy(Path(__file__).with_name("toy_method.py"), folder / "others" / "hesitant.py")
    register(str(folder))
    yield str(folder)
    del METHODS[NAME], MODULES[MODULE], sys.modules["others.hesitant"], sys.modules["others"]


@pytest.mark.parametrize(
    "kept",
    [
        contract.test_loss_is_finite_and_gradients_reach_what_is_declared,
        contract.test_one_step_changes_exactly_the_trained_parameters,
        contract.test_evaluation_changes_no_state,
        contract.test_evaluating_a_finished_model_does_not_set_it_up_again,
        contract.test_gradient_accumulation_changes_nothing,
        contract.test_resume_in_mid_epoch_is_bit_exact,
        contract.test_checkpoint_goes_through_auto_class_and_pipeline,
        contract.test_processor_repeats_what_evaluation_sees,
        contract.test_card_renders_with_method_and_source,
    ],
    ids=lambda test: test.__name__.removeprefix("test_"),
)
def test_it_keeps_the_contract(kept, package, tmp_path):
    kept(NAME, tmp_path)


def test_two_processes_equal_one(package, tmp_path, two_processes):
    two_processes.run("register", folder=package)
    contract.test_two_processes_equal_one(NAME, tmp_path, two_processes)


def test_it_is_described_and_documented(package):
    contract.test_description_rebuilds_the_method(NAME)
    contract.test_options_are_kept_under_their_names_and_documented(NAME)


def test_its_module_and_metric_are_in_training_and_evaluation(package, tmp_path):
    trainer = make_trainer(NAME, tmp_path, method_options={"width": 5}, max_steps=2, logging_steps=1)
    assert trainer.model.hesitation.network[0].out_features == 5
    trainer.train()
    assert math.isfinite(trainer.state.log_history[0]["loss/hesitation"])
    assert 0 <= trainer.evaluate()["eval_hesitation_rate"] <= 1


def test_its_options_are_checked_by_name_type_and_range(package):
    with pytest.raises(ValueError, match="Unknown option of hesitant: 'strenght'. Did you mean 'strength'"):
        check_options(NAME, {"strenght": 1.0})
    with pytest.raises(ValueError, match="width must be a whole number"):
        check_options(NAME, {"width": "wide"})
    with pytest.raises(ValueError, match="strength must not be negative"):
        get_method(NAME, class_counts=[5, 3], strength=-1)


def test_the_command_line_trains_it(package, capsys):
    assert main(["train", NAME, "--method_options", '{"widht": 3}']) == 2
    assert "Unknown option of hesitant: 'widht'. Did you mean 'width'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["train", NAME, "--method_options", '{"width": 3}', "--print_config"])
    assert "method: hesitant" in capsys.readouterr().out


def test_it_has_a_page_and_a_line_in_the_list(package, repository, capsys):
    page = method_page(NAME, repository, [], [])
    assert "# hesitant" in page and "On Hesitation" in page and "| `strength` | `0.1` |" in page
    assert main(["list"]) == 0
    assert "hesitant                strength, width  (On Hesitation)" in capsys.readouterr().out


def test_it_is_a_row_of_a_table(package, tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(PROTOCOL))
    protocol = load_protocol(path)
    Table(protocol, ["hesitant:strength=0.5"], [0], tmp_path / "table", log=lambda text: None).run()
    (result,) = (tmp_path / "table" / "results").glob("*.json")
    assert json.loads(result.read_text())["description"]["options"] == {"strength": 0.5, "width": 8}
    checks = RowChecks(protocol, tmp_path, 1)
    checks.before_data(MethodSpecification.parse("crt:representation=(hesitant:width=3)"), 0)
    for wrong, message in {
        "hesitant:widht=3": "Unknown option of hesitant: 'widht'. Did you mean 'width'",
        "hesitant+logit_adjustment": "hesitant has the class prior in its loss",
    }.items():
        with pytest.raises(ValueError, match=message):
            checks.before_data(MethodSpecification.parse(wrong), 0)
