import pytest
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.repocard import metadata_load

from hf_ltr.hub import CardFacts, model_card, write_model_card

PAPER = {
    "title": "Mutual Exclusive Modulator for Long-Tailed Recognition",
    "authors": "Haixu Long, Xiaolin Zhang",
    "year": 2023,
    "url": "https://arxiv.org/abs/2302.09498",
}
METRICS = {
    "accuracy": 0.912,
    "balanced_accuracy": 0.905,
    "many": 0.99,
    "few": 0.81,
    "loss": 0.4,
    "classes_without_test_images": [2],
}


def full_facts(**changes):
    facts = {
        "model_name": "digits-mem",
        "model_id": "someone/digits-mem",
        "method": "mem",
        "options": {"margin_positive": 100.0, "classifier": "frozen"},
        "papers": [PAPER],
        "backbone": "vit_tiny_16",
        "license": "apache-2.0",
        "dataset": "uoft-cs/cifar100",
        "dataset_name": "CIFAR-100-LT, imbalance factor 100",
        "test_split": "test",
        "class_counts": [124, 101, 50, 3, 2],
        "row_hash": "0123abcd",
        "metrics": METRICS,
        "comparisons": {"fine-tuned | CE": {"accuracy": 0.89, "many": 0.99, "medium": 0.9, "few": 0.75}},
        "paper_results": {"MEM, ViT-B": {"accuracy": 0.5888}},
        "paper_protocol": "ImageNet-LT, 224 pixels.",
        "selection": "the last epoch.",
        "arguments": {"learning_rate": 1e-3, "output_dir": "runs/$HOME"},
        "command": "accelerate launch recipes/mem_vit.py --seed 3",
        "commit": "0" * 40,
        "seed": 3,
        "epochs": 12.5,
        "steps": 400,
        "wall_time": 3725.0,
        "hardware": "2 cores of Some Processor",
        "versions": {"torch": "2.11.0"},
        "figures": {"Accuracy per class": "figures/classes.png"},
        "limitations": ["Digits only."],
    }
    return CardFacts(**(facts | changes))


def test_the_card_reads_back_with_its_metadata(tmp_path):
    path = write_model_card(tmp_path / "model", full_facts())
    assert path == tmp_path / "model" / "README.md"
    data = ModelCard.load(path).data
    assert data.license == "apache-2.0" and data.pipeline_tag == "image-classification"
    assert data.library_name == "transformers" and data.datasets == ["uoft-cs/cifar100"]
    assert {"long-tailed-recognition", "mem", "hf_ltr"} <= set(data.tags)
    assert data.model_name == "digits-mem"
    values = {result.metric_name: result.metric_value for result in data.eval_results}
    assert values == {
        "accuracy": 0.912,
        "balanced accuracy": 0.905,
        "accuracy on classes with many training images": 0.99,
        "accuracy on classes with few training images": 0.81,
    }
    assert {result.dataset_type for result in data.eval_results} == {"uoft-cs/cifar100"}
    assert {result.dataset_split for result in data.eval_results} == {"test"}
    index = metadata_load(path)["model-index"]
    assert len(index) == 1 and len(index[0]["results"]) == 1 and len(index[0]["results"][0]["metrics"]) == 4


