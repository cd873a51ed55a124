"""The masked autoencoder against slow references: loss, masks, position embeddings; its way into the classifier."""

import logging
import math
from functools import partial

import pytest
import timm
import torch
from timm.models.vision_transformer import VisionTransformer

from hf_ltr.models import (
    LongTailConfig,
    LongTailForImageClassification,
    MaskedAutoencoder,
    sine_cosine_position_embedding,
)
from hf_ltr.models.backbones.convolutional_vision_transformer import (
    ConvolutionalVisionTransformer,
    convert_released_checkpoint,
)

from ..backbones.convolutional_reference import encode, layer_norm, random_weights

SMALL = {"decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2}
ENCODER = {"backbone": "vit_pico_patch4_16", "backbone_kwargs": {"depth": 2, "embed_dim": 24, "num_heads": 2}}
STAGES = {"stage_dims": [4, 8], "stage_depths": [1, 2]}
# The same sixteen patches of four pixels, without a class token.
CONVOLUTIONAL = {
    "backbone": "convvit_tiny_patch4_32",
    "image_size": 16,
    "backbone_kwargs": {"depth": 2, "embed_dim": 24, "num_heads": 2, **STAGES},
}
both_encoders = pytest.mark.parametrize("encoder", [ENCODER, CONVOLUTIONAL], ids=["plain", "convolutional"])


def make_model(seed: int = 0, channels: int = 3, fields=None, **options) -> MaskedAutoencoder:
    torch.manual_seed(seed)
    fields = {**ENCODER, "num_channels": channels, **(fields or {})}
    return MaskedAutoencoder(LongTailConfig(**fields, masked_autoencoder={**SMALL, **options})).eval()


def make_images(batch: int = 3, channels: int = 3, size: int = 16) -> torch.Tensor:
    return torch.randn(batch, channels, size, size, generator=torch.Generator().manual_seed(1))


def make_noise(batch: int = 3, patches: int = 16) -> torch.Tensor:
    return torch.rand(batch, patches, generator=torch.Generator().manual_seed(2))


def slow_table(dim: int, rows: int, columns: int, prefix: int) -> list[list[float]]:
    """Entry by entry: half the vector for the column, half for the row; in each, sines and then cosines."""
    table = [[0.0] * dim for _ in range(prefix)]
    for row in range(rows):
        for column in range(columns):
            vector = []
            for coordinate in (column, row):
                angles = [coordinate / 10000 ** (index / (dim // 4)) for index in range(dim // 4)]
                vector += [math.sin(angle) for angle in angles] + [math.cos(angle) for angle in angles]
            table.append(vector)
    return table


def test_position_embedding_equals_a_slow_table():
    table = sine_cosine_position_embedding(24, 3, 5, num_prefix_tokens=1)
    torch.testing.assert_close(table, torch.tensor(slow_table(24, 3, 5, 1)), rtol=1e-6, atol=1e-7)
    with pytest.raises(ValueError, match="divisible by 4"):
        sine_cosine_position_embedding(6, 2, 2)


def test_initialisation():
    model = make_model(fields={"backbone_kwargs": {"depth": 2, "embed_dim": 96, "num_heads": 2}})
    expected = torch.tensor(slow_table(96, 4, 4, 1))
    torch.testing.assert_close(model.backbone.pos_embed[0], expected, rtol=1e-6, atol=1e-7)
    assert not model.backbone.pos_embed.requires_grad
    torch.testing.assert_close(model.decoder.position_embedding[0], torch.tensor(slow_table(16, 4, 4, 1)))
    # Xavier-uniform, the patch projection as a matrix of fan in 48 and fan out 96.
    for weight, fans in ((model.backbone.patch_embed.proj.weight, 48 + 96), (model.decoder.embedding.weight, 96 + 16)):
        bound = math.sqrt(6 / fans)
        assert 0.95 * bound < weight.abs().max() <= bound
        assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)
    assert model.backbone.cls_token.std().item() == pytest.approx(0.02, rel=0.3)
    assert model.decoder.mask_token.std().item() == pytest.approx(0.02, rel=0.6)
    assert model.backbone.blocks[0].attn.qkv.bias.abs().sum() == 0
    assert model.backbone.norm.weight.eq(1).all() and model.backbone.norm.eps == 1e-6


@both_encoders
def test_predictions_of_masked_patches_differ_between_positions(encoder):
    model = make_model(fields=encoder)
    output = model(make_images(), make_noise())
    masked = output.prediction[0][output.mask[0].bool()]
    assert masked.std(dim=0).mean() > 1e-2


@pytest.mark.parametrize("normalize", [True, False])
def test_loss_equals_a_slow_reference_in_float64(normalize):
    model = make_model(norm_pix_loss=normalize).double()
    images, noise = make_images().double(), make_noise()
    output = model(images, noise)
    total = []
    for index in range(3):
        order = sorted(range(16), key=lambda patch: noise[index, patch].item())
        hidden = set(order[4:])
        assert {patch for patch in range(16) if output.mask[index, patch] == 1} == hidden
        losses = []
        for patch in hidden:
            row, column = divmod(patch, 4)
            pixels = [
                images[index, channel, 4 * row + y, 4 * column + x].item()
                for y in range(4)
                for x in range(4)
                for channel in range(3)
            ]
            if normalize:
                mean = sum(pixels) / 48
                variance = sum((pixel - mean) ** 2 for pixel in pixels) / 47
                pixels = [(pixel - mean) / math.sqrt(variance + 1e-6) for pixel in pixels]
            predicted = output.prediction[index, patch].tolist()
            losses.append(sum((a - b) ** 2 for a, b in zip(predicted, pixels, strict=True)) / 48)
        total.append(sum(losses) / len(losses))
    expected = torch.tensor(total, dtype=torch.float64)
    torch.testing.assert_close(output.loss_per_sample, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(output.loss, expected.mean(), rtol=1e-9, atol=1e-9)


def test_patches_and_back():
    model = make_model()
    images = make_images()
    assert torch.equal(model.unpatchify(model.patchify(images)), images)


@pytest.mark.parametrize("ratio, visible", [(0.75, 4), (0.5, 8), (0.9, 1), (0.7, 4)])
def test_number_of_visible_patches(ratio, visible):
    model = make_model(mask_ratio=ratio)
    output = model(make_images())
    assert model.num_patches == 16 and model.num_visible == visible
    assert output.mask.sum(dim=1).tolist() == [16 - visible] * 3


def test_a_ratio_that_hides_everything_is_refused():
    with pytest.raises(ValueError, match="0 of 16 patches visible"):
        make_model(mask_ratio=0.99)


@both_encoders
def test_encoder_sees_visible_patches_only(encoder):
    model = make_model(fields=encoder)
    images, noise = make_images(), make_noise()
    lengths = []
    model.backbone.blocks[0].register_forward_pre_hook(lambda module, inputs: lengths.append(inputs[0].shape[1]))
    output = model(images, noise)
    assert lengths == [model.backbone.num_prefix_tokens + 4]
    patches = model.patchify(images)
    hidden_changed = model.unpatchify(torch.where(output.mask[..., None].bool(), patches + 1, patches))
    assert torch.equal(model(hidden_changed, noise).prediction, output.prediction)
    visible_changed = model.unpatchify(torch.where(output.mask[..., None].bool(), patches, patches + 1))
    assert not torch.allclose(model(visible_changed, noise).prediction, output.prediction)


@both_encoders
def test_with_nothing_hidden_from_it_the_encoder_is_timm(encoder):
    model = make_model(fields=encoder)
    images = make_images()
    everything = torch.arange(16).expand(3, 16)
    with torch.no_grad():
        if model.decoder.fusion is not None:
            # The classifier's features have no part of it.
            for parameter in model.decoder.fusion.parameters():
                parameter.zero_()
        encoded = model.encode(images, everything)
        torch.testing.assert_close(encoded, model.backbone.forward_features(images))


@both_encoders
def test_noise_decides_the_mask_row_by_row(encoder):
    model = make_model(fields=encoder)
    images, noise = make_images(), make_noise()
    output = model(images, noise)
    order = torch.tensor([2, 0, 1])
    permuted = model(images[order], noise[order])
    assert torch.equal(permuted.mask, output.mask[order])
    torch.testing.assert_close(permuted.loss_per_sample, output.loss_per_sample[order])
    torch.manual_seed(0)
    first = model(images).mask
    assert not torch.equal(first, model(images).mask)
    with pytest.raises(ValueError, match="noise must have shape"):
        model(images, noise[:, :8])


@both_encoders
def test_every_parameter_but_the_position_embedding_gets_a_gradient(encoder):
    model = make_model(fields=encoder).train()
    model(make_images()).loss.backward()
    assert [key for key, parameter in model.named_parameters() if parameter.grad is None] == ["backbone.pos_embed"]


@both_encoders
def test_a_few_steps_reduce_the_loss(encoder):
    model = make_model(fields=encoder).train()
    images, noise = make_images(8), make_noise(8)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    first = model(images, noise).loss.item()
    for _ in range(30):
        optimizer.zero_grad()
        loss = model(images, noise).loss
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.8 * first


@both_encoders
def test_autocast_keeps_the_loss_in_float32(encoder):
    model = make_model(fields=encoder)
    images, noise = make_images(), make_noise()
    expected = model(images, noise)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(images, noise)
    assert output.loss_per_sample.dtype == torch.float32
    torch.testing.assert_close(output.loss, expected.loss, rtol=0.02, atol=0.02)


@both_encoders
@pytest.mark.filterwarnings("ignore:`gradient_checkpointing:FutureWarning")
def test_gradient_checkpointing(encoder):
    model = make_model(fields=encoder).train()
    images, noise = make_images(), make_noise()
    gradients = []
    for enabled in (False, True):
        if enabled:
            model.gradient_checkpointing_enable()
        model.zero_grad()
        model(images, noise).loss.backward()
        gradients.append(model.backbone.patch_embed.proj.weight.grad.clone())
    torch.testing.assert_close(*gradients)


@both_encoders
def test_save_and_load(encoder, tmp_path):
    model = make_model(mask_ratio=0.5, norm_pix_loss=False, fields=encoder)
    model.save_pretrained(tmp_path)
    state = torch.get_rng_state()
    loaded, info = MaskedAutoencoder.from_pretrained(tmp_path, output_loading_info=True)
    assert torch.equal(state, torch.get_rng_state())
    assert not any(info.values())
    assert loaded.config.masked_autoencoder == {"mask_ratio": 0.5, "norm_pix_loss": False, **SMALL}
    assert not loaded.backbone.pos_embed.requires_grad
    images, noise = make_images(), make_noise()
    for key, value in model(images, noise).items():
        assert torch.equal(value, loaded(images, noise)[key])


@pytest.mark.parametrize("pool", ["avg", None])
def test_the_encoder_becomes_the_classifiers_backbone_without_conversion(tmp_path, pool, caplog):
    model = make_model()
    model.save_pretrained(tmp_path)
    fields = {"class_counts": [30, 20, 10], "global_pool": pool, "head_init_std": 2e-5, "drop_path_rate": 0.1}
    with caplog.at_level(logging.WARNING):
        classifier, info = LongTailForImageClassification.from_pretrained(tmp_path, output_loading_info=True, **fields)
    assert info["missing_keys"] == {"classifier.weight", "classifier.bias"} and not info["unexpected_keys"]
    assert "decoder" not in caplog.text and "norm" not in caplog.text
    assert isinstance(classifier.backbone, VisionTransformer) and classifier.config.class_counts == [30, 20, 10]
    encoder, backbone = model.backbone.state_dict(), classifier.backbone.state_dict()
    shared = [key for key in encoder if key in backbone]
    assert all(torch.equal(encoder[key], backbone[key]) for key in shared)
    assert set(encoder) - set(shared) == ({"norm.weight", "norm.bias"} if pool else set())
    if pool:
        assert backbone["fc_norm.weight"].eq(1).all() and backbone["fc_norm.bias"].eq(0).all()
    assert classifier.backbone.pos_embed.requires_grad
    assert classifier.classifier.weight.std().item() == pytest.approx(2e-5, rel=0.3)
    assert classifier.classifier.bias.eq(0).all()
    features = classifier.eval()(make_images()).features
    tokens = model.backbone.norm_pre(model.backbone._pos_embed(model.backbone.patch_embed(make_images())))
    tokens = model.backbone.blocks(tokens)
    expected = (
        torch.nn.functional.layer_norm(tokens[:, 1:].mean(dim=1), (24,), eps=1e-6)
        if pool
        else model.backbone.norm(tokens)[:, 0]
    )
    torch.testing.assert_close(features, expected)


def test_a_classifier_becomes_the_encoder_of_a_new_autoencoder(tmp_path):
    torch.manual_seed(0)
    config = LongTailConfig(**ENCODER, num_labels=3, global_pool="avg", masked_autoencoder=SMALL)
    classifier = LongTailForImageClassification(config)
    classifier.save_pretrained(tmp_path)
    model = MaskedAutoencoder.from_pretrained(tmp_path)
    assert torch.equal(model.backbone.blocks[0].attn.qkv.weight, classifier.backbone.blocks[0].attn.qkv.weight)
    assert model.backbone.norm.weight.eq(1).all() and model.backbone.norm.bias.eq(0).all()
    weight = model.decoder.prediction.weight
    bound = math.sqrt(6 / (16 + 48))
    assert 0.9 * bound < weight.abs().max() <= bound and model.decoder.mask_token.std() > 0.005
    assert torch.isfinite(model(make_images()).loss)


def test_an_encoder_without_a_class_token():
    fields = {"backbone_kwargs": {**ENCODER["backbone_kwargs"], "class_token": False}}
    model = make_model(fields={**fields, "global_pool": "avg"}, channels=1)
    output = model(make_images(channels=1), make_noise())
    assert output.prediction.shape == (3, 16, 16) and model.backbone.pos_embed.shape[1] == 16


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"backbone": "resnet20_cifar", "backbone_kwargs": {}}, "plain timm VisionTransformer"),
        ({"backbone": "swin_tiny_patch4_window7_224", "backbone_kwargs": {}}, "plain timm VisionTransformer"),
        ({"backbone_kwargs": {**ENCODER["backbone_kwargs"], "reg_tokens": 2}}, "register tokens"),
        ({"backbone_kwargs": {**ENCODER["backbone_kwargs"], "dynamic_img_size": True}}, "dynamic_img_size"),
    ],
)
def test_unsuitable_backbones_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        make_model(fields=fields)


