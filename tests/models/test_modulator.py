"""The modulator against a slow float64 reference of its equations, and the edge cases of its groups."""

import math

import pytest
import torch
import torch.nn.functional as F

from hf_ltr.models import LongTailConfig, LongTailForImageClassification, MutualExclusiveModulator

COUNTS = [300, 150, 101, 100, 60, 20, 19, 3]  # 3 many, 3 medium, 2 few
VIT = {"backbone": "vit_pico_patch4_16", "num_channels": 1}
TINY_VIT = {**VIT, "backbone_kwargs": {"depth": 2, "embed_dim": 16, "num_heads": 2}}


def make_config(fields=None, **options) -> LongTailConfig:
    options = {"width": 16, "top_k": 2, **options}
    return LongTailConfig(**{**TINY_VIT, "class_counts": COUNTS, **(fields or {}), "modules": {"modulator": options}})


def make_modulator(seed: int = 0, trained: bool = True, **options) -> MutualExclusiveModulator:
    """In float64; with `trained`, the fusion network's last layer is not at its initial zero any more."""
    torch.manual_seed(seed)
    modulator = MutualExclusiveModulator(make_config(**options)).double().eval()
    if trained:
        torch.nn.init.normal_(modulator.fusion[-1].weight, std=0.5)
    return modulator


def make_inputs(batch: int = 5, classes: int = len(COUNTS)) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randn(batch, 17, 16, generator=generator, dtype=torch.float64)
    return tokens, 4 * torch.randn(batch, classes, generator=generator, dtype=torch.float64)


def slow_reference(modulator, tokens, logits, groups, top_k):
    """Equations 2, 7 and 8, one image and one group at a time."""
    all_logits, all_magnitudes, all_weights = [], [], []
    for row in range(len(logits)):
        magnitudes, largest = [], []
        for group, classes in enumerate(groups):
            network = modulator.networks[group]
            hidden = network.blocks(network.projection(tokens[row : row + 1]))[0]
            patches = [hidden[position] for position in range(1, len(hidden))]
            vector = network.output(sum(patches) / len(patches))
            magnitudes.append(math.sqrt(sum(value.item() ** 2 for value in vector)))
            ordered = sorted((logits[row, index].item() for index in classes), reverse=True)
            largest += ordered[: min(top_k, len(classes))]
        inputs = torch.tensor(magnitudes + largest, dtype=torch.float64)
        mean, variance = inputs.mean(), inputs.var(unbiased=False)
        inputs = (inputs - mean) / torch.sqrt(variance + 1e-5)
        hidden = F.gelu(modulator.fusion[0](inputs))
        weights = torch.log1p(modulator.fusion[2](hidden).exp())
        modulated = logits[row].clone()
        for group, classes in enumerate(groups):
            for index in classes:
                modulated[index] = logits[row, index] * weights[group]
        all_logits.append(modulated)
        all_magnitudes.append(torch.tensor(magnitudes, dtype=torch.float64))
        all_weights.append(weights)
    return torch.stack(all_logits), torch.stack(all_magnitudes), torch.stack(all_weights)


@pytest.mark.parametrize("top_k", [1, 2, 5])
def test_equals_the_equations_in_float64(top_k):
    modulator = make_modulator(top_k=top_k)  # at 5, every group is smaller than K
    tokens, logits = make_inputs()
    groups = [[0, 1, 2], [3, 4, 5], [6, 7]]
    with torch.no_grad():
        actual = modulator(tokens, logits)
        expected = slow_reference(modulator, tokens, logits, groups, top_k)
    for computed, slow in zip(actual, expected, strict=True):
        torch.testing.assert_close(computed, slow, rtol=1e-9, atol=1e-9)
    assert actual[2].std() > 0.01  # the weights do differ


@pytest.mark.parametrize("activation", ["softplus", "none", "exp", "sigmoid2", "softmax"])
def test_all_weights_are_one_at_the_first_step(activation):
    modulator = make_modulator(trained=False, activation=activation)
    tokens, logits = make_inputs()
    modulated, magnitudes, weights = modulator(tokens, logits)
    assert magnitudes.shape == weights.shape == (5, 3)
    torch.testing.assert_close(weights, torch.ones_like(weights), rtol=0, atol=1e-7)
    torch.testing.assert_close(modulated, logits, rtol=0, atol=1e-6)


