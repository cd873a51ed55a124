"""The configs under recipes/configs: each parses, names its sources, and is shown as it runs."""

from __future__ import annotations

import re

import pytest
import yaml

from docs.recipe_configs import RecipeConfig, read_configs, settings_row
from hf_ltr.data.transforms.augmentation import Augmentation
from hf_ltr.models.backbone import check_backbone_name
from hf_ltr.trainer.optimization import PARAMETER_OPTIONS
from tests.contracts.recipe_parsing import parse_config

# A repository, a paper, or an honest word that the numbers are nobody else's.
SOURCE = re.compile(
    r"(?<![\w./-])(?!recipes/|configs?/|documents/|data/|losses/)[A-Za-z][\w-]+/[A-Za-z][\w.-]+|\bet al\.|"
    r"\bBagofTricks-LT\b|\bsupplement\b|chosen on the validation split",
    re.IGNORECASE,
)
# Published datasets whose class counts are fixed: an imbalance factor would be ignored or wrong.
NATIVE = ("imagenet_lt", "places_lt", "inat18")


def _configs(repository):
    return sorted((repository / "recipes" / "configs").rglob("*.yaml"))


def test_every_config_parses_and_names_its_sources(repository):
    paths = _configs(repository)
    assert len(paths) > 60
    for path in paths:
        text = path.read_text(encoding="utf-8")
        comment = " ".join(line for line in text.splitlines() if line.startswith("#"))
        assert SOURCE.search(comment), f"{path.name} does not say where its numbers come from"
        parse_config(path)


def test_names_inside_a_config_are_known(repository):
    """Backbones and augmentations, which only a loaded dataset would bring to light."""
    for config in read_configs(repository):
        if "backbone" in config.values:
            check_backbone_name(config.values["backbone"])
        for _, settings in config.stages():
            names = [name for name in settings["augmentation"] if name != "auto"]
            given = settings["augmentation_options"] or {}
            Augmentation(names, given, image_size=(32, 32))
            for options in (settings["parameter_options"] or {}).values():
                assert set(options) <= set(PARAMETER_OPTIONS), config.path.name


def test_no_config_sets_a_folder_of_one_machine_or_the_seed_of_luck(repository):
    for path in _configs(repository):
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert "data_dir" not in values, path.name
        assert values.get("seed") == 0, path.name
        if values.get("dataset") in NATIVE:
            assert "imbalance_factor" not in values, path.name


@pytest.mark.parametrize("dataset", NATIVE)
@pytest.mark.parametrize("method", ["cross_entropy", "balanced_softmax", "lade", "pc_softmax", "crt", "lws", "mislas"])
def test_the_methods_of_the_large_tables_have_their_settings(method, dataset, repository):
    found = [config for config in read_configs(repository) if config.values.get("dataset") == dataset]
    assert [config.path.name for config in found if config.names_a_method and config.method == method]


def test_the_small_resnet_is_the_one_of_the_papers(repository):
    """ResNet-10: one basic block per stage, plain stem, 5.4 million parameters with 1,000 classes."""
    import timm

    config = next(c for c in read_configs(repository) if c.path.name == "imagenet_lt_cdb.yaml")
    model = timm.create_model(config.values["backbone"], num_classes=1000, **config.values["backbone_kwargs"])
    assert sum(parameter.numel() for parameter in model.parameters()) == 5_418_792
    assert [len(getattr(model, f"layer{stage}")) for stage in (1, 2, 3, 4)] == [1, 1, 1, 1]
    assert model.conv1.kernel_size == (7, 7) and model.num_features == 512


def test_parameter_options_match_the_parameters_they_are_for(repository):
    """Expressions for the backbone and for MiSLAS on Places-LT, on the names a model really has."""
    from hf_ltr import LongTailConfig, LongTailForImageClassification

    config = LongTailConfig(backbone="resnet18", backbone_kwargs={"layers": [1, 1, 1, 3]}, class_counts=[3, 2])
    names = [name for name, _ in LongTailForImageClassification(config).named_parameters()]
    read = {config.path.name: config for config in read_configs(repository)}
    backbone = next(iter(read["places_lt_lade.yaml"].values["parameter_options"]))
    assert {name.split(".")[0] for name in names if not re.search(backbone, name)} == {"classifier"}
    frozen = next(iter(read["places_lt_mislas.yaml"].options.sections["representation"]["parameter_options"]))
    trained = {name.rsplit(".", 2)[0] for name in names if not re.search(frozen, name)}
    assert {name for name in trained if name.startswith("backbone")} == {"backbone.layer4.2"}
    bias = next(iter(read["imagenet_lt_class_balanced.yaml"].values["parameter_options"]))
    assert [name for name in names if re.search(bias, name)] == ["classifier.bias"]


def _config(tmp_path, text, script="classifier"):
    folder = tmp_path / "recipes" / "configs" / script
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "made.yaml"
    path.write_text(text, encoding="utf-8")
    return RecipeConfig.read(path)


def test_settings_are_those_the_stages_run_with(tmp_path):
    config = _config(
        tmp_path,
        "# One line\n# and another.\n"
        "dataset: cifar100\nimbalance_factor: 50\nmethod: mislas\nweight_decay: 1e-4\nsave_strategy: no\n"
        "method_options: {mixup_alpha: 0.2}\naugmentation: [random_crop]\n"
        "representation: {num_train_epochs: 7, lr_milestones: [3, 5], lr_milestone_factor: 0.1, warmup_epochs: 1}\n"
        "classifier: {num_train_epochs: 2, warmup_epochs: 0, optim: adamw_torch, learning_rate: 3.0e-4}\n",
        "decoupled",
    )
    assert (config.comment, config.dataset) == ("One line and another.", "CIFAR-100-LT, IF 50")
    assert config.method == "mislas" and config.names_a_method
    (first, representation), (second, classifier) = config.stages()
    assert (first, second) == ("representation", "classifier")
    words = settings_row(representation)
    assert words["length"] == "7 epochs" and words["schedule"] == "x0.1 at 3, 5, warm-up 1"
    assert words["decay"] == "0.0001" and words["optimiser"] == "SGD 0.9"
    assert words["augmentation"] == "random crop, mixup 0.2"  # mixup is what the method sets for this stage
    words = settings_row(classifier)
    assert words["augmentation"] == "random crop" and words["optimiser"] == "adamw" and words["rate"] == "0.0003"
    assert words["schedule"] == "cosine"


def test_a_stage_without_training_and_a_config_for_any_method(tmp_path):
    config = _config(tmp_path, "# x\nmethod: ncm\nrepresentation: {num_train_epochs: 3}\n", "decoupled")
    assert [settings_row(settings)["length"] for _, settings in config.stages()] == [
        "3 epochs",
        "nothing is trained",
    ]
    config = _config(tmp_path, "# x\ndataset: digits\n")
    assert not config.names_a_method and config.method == "cross_entropy"
    ((name, settings),) = config.stages()
    assert name is None and settings_row(settings)["length"] == "200 epochs"
    assert settings_row(settings)["augmentation"] == "by image size"
