"""The classifier: timm's initial weights, loading, outputs, logit adjustment, heads, checkpointing."""

import logging

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoModelForImageClassification

from hf_ltr.models import CosineHead, LongTailConfig, LongTailForImageClassification, LongTailOutput
from hf_ltr.models.backbone import backbone_arguments

# One small network per way that timm builds and initialises networks.
BACKBONES = {
    "resnet18": {"image_size": 32},
    "resnet20_cifar": {"drop_path_rate": 0.2, "drop_rate": 0.1},
    "vit_tiny_patch16_224": {"image_size": 32, "backbone_kwargs": {"depth": 2, "embed_dim": 32, "num_heads": 2}},
    "vit_pico_patch4_16": {"global_pool": "avg", "num_channels": 1},
    "convnext_atto": {"image_size": 32, "backbone_kwargs": {"depths": [1, 1, 1, 1], "dims": [8, 8, 8, 8]}},
    "mobilenetv3_small_050": {"image_size": 32},
    "swin_tiny_patch4_window7_224": {
        "image_size": 32,
        "backbone_kwargs": {"depths": [2, 2], "embed_dim": 24, "num_heads": [2, 4], "window_size": 4},
    },
    "eva02_tiny_patch14_224": {"image_size": 28, "backbone_kwargs": {"depth": 2, "embed_dim": 48, "num_heads": 2}},
    "vit_small_patch16_dinov3": {"image_size": 32, "backbone_kwargs": {"depth": 2, "embed_dim": 48, "num_heads": 2}},
    "beit_base_patch16_224": {"image_size": 32, "backbone_kwargs": {"depth": 2, "embed_dim": 32, "num_heads": 2}},
}
ANY_SIZE = ("resnet", "convnext", "mobilenet")  # these take no img_size


def make_config(name: str, **fields) -> LongTailConfig:
    return LongTailConfig(**{"backbone": name, "num_labels": 7, **BACKBONES.get(name, {}), **fields})


def make_model(name: str = "vit_pico_patch4_16", seed: int = 0, **fields) -> LongTailForImageClassification:
    torch.manual_seed(seed)
    return LongTailForImageClassification(make_config(name, **fields)).eval()


def images_for(model, batch: int = 3) -> torch.Tensor:
    config = model.config
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, config.num_channels, config.image_size, config.image_size, generator=generator)


@pytest.mark.parametrize("name", BACKBONES)
def test_scratch_weights_equal_timm_under_the_same_seed(name):
    config = make_config(name)
    arguments = backbone_arguments(config)
    if name.startswith(ANY_SIZE):
        arguments.pop("img_size", None)
    torch.manual_seed(3)
    reference = timm.create_model(name, num_classes=7, **arguments).eval()
    torch.manual_seed(3)
    model = LongTailForImageClassification(config).eval()
    expected = reference.state_dict()
    for key, value in model.backbone.state_dict().items():
        assert torch.equal(value, expected.pop(key)), key
    assert sorted(key.rsplit(".", 1)[-1] for key in expected) == ["bias", "weight"]  # only the classifier is left
    for key, value in expected.items():
        assert torch.equal(model.classifier.get_parameter(key.rsplit(".", 1)[-1]), value)
    images = images_for(model)
    with torch.no_grad():
        torch.testing.assert_close(model(images).logits, reference(images), rtol=0, atol=0)


def test_the_initialisation_of_transformers_is_kept_out():
    model = make_model("resnet18")
    # PreTrainedModel would draw N(0, 0.02) and set every norm weight to 1.
    assert model.backbone.layer1[0].conv1.weight.std().item() == pytest.approx(0.0589, rel=0.05)
    assert model.backbone.layer4[1].bn2.weight.abs().sum() == 0