def fill_from_published(model: MaskedAutoencoder, weights: dict[str, torch.Tensor]) -> None:
    model.backbone.load_state_dict(convert_released_checkpoint(weights, model.backbone))
    for stage, projection in enumerate(model.decoder.fusion.projections, start=1):
        projection.load_state_dict({key: weights[f"stage{stage}_output_decode.{key}"] for key in ("weight", "bias")})


def test_convolutional_encoder_equals_a_slow_reference_in_float64():
    model = make_model(fields=CONVOLUTIONAL).double()
    weights = random_weights((4, 8, 24), (1, 2, 2), (1, 2, 2), grid=4)
    fill_from_published(model, weights)
    images = make_images(2).double()
    visible = torch.tensor([[3, 0, 9, 10], [15, 1, 6, 2]])
    encoded = model.encode(images, visible)
    for index in range(2):
        tokens, fused = encode(images[index], weights, (1, 2, 2), heads=2, visible=visible[index].tolist())
        expected = layer_norm(tokens + fused, weights, "norm", 1e-6)
        torch.testing.assert_close(encoded[index], expected, rtol=1e-9, atol=1e-9)


def test_convolutional_decoder_has_no_class_token():
    model = make_model(fields=CONVOLUTIONAL)
    assert isinstance(model.backbone, ConvolutionalVisionTransformer) and model.backbone.cls_token is None
    torch.testing.assert_close(model.decoder.position_embedding[0], torch.tensor(slow_table(16, 4, 4, 0)))
    torch.testing.assert_close(model.backbone.pos_embed[0], torch.tensor(slow_table(24, 4, 4, 0)))
    output = model(make_images(), make_noise())
    assert output.prediction.shape == (3, 16, 48) and output.mask.sum() == 3 * 12