@pytest.mark.parametrize("activation", ["softplus", "exp", "sigmoid2", "softmax"])
def test_order_inside_a_group_never_changes(activation):
    modulator = make_modulator(activation=activation)
    tokens, logits = make_inputs(batch=64)
    modulated, _, weights = modulator(tokens, logits)
    assert (weights > 0).all() and weights.std() > 0.01
    for classes in ([0, 1, 2], [3, 4, 5], [6, 7]):
        assert torch.equal(modulated[:, classes].argsort(dim=1), logits[:, classes].argsort(dim=1))
    assert not torch.equal(modulated.argsort(dim=1), logits.argsort(dim=1))


def test_activations():
    tokens, logits = make_inputs()
    modulator = make_modulator(activation="none")
    linear = modulator(tokens, logits)[2]
    formulas = {
        "softplus": lambda x: torch.log1p(x.exp()),
        "exp": torch.exp,
        "sigmoid2": lambda x: 2 / (1 + torch.exp(-x)),
        "softmax": lambda x: x.shape[1] * torch.exp(x) / torch.exp(x).sum(dim=1, keepdim=True),
    }
    for name, formula in formulas.items():
        modulator.activation = name
        torch.testing.assert_close(modulator(tokens, logits)[2], formula(linear))
        mean = modulator(tokens, logits)[2].mean(dim=1)
        assert torch.allclose(mean, torch.ones_like(mean)) is (name == "softmax"), "cannot raise all logits at once"


@pytest.mark.parametrize("reference", ["min", "mean", "log_softmax"])
def test_logit_reference_keeps_the_softmax_of_the_first_step(reference):
    modulator = make_modulator(trained=False, logit_reference=reference)
    tokens, logits = make_inputs()
    modulated = modulator(tokens, logits)[0]
    torch.testing.assert_close(modulated.softmax(dim=1), logits.softmax(dim=1))
    properties = {
        "min": modulated.amin(dim=1),
        "mean": modulated.mean(dim=1),
        "log_softmax": modulated.logsumexp(dim=1),
    }
    torch.testing.assert_close(properties[reference], torch.zeros(5, dtype=torch.float64), rtol=0, atol=1e-7)


def test_patch_tokens_or_class_token():
    tokens, logits = make_inputs()
    mean, cls = make_modulator(pooling="mean"), make_modulator(pooling="cls")
    for modulator in (mean, cls):
        modulator.networks.requires_grad_(False)
        for network in modulator.networks:
            network.blocks = torch.nn.Identity()  # without attention, every output depends on its own token
    changed = tokens.clone()
    changed[:, 0] += 1
    assert torch.equal(mean.magnitudes(changed), mean.magnitudes(tokens))
    assert not torch.allclose(cls.magnitudes(changed), cls.magnitudes(tokens))
    pooled = tokens[:, 3]  # features that are pooled already count as one token
    torch.testing.assert_close(mean(pooled, logits)[1], mean(tokens[:, 3:4], logits)[1])


def test_magnitude_is_not_fixed_by_a_norm_and_has_a_gradient_at_zero():
    modulator = make_modulator()
    tokens, _ = make_inputs()
    assert modulator.magnitudes(tokens).std() > 1e-3
    for network in modulator.networks:
        torch.nn.init.zeros_(network.output.weight), torch.nn.init.zeros_(network.output.bias)
    magnitudes = modulator.magnitudes(tokens)
    magnitudes.sum().backward()
    assert magnitudes.max() < 1e-5
    assert all(torch.isfinite(parameter.grad).all() for parameter in modulator.networks[0].output.parameters())


def test_detach_magnitude_stops_the_gradient_of_the_logits_only():
    for detach in (False, True):
        modulator = make_modulator(detach_magnitude=detach)
        tokens, logits = make_inputs()
        modulated, magnitudes, _ = modulator(tokens, logits)
        modulated.sum().backward(retain_graph=True)
        reached = modulator.networks[0].output.weight.grad is not None
        assert reached is not detach
        magnitudes.sum().backward()
        assert modulator.networks[0].output.weight.grad.abs().sum() > 0