@pytest.mark.parametrize("name", BACKBONES)
def test_loading_restores_all_buffers_and_leaves_the_random_state_alone(name, tmp_path):
    model = make_model(name)
    images = images_for(model)
    model.save_pretrained(tmp_path)
    torch.manual_seed(9)
    state = torch.get_rng_state()
    loaded, info = LongTailForImageClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert torch.equal(state, torch.get_rng_state())
    assert not any(info.values())
    auto = AutoModelForImageClassification.from_pretrained(tmp_path)
    assert type(auto) is LongTailForImageClassification
    with torch.no_grad():
        expected = model(images)
        for other in (loaded, auto):
            assert not other.training
            actual = other(images)
            assert torch.equal(actual.logits, expected.logits) and torch.equal(actual.features, expected.features)
    for (key, value), (_, other) in zip(model.named_buffers(), loaded.named_buffers(), strict=True):
        assert torch.equal(value, other), key


def test_persistent_buffers_and_parameters_missing_from_a_checkpoint_get_initial_values(tmp_path):
    from safetensors.torch import load_file, save_file

    model = make_model("resnet20_cifar")
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    counter = "backbone.layer1.0.bn1.num_batches_tracked"
    removed = ["backbone.bn1.running_var", counter, "backbone.layer3.2.conv2.weight"]
    for key in removed:
        del tensors[key]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    loaded, info = LongTailForImageClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert info["missing_keys"] == set(removed)
    assert loaded.backbone.bn1.running_var.eq(1).all()
    assert loaded.backbone.layer1[0].bn1.num_batches_tracked == 0
    weight = loaded.backbone.layer3[2].conv2.weight
    assert weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.05)
    assert torch.equal(loaded.backbone.conv1.weight, model.backbone.conv1.weight)


def test_a_new_head_for_other_classes(tmp_path):
    model = make_model("resnet20_cifar")
    model.save_pretrained(tmp_path)
    loaded = LongTailForImageClassification.from_pretrained(tmp_path, num_labels=400, ignore_mismatched_sizes=True)
    assert loaded.classifier.weight.shape == (400, 64) and torch.isfinite(loaded.classifier.weight).all()
    # As timm initialises this backbone's classifier.
    assert loaded.classifier.weight.std().item() == pytest.approx((2 / 64) ** 0.5, rel=0.05)
    assert torch.equal(loaded.backbone.conv1.weight, model.backbone.conv1.weight)
    cosine = LongTailForImageClassification.from_pretrained(
        tmp_path, num_labels=9, head="cosine", ignore_mismatched_sizes=True
    )
    torch.testing.assert_close(cosine.classifier.weight.norm(dim=0), torch.ones(9))
    with pytest.raises(ValueError, match="other shapes .*ignore_mismatched_sizes=True"):
        LongTailForImageClassification.from_pretrained(tmp_path, num_labels=400)


def test_weights_of_timm_are_never_fetched_while_loading(tmp_path, monkeypatch):
    make_model("resnet18")  # shapes are looked up once per process, without weights
    requests = []
    create = timm.create_model

    def record(name, pretrained=False, **kwargs):
        requests.append(pretrained)
        return create(name, pretrained=False, **kwargs)

    monkeypatch.setattr(timm, "create_model", record)
    model = make_model("resnet18", backbone_pretrained=True)
    assert requests and all(requests)
    model.save_pretrained(tmp_path)
    requests.clear()
    loaded = LongTailForImageClassification.from_pretrained(tmp_path)
    assert requests and not any(requests) and loaded.config.backbone_pretrained


def test_output_is_the_same_in_train_and_eval_mode():
    model = make_model(logit_adjustment={"tau": 1.0, "remove": [7, 6, 5, 4, 3, 2, 1]})
    images = images_for(model)
    labels = torch.tensor([0, 3, 6])
    evaluated, trained = model.eval()(images, labels), model.train()(images, labels)
    assert isinstance(evaluated, LongTailOutput)
    assert list(evaluated) == list(trained) == ["loss", "logits", "raw_logits", "features"]
    for key in evaluated:
        torch.testing.assert_close(evaluated[key], trained[key])
    assert evaluated.features.shape == (3, 96) and evaluated.expert_logits is None
    torch.testing.assert_close(evaluated.raw_logits, F.linear(evaluated.features, *model.classifier.parameters()))
    torch.testing.assert_close(evaluated.loss, F.cross_entropy(evaluated.logits, labels))


