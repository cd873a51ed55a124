import pytest
import yaml
from huggingface_hub import parse_eval_result_entries

from hf_ltr.hub import is_hub_id, write_eval_results

METRICS = {"accuracy": 0.5, "many": 0.75, "few": 0.25, "loss": 1.0}


def test_results_are_written_in_the_format_of_the_hub(tmp_path):
    path = write_eval_results(tmp_path, METRICS, dataset="uoft-cs/cifar100", notes="imbalance factor 100")
    assert path == tmp_path / ".eval_results" / "uoft-cs--cifar100.yaml"
    entries = parse_eval_result_entries(yaml.safe_load(path.read_text(encoding="utf-8")))
    assert {entry.task_id: entry.value for entry in entries} == {
        "long_tailed_accuracy": 0.5,
        "long_tailed_many": 0.75,
        "long_tailed_few": 0.25,
    }
    assert {entry.dataset_id for entry in entries} == {"uoft-cs/cifar100"}
    assert {entry.notes for entry in entries} == {"imbalance factor 100"}


def test_only_hub_data_sets_are_linked(tmp_path, monkeypatch):
    assert is_hub_id("uoft-cs/cifar100")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "photos").mkdir(parents=True)
    for dataset in (None, "digits", "data/photos", str(tmp_path), "./data/x", "a/b/c", "a b/c"):
        assert not is_hub_id(dataset)
        assert write_eval_results(tmp_path, METRICS, dataset=dataset) is None
    assert write_eval_results(tmp_path, {"loss": 1.0}, dataset="uoft-cs/cifar100") is None
    assert not (tmp_path / ".eval_results").exists()


def test_a_metric_that_is_not_a_number_is_refused(tmp_path):
    with pytest.raises(ValueError, match="'few' is nan"):
        write_eval_results(tmp_path, METRICS | {"few": float("nan")}, dataset="uoft-cs/cifar100")
    assert not (tmp_path / ".eval_results").exists()