def test_convolutional_initialisation():
    kwargs = {"depth": 1, "embed_dim": 96, "num_heads": 2, "stage_dims": [32, 64], "stage_depths": [1, 1]}
    model = make_model(fields={**CONVOLUTIONAL, "backbone_kwargs": kwargs})
    stages, fusion = model.backbone.patch_embed.stages, model.decoder.fusion.projections
    xavier = (
        (model.backbone.patch_embed.proj.weight, 64 * 4 + 96),
        (model.backbone.patch_embed.linear.weight, 2 * 96),
        (model.backbone.blocks[0].mlp.fc1.weight, 5 * 96),
    )
    for weight, fans in xavier:
        bound = math.sqrt(6 / fans)
        assert 0.95 * bound < weight.abs().max() <= bound
    # Torch's own values: uniform within 1 / sqrt(fan in).
    torchs = (
        (stages[0].blocks[0].mlp.fc1.weight, 32),
        (stages[1].proj.weight, 32 * 4),
        (stages[1].blocks[0].depthwise.weight, 25),
        (fusion[0].weight, 32 * 16),
        (fusion[1].weight, 64 * 4),
    )
    for weight, fan_in in torchs:
        bound = fan_in**-0.5
        assert 0.95 * bound < weight.abs().max() <= bound