def test_under_autocast_only_the_blocks_are_rounded():
    torch.manual_seed(0)
    modulator = MutualExclusiveModulator(make_config()).eval()
    tokens, logits = (tensor.float() for tensor in make_inputs())
    expected = modulator(tokens, logits)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = modulator(tokens, logits)
        lowered = modulator(tokens.bfloat16(), logits.bfloat16())
    for value, other in zip(actual, expected, strict=True):
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, other, rtol=2e-2, atol=2e-2)
    assert all(value.dtype == torch.float32 for value in lowered)
    # The length itself is not rounded: a bfloat16 near 100 has steps of a half.
    with torch.no_grad():
        for network in modulator.networks:
            network.output.weight.zero_()
            network.output.bias.fill_(100.123 / network.output.bias.numel() ** 0.5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        magnitudes = modulator(tokens, logits)[1]
    torch.testing.assert_close(magnitudes, torch.full_like(magnitudes, 100.123), rtol=1e-6, atol=0)


def test_sizes():
    config = LongTailConfig(backbone="vit_tiny_patch4_32", class_counts=COUNTS, modules={"modulator": {}})
    modulator = MutualExclusiveModulator(config)
    assert modulator.top_k == [3, 3, 2] and modulator.fusion[0].in_features == 3 + 8
    assert modulator.fusion[0].out_features == 64 and modulator.networks[0].blocks[0].attn.num_heads == 4
    width, dim = 256, 192
    block = 4 * width * width + 8 * width * width + (3 + 1 + 4 + 1) * width + 4 * width
    expected = (dim + 1) * width + block + (width + 1) * width
    assert sum(parameter.numel() for parameter in modulator.networks[0].parameters()) == expected


def test_a_config_without_options_gives_the_defaults():
    modulator = MutualExclusiveModulator(LongTailConfig(**TINY_VIT, class_counts=COUNTS))
    assert modulator.group_of_class.tolist() == [0, 0, 0, 1, 1, 1, 2, 2]
    assert modulator.networks[0].projection.out_features == 256 and modulator.activation == "softplus"


@pytest.mark.parametrize(
    "options, message",
    [
        ({"groups": [[0, 1, 2], [3, 4, 5, 6]]}, "belong to no group"),
        ({"groups": [[0, 1, 2, 3], [3, 4, 5, 6, 7]]}, "disjoint"),
        ({"groups": [[0, 1, 2, 3], [], [4, 5, 6, 7]]}, "no class"),
        ({"groups": [[0, 1, 2, 3], [4, 5, 6, 8]]}, "names class 8"),
        ({"groups": [list(range(8))]}, "at least two groups"),
        ({"group_of_class": [0, 0, 0, 0, 2, 2, 2, 2]}, r"groups \[1\]"),
        ({"group_of_class": [0, 1]}, "2 entries for 8 classes"),
        ({"group_of_class": [0, 1] * 4, "groups": [[0]]}, "not both"),
        ({"activation": "relu"}, "softplus"),
        ({"pooling": "max"}, "mean"),
        ({"logit_reference": "max"}, "log_softmax"),
        ({"topk": 3}, "top_k"),
        ({"width": 0}, "positive integer"),
        ({"width": 100, "heads": 3}, "divisible"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make_config(**options)


def test_a_class_token_must_exist():
    with pytest.raises(ValueError, match="class token"):
        make_config({"backbone": "resnet20_cifar", "num_channels": 3, "backbone_kwargs": {}}, pooling="cls")


def test_explicit_groups_become_a_map(tmp_path):
    config = make_config(groups=[[7, 6], [0, 1, 2, 3, 4, 5]])
    options = config.modules["modulator"]
    assert options["group_of_class"] == [1, 1, 1, 1, 1, 1, 0, 0] and "groups" not in options


BACKBONES = {
    "vit, class token": {},
    "vit, mean of patches": {"global_pool": "avg"},
    "eva": {
        "backbone": "eva02_tiny_patch14_224",
        "image_size": 28,
        "num_channels": 3,
        "backbone_kwargs": {"depth": 2, "embed_dim": 48, "num_heads": 2},
    },
    "swin": {
        "backbone": "swin_tiny_patch4_window7_224",
        "image_size": 32,
        "num_channels": 3,
        "backbone_kwargs": {"depths": [2, 2], "embed_dim": 24, "num_heads": [2, 4], "window_size": 4},
    },
    "cnn": {"backbone": "resnet20_cifar", "num_channels": 3, "backbone_kwargs": {}},
}


@pytest.mark.parametrize("name", BACKBONES)
def test_in_the_classifier_and_back_from_disk(name, tmp_path):
    torch.manual_seed(0)
    config = make_config(BACKBONES[name])
    model = LongTailForImageClassification(config).eval()
    images = torch.randn(3, config.num_channels, config.image_size, config.image_size)
    with torch.no_grad():
        output = model(images)
        torch.testing.assert_close(output.base_logits, model.classifier(output.features))
        torch.testing.assert_close(output.logits, output.base_logits, rtol=0, atol=1e-5)
        torch.nn.init.normal_(model.modulator.fusion[-1].weight)
        output = model(images)
    assert output.extras["magnitudes"].shape == output.extras["group_weights"].shape == (3, 3)
    assert output.extras["group_weights"].std() > 1e-3
    assert not torch.allclose(output.logits, output.base_logits, rtol=1e-3, atol=0)
    model.save_pretrained(tmp_path)
    loaded, info = LongTailForImageClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    with torch.no_grad():
        again = loaded(images)
    torch.testing.assert_close(dict(again), dict(output), rtol=0, atol=0)


def test_tokens_are_those_before_the_final_norm():
    torch.manual_seed(0)
    model = LongTailForImageClassification(make_config()).eval()
    seen = {}
    model.modulator.register_forward_pre_hook(lambda module, inputs: seen.update(tokens=inputs[0]))
    model.backbone.blocks[-1].register_forward_hook(lambda module, inputs, output: seen.update(block=output))
    model(torch.randn(2, 1, 16, 16))
    assert torch.equal(seen["tokens"], seen["block"]) and seen["tokens"].shape == (2, 17, 16)


def test_tokens_of_a_network_are_the_positions_of_its_last_map():
    torch.manual_seed(0)
    model = LongTailForImageClassification(make_config(BACKBONES["cnn"])).eval()
    seen = {}
    model.modulator.register_forward_pre_hook(lambda module, inputs: seen.update(tokens=inputs[0]))
    model.backbone.layer3.register_forward_hook(lambda module, inputs, output: seen.update(maps=output))
    model(torch.randn(2, 3, 32, 32))
    assert seen["tokens"].shape == (2, 64, 64)
    torch.testing.assert_close(seen["tokens"][1, 8 * 3 + 5], seen["maps"][1, :, 3, 5])


def test_added_to_a_checkpoint_without_one_it_starts_at_the_base_classifier(tmp_path):
    torch.manual_seed(0)
    model = LongTailForImageClassification(LongTailConfig(**TINY_VIT, class_counts=COUNTS)).eval()
    model.save_pretrained(tmp_path)
    images = torch.randn(3, 1, 16, 16)
    loaded = LongTailForImageClassification.from_pretrained(tmp_path, modules={"modulator": {"width": 32, "top_k": 2}})
    with torch.no_grad():
        output = loaded(images)
        torch.testing.assert_close(output.logits, model(images).logits, rtol=0, atol=1e-5)
    assert output.extras["group_weights"].sub(1).abs().max() < 1e-6
    reference = MutualExclusiveModulator(loaded.config)
    for (key, value), (_, other) in zip(
        loaded.modulator.state_dict().items(), reference.state_dict().items(), strict=True
    ):
        if key == "group_of_class":
            assert torch.equal(value, other)
        else:  # as at construction: same spread, zero where zero
            torch.testing.assert_close(value.std(correction=0), other.std(correction=0), rtol=0.35, atol=0.02)
            assert value.abs().max() <= 1.5 * other.abs().max() + 0.05, key


def test_changed_groups_in_the_config_win_over_the_stored_map(tmp_path):
    torch.manual_seed(0)
    LongTailForImageClassification(make_config()).save_pretrained(tmp_path)
    options = {"width": 16, "top_k": 2, "group_of_class": [0, 0, 1, 1, 1, 2, 2, 2]}
    loaded = LongTailForImageClassification.from_pretrained(tmp_path, modules={"modulator": options})
    assert loaded.modulator.group_of_class.tolist() == options["group_of_class"]
    fresh = MutualExclusiveModulator(loaded.config)
    for name, buffer in loaded.modulator.named_buffers():
        assert torch.equal(buffer, fresh.get_buffer(name)), name


def test_every_parameter_gets_a_gradient_whatever_groups_the_batch_has():
    torch.manual_seed(0)
    model = LongTailForImageClassification(make_config()).train()
    torch.nn.init.normal_(model.modulator.fusion[-1].weight)
    output = model(torch.randn(4, 1, 16, 16), torch.zeros(4, dtype=torch.int64))  # one group only
    output.loss.backward()
    assert [key for key, parameter in model.named_parameters() if parameter.grad is None] == []