def test_the_card_tells_every_fact():
    text = model_card(full_facts())
    for fact in (
        "# digits-mem",
        "import hf_ltr.models",
        'from_pretrained("someone/digits-mem")',
        "`margin_positive`: `100.0`",
        "[Mutual Exclusive Modulator for Long-Tailed Recognition](https://arxiv.org/abs/2302.09498)",
        "Imbalance factor: 62",
        "Training images: 280",
        "Training images per class: 2 to 124",
        "many: 2 classes with 225 images, medium: 1 class with 50 images, few: 2 classes with 5 images",
        "`0123abcd`",
        "| fine-tuned \\| CE | 89.0 | 99.0 |   90.0 | 75.0 |",
        "| **digits-mem**   | 91.2 | 99.0 |      - | 81.0 |",
        "Selected weights: the last epoch.",
        "not a result of this model",
        "58.9",
        "`learning_rate`: `0.001`",
        "`runs/$HOME`",
        "accelerate launch recipes/mem_vit.py --seed 3",
        "Epochs: 12.5",
        "Training time of all stages: 1 h 2 min",
        "Commit: `" + "0" * 40,
        "2 cores of Some Processor",
        "torch 2.11.0",
        "![Accuracy per class](figures/classes.png)",
        "- Digits only.",
        "2 of 5 classes were learned from at most 3 images",
        "Nothing is known about the 1 class without test images.",
        "@misc{long2023,",
        "author = {Haixu Long and Xiaolin Zhang}",
    ):
        assert fact in text, fact
    assert "nan" not in text.lower().split() and "None" not in text and "$metadata" not in text
    assert "\n\n\n" not in text


def test_missing_facts_are_left_out(tmp_path):
    path = write_model_card(tmp_path, CardFacts(model_name="bare"))
    text = path.read_text(encoding="utf-8")
    assert [line for line in text.splitlines() if line.startswith("## ")] == ["## How to use"]
    assert "None" not in text and "license" not in text and "nan" not in text.lower().split()
    metadata = yaml.safe_load(text.split("---")[1])
    assert set(metadata) == {"library_name", "pipeline_tag", "tags"}


def test_data_that_is_not_on_the_hub_is_not_linked():
    for dataset, dataset_type in (("digits", "digits"), ("./My Photos", "my-photos")):
        card = ModelCard(model_card(full_facts(dataset=dataset, dataset_name=None)))
        assert card.data.datasets is None
        assert {result.dataset_type for result in card.data.eval_results} == {dataset_type}


def test_own_bibtex_is_kept_and_authors_may_be_a_list():
    text = model_card(full_facts(papers=[PAPER | {"bibtex": "@inproceedings{long, title={X}}"}]))
    assert "@inproceedings{long, title={X}}" in text and "@misc" not in text
    assert "author = {A B and C D}" in model_card(full_facts(papers=[PAPER | {"authors": ["A B", "C D"]}]))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_metric_that_is_not_a_number_is_refused(value):
    with pytest.raises(ValueError, match="few"):
        model_card(full_facts(metrics=METRICS | {"few": value}))
    with pytest.raises(ValueError, match="balanced_accuracy"):
        model_card(full_facts(metrics=METRICS | {"balanced_accuracy": value}))


@pytest.mark.parametrize(
    "license, metadata, words",
    [
        ("cc-by-nc-4.0", "cc-by-nc-4.0", "which are under CC-BY-NC 4.0: not for commercial use."),
        ("cc-by-nc-sa-4.0", "cc-by-nc-sa-4.0", "which are under CC-BY-NC-SA 4.0: not for commercial use."),
        ("apache-2.0", "apache-2.0", "which are under the licence apache-2.0: its terms hold here too."),
        (None, "unknown", "whose licence is not recorded: find it out before these weights are used or shared."),
    ],
)
def test_the_terms_of_the_initial_weights(license, metadata, words):
    initial = {"name": "someone/weights", "license": license}
    card = ModelCard(model_card(CardFacts(model_name="tuned", initial_weights=initial)))
    assert card.data.license == metadata and card.data.base_model == "someone/weights"
    assert f"- Trained from the weights `someone/weights`, {words}" in card.content.splitlines()


def test_what_is_said_of_licence_and_base_goes_before_the_initial_weights():
    initial = {"name": "someone/weights", "license": "cc-by-nc-4.0"}
    facts = full_facts(initial_weights=initial, base_model="someone/tuned", license="other")
    card = ModelCard(model_card(facts))
    assert card.data.license == "other" and card.data.base_model == "someone/tuned"
    assert "not for commercial use" in card.content  # the terms do not go away


def test_weights_that_are_not_on_the_hub_are_not_linked():
    card = ModelCard(model_card(CardFacts(model_name="tuned", initial_weights={"name": "mine", "license": None})))
    assert card.data.base_model is None and "`mine`" in card.content