def test_fusion_carries_both_stages_into_the_prediction():
    model = make_model(fields=CONVOLUTIONAL)
    images, noise = make_images(), make_noise()
    predictions = [model(images, noise).prediction]
    for projection in model.decoder.fusion.projections:
        with torch.no_grad():
            projection.weight.zero_()
        predictions.append(model(images, noise).prediction)
        assert not torch.allclose(predictions[-1], predictions[-2])


def test_convolutional_encoder_becomes_the_classifiers_backbone_without_conversion(tmp_path, caplog):
    model = make_model(fields=CONVOLUTIONAL)
    model.save_pretrained(tmp_path)
    with caplog.at_level(logging.WARNING):
        classifier, info = LongTailForImageClassification.from_pretrained(
            tmp_path, output_loading_info=True, class_counts=[30, 20, 10], global_pool="avg", drop_path_rate=0.1
        )
    assert info["missing_keys"] == {"classifier.weight", "classifier.bias"} and not info["unexpected_keys"]
    assert "decoder" not in caplog.text and "fusion" not in caplog.text and "norm" not in caplog.text
    backbone = classifier.eval().backbone
    assert backbone.fc_norm.weight.eq(1).all() and backbone.pos_embed.requires_grad
    images = make_images()
    tokens = model.backbone.blocks(model.backbone.patch_embed(images) + model.backbone.pos_embed)
    expected = torch.nn.functional.layer_norm(tokens.mean(dim=1), (24,), eps=1e-6)
    torch.testing.assert_close(classifier(images).features, expected)
    # And on from there, with a new decoder and fusion.
    classifier.save_pretrained(tmp_path / "classifier")
    again = MaskedAutoencoder.from_pretrained(tmp_path / "classifier", masked_autoencoder=SMALL)
    assert torch.equal(again.backbone.patch_embed.stages[0].proj.weight, backbone.patch_embed.stages[0].proj.weight)
    bound = (4 * 16) ** -0.5
    assert 0.8 * bound < again.decoder.fusion.projections[0].weight.abs().max() <= bound
    assert not again.backbone.pos_embed.requires_grad and torch.isfinite(again(images).loss)