def test_soft_labels_and_tuples():
    model = make_model()
    images = images_for(model)
    soft = torch.softmax(torch.randn(3, 7), dim=1)
    loss, logits, *_ = model(images, labels=soft, return_dict=False)
    expected = -(soft * logits.log_softmax(dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(loss, expected)


def test_evaluation_gathers_logits_only():
    output = make_model()(torch.zeros(2, 1, 16, 16))
    ignored = LongTailConfig.keys_to_ignore_at_inference
    assert [key for key in output if key not in ignored] == ["logits"]


def test_logit_adjustment_in_float64():
    counts, target = [700, 60, 50, 4, 30, 2, 1], [0.1, 0.2, 0.1, 0.2, 0.1, 0.2, 0.1]
    model = make_model(logit_adjustment={"tau": 1.5, "remove": counts, "add": target})
    output = model(images_for(model))
    prior = torch.tensor(counts, dtype=torch.float64) / sum(counts)
    expected = output.raw_logits.double() - 1.5 * prior.log() + torch.tensor(target, dtype=torch.float64).log()
    torch.testing.assert_close(output.logits.double(), expected, rtol=1e-6, atol=1e-6)


def test_logit_adjustment_follows_the_config_and_survives_saving(tmp_path):
    model = make_model()
    images = images_for(model)
    plain = model(images).logits
    assert torch.equal(plain, model(images).raw_logits)
    model.set_logit_adjustment({"tau": 1.0, "remove": [9, 1, 1, 1, 1, 1, 1]})
    adjusted = model(images).logits
    torch.testing.assert_close(adjusted - plain, -torch.tensor([9 / 15] + [1 / 15] * 6).log().expand(3, 7))
    model.save_pretrained(tmp_path)
    assert torch.equal(AutoModelForImageClassification.from_pretrained(tmp_path)(images).logits, adjusted)
    model.config.logit_adjustment = {"add": [9, 1, 1, 1, 1, 1, 1]}  # assigned behind the model's back
    torch.testing.assert_close(model(images).logits - plain, torch.tensor([9 / 15] + [1 / 15] * 6).log().expand(3, 7))
    with pytest.raises(ValueError, match="class 2"):
        model.set_logit_adjustment({"remove": [1, 1, 0, 1, 1, 1, 1]})
    assert model.config.logit_adjustment == {"add": [9, 1, 1, 1, 1, 1, 1]}
    model.set_logit_adjustment(None)
    assert torch.equal(model(images).logits, plain)


@pytest.mark.parametrize("head", ["linear", "cosine"])
def test_autocast_and_low_precision(head):
    model = make_model(head=head, logit_adjustment={"remove": [7, 6, 5, 4, 3, 2, 1]})
    images, labels = images_for(model), torch.tensor([0, 3, 6])
    expected = model(images, labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(images, labels)
    assert output.loss.dtype == torch.float32
    torch.testing.assert_close(output.logits.float(), expected.logits, rtol=0.05, atol=0.3)
    lowered = model.to(torch.bfloat16)(images, labels)
    torch.testing.assert_close(lowered.logits.float(), expected.logits, rtol=0.05, atol=0.3)


def test_cosine_head_with_its_scale(tmp_path):
    model = make_model("resnet20_cifar", head="cosine")
    assert isinstance(model.classifier, CosineHead) and model.classifier.scale == 30.0
    images = images_for(model)
    expected = 30.0 * F.normalize(model(images).features) @ F.normalize(model.classifier.weight, dim=0)
    torch.testing.assert_close(model(images).logits, expected)
    model = make_model("resnet20_cifar", head="cosine", head_scale=16.0)
    model.save_pretrained(tmp_path)
    loaded = LongTailForImageClassification.from_pretrained(tmp_path)
    assert loaded.classifier.scale == 16.0
    assert torch.equal(loaded(images).logits, model(images).logits)


def test_a_scale_without_a_cosine_head_is_refused():
    with pytest.raises(ValueError, match="cosine"):
        make_model(head_scale=16.0)


def test_experts_are_refused_by_the_single_network():
    with pytest.raises(ValueError, match="num_experts is 3"):
        make_model(num_experts=3)


@pytest.mark.parametrize("fields", [{}, {"head": "cosine"}, {"head_init_std": 1e-3}], ids=["timm", "cosine", "std"])
def test_reset_classifier_draws_again_from_the_same_distribution(fields):
    model = make_model("resnet20_cifar", num_labels=500, **fields)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.reset_classifier()
    weight = model.classifier.weight
    assert not torch.equal(weight, before["classifier.weight"]) and weight.requires_grad
    assert weight.std().item() == pytest.approx(before["classifier.weight"].std().item(), rel=0.03)
    for name, value in model.state_dict().items():
        if not name.startswith("classifier."):
            assert torch.equal(value, before[name])


def test_reset_classifier_also_works_on_a_loaded_model(tmp_path):
    model = make_model("resnet20_cifar", head="cosine")
    model.save_pretrained(tmp_path)
    loaded = LongTailForImageClassification.from_pretrained(tmp_path)
    loaded.reset_classifier()
    assert not torch.equal(loaded.classifier.weight, model.classifier.weight)


def test_head_init_std_is_that_of_masked_autoencoder_fine_tuning():
    model = make_model(num_labels=100, head_init_std=2e-5)
    assert model.classifier.weight.std().item() == pytest.approx(2e-5, rel=0.05)
    assert model.classifier.bias.abs().sum() == 0


@pytest.mark.parametrize("name", ["resnet20_cifar", "vit_pico_patch4_16"])
def test_gradient_checkpointing(name):
    model = make_model(name).train()
    images, labels = images_for(model, batch=4), torch.tensor([0, 1, 2, 3])
    weight = next(model.backbone.parameters())

    def gradient():
        model.zero_grad()
        torch.manual_seed(0)  # drop path
        model(images, labels).loss.backward()
        return weight.grad.clone()

    expected = gradient()
    # Renamed between the transformers versions that are supported.
    enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
    disable = getattr(model, "activation_checkpointing_disable", model.gradient_checkpointing_disable)
    enable()
    assert model.backbone.grad_checkpointing and model.gradient_checkpointing
    torch.testing.assert_close(gradient(), expected)
    disable()
    assert not model.backbone.grad_checkpointing and not model.gradient_checkpointing


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing:FutureWarning")
def test_gradient_checkpointing_under_its_older_name():
    model = make_model()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    assert model.backbone.grad_checkpointing
    model.gradient_checkpointing_disable()
    assert not model.backbone.grad_checkpointing


def test_channels_last_gives_the_same_logits():
    model = make_model("resnet20_cifar")
    images = images_for(model)
    expected = model(images).logits
    model = model.to(memory_format=torch.channels_last)
    actual = model(images.to(memory_format=torch.channels_last)).logits
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


def test_every_parameter_gets_a_gradient():
    for name in ("resnet20_cifar", "vit_pico_patch4_16"):
        model = make_model(name).train()
        model(images_for(model), torch.tensor([0, 1, 2])).loss.backward()
        assert [key for key, parameter in model.named_parameters() if parameter.grad is None] == []


def test_torch_compile_makes_one_graph():
    modules = {"modulator": {"width": 8, "groups": [[0, 1, 2, 3], [4, 5, 6]]}}
    model = make_model(logit_adjustment={"remove": [7, 6, 5, 4, 3, 2, 1]}, modules=modules)
    images = images_for(model)
    explanation = torch._dynamo.explain(model)(images)
    assert explanation.graph_break_count == 0 and explanation.graph_count == 1


def test_no_report_when_nothing_is_missing(tmp_path, caplog):
    make_model().save_pretrained(tmp_path)
    with caplog.at_level(logging.WARNING):
        LongTailForImageClassification.from_pretrained(tmp_path)
    assert "LOAD REPORT" not in caplog.text


def test_modules_are_where_methods_look_for_them():
    model = make_model()
    assert isinstance(model.classifier, nn.Linear) and model.auxiliary_modules == []
    assert {name.split(".")[0] for name, _ in model.named_parameters()} == {"backbone", "classifier"}