@both_encoders
def test_drop_rates_are_those_of_the_classifier_and_not_used_in_pretraining(encoder, tmp_path):
    kwargs = {**encoder["backbone_kwargs"], "proj_drop_rate": 0.5, "attn_drop_rate": 0.5, "pos_drop_rate": 0.5}
    fields = {**encoder, "backbone_kwargs": kwargs, "drop_rate": 0.5, "drop_path_rate": 0.5}
    model = make_model(fields=fields).train()
    images, noise = make_images(), make_noise()
    expected = make_model(fields=encoder).train()(images, noise)
    assert torch.equal(model(images, noise).prediction, expected.prediction)
    model.save_pretrained(tmp_path)
    classifier = LongTailForImageClassification.from_pretrained(tmp_path, num_labels=3)
    assert classifier.config.drop_path_rate == classifier.backbone.head_drop.p == 0.5
    assert classifier.backbone.blocks[1].drop_path1.drop_prob == classifier.backbone.pos_drop.p == 0.5


@both_encoders
def test_pretraining_at_another_image_size_than_the_classifiers(encoder, tmp_path):
    model = make_model(fields={**encoder, "image_size": 24})
    images = make_images(2, size=24)
    output = model(images)
    assert output.prediction.shape == (2, 36, 48) and output.mask.sum() == 2 * 27
    model.save_pretrained(tmp_path)
    classifier = LongTailForImageClassification.from_pretrained(tmp_path, num_labels=3, image_size=16)
    assert classifier(make_images()).logits.shape == (3, 3)
    classifier.save_pretrained(tmp_path / "classifier")
    again = MaskedAutoencoder.from_pretrained(tmp_path / "classifier", image_size=32, masked_autoencoder=SMALL)
    assert again.num_patches == 64 and torch.isfinite(again(make_images(2, size=32)).loss)
    with pytest.raises(ValueError, match="patches of 4 pixels do not divide them"):
        make_model(fields={**encoder, "image_size": 18})


def published_weights(encoder: dict, seed: int = 5) -> dict[str, torch.Tensor]:
    """State of a timm model of these sizes with a norm before pooling, as `*.mae` weights have it."""
    torch.manual_seed(seed)
    kwargs = {"global_pool": "avg", "fc_norm": False, "num_classes": 0, "img_size": 16}
    model = timm.create_model(encoder["backbone"], **kwargs, **encoder["backbone_kwargs"])
    with torch.no_grad():
        model.norm.weight.uniform_(0.5, 1.5)
    return model.state_dict()


@both_encoders
@pytest.mark.parametrize("labels", [3, 1000])
def test_pretraining_can_start_from_published_weights(encoder, labels, tmp_path, monkeypatch):
    weights = published_weights(encoder)
    torch.save(weights, tmp_path / "weights.pth")
    overlay = {"file": str(tmp_path / "weights.pth"), "num_classes": 0}
    monkeypatch.setattr(timm, "create_model", partial(timm.create_model, pretrained_cfg_overlay=overlay))
    fields = {**encoder, "backbone_pretrained": True, "num_labels": labels}
    model = make_model(fields=fields)
    state = model.backbone.state_dict()
    assert set(state) == set(weights) and all(torch.equal(state[key], weights[key]) for key in weights)
    assert not model.backbone.pos_embed.requires_grad
    assert model.decoder.mask_token.std() > 0.005
    bound = math.sqrt(6 / (16 + 48))
    assert 0.9 * bound < model.decoder.prediction.weight.abs().max() <= bound
    # A checkpoint is complete: loading it asks for the published weights no more.
    model.save_pretrained(tmp_path / "saved")
    (tmp_path / "weights.pth").unlink()
    loaded, info = MaskedAutoencoder.from_pretrained(tmp_path / "saved", output_loading_info=True)
    assert not any(info.values())
    images, noise = make_images(), make_noise()
    assert torch.equal(loaded(images, noise).prediction, model(images, noise).prediction)
    classifier = LongTailForImageClassification.from_pretrained(tmp_path / "saved", num_labels=3)
    classifier.save_pretrained(tmp_path / "classifier")
    again = MaskedAutoencoder.from_pretrained(tmp_path / "classifier", masked_autoencoder=SMALL)
    assert torch.equal(again.backbone.blocks[0].attn.qkv.weight, weights["blocks.0.attn.qkv.weight"])
