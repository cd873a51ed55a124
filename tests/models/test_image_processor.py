"""Image processors: equal to the formula, equal to each other, found by the Auto class and the pipeline."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, pipeline

from hf_ltr.data.loading.decoding import decode_image
from hf_ltr.data.loading.images import resize_image
from hf_ltr.models import (
    LongTailConfig,
    LongTailForImageClassification,
    LongTailImageProcessor,
    LongTailImageProcessorPil,
)

PROCESSORS = [LongTailImageProcessor, LongTailImageProcessorPil]


def picture(height: int, width: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    """Smooth noise, so that two resizing algorithms agree."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


@pytest.mark.parametrize("processor_class", PROCESSORS)
def test_images_of_the_right_size_are_only_normalised(processor_class):
    config = LongTailConfig(num_labels=2, image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6])
    image = picture(32, 32)
    pixels = processor_class.from_config(config)(image, return_tensors="pt").pixel_values
    expected = (np.asarray(image).transpose(2, 0, 1) / 255 - np.array([[[0.1]], [[0.2]], [[0.3]]])) / np.array(
        [[[0.4]], [[0.5]], [[0.6]]]
    )
    assert pixels.dtype == torch.float32
    np.testing.assert_allclose(pixels[0].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("processor_class", PROCESSORS)
def test_resize_shorter_side_then_crop_the_centre(processor_class):
    config = LongTailConfig(backbone="resnet18", num_labels=2, image_size=28, crop_ratio=0.875)
    processor = processor_class.from_config(config)
    assert dict(processor.size)["shortest_edge"] == 32
    image = picture(64, 128)
    pixels = processor(image, return_tensors="pt").pixel_values
    reference = image.resize((64, 32), Image.Resampling.BICUBIC).crop((18, 2, 46, 30))
    expected = (np.asarray(reference).transpose(2, 0, 1) / 255 - 0.5) / 0.5
    np.testing.assert_allclose(pixels[0].numpy(), expected, atol=3 / 255)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "CMYK"])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_mode_becomes_the_channels_of_the_model(mode, channels):
    config = LongTailConfig(num_labels=2, num_channels=channels)
    image = picture(32, 32, mode)
    results = [cls.from_config(config)(image, return_tensors="pt").pixel_values for cls in PROCESSORS]
    assert results[0].shape == (1, channels, 32, 32)
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=1e-5)
    plain = np.asarray(image.convert("RGB").convert("L" if channels == 1 else "RGB")).reshape(32, 32, channels)
    mean, std = np.array(config.image_mean), np.array(config.image_std)
    expected = ((plain / 255 - mean) / std).transpose(2, 0, 1)
    np.testing.assert_allclose(results[0][0].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("processor_class", PROCESSORS)
def test_arrays_and_tensors_are_converted_like_pictures(processor_class):
    image = picture(32, 32)
    processor = processor_class.from_config(LongTailConfig(num_labels=2, num_channels=1))
    expected = processor(image, return_tensors="pt").pixel_values
    for other in (np.array(image), torch.from_numpy(np.array(image).transpose(2, 0, 1).copy())):
        torch.testing.assert_close(processor(other, return_tensors="pt").pixel_values, expected)
    grey = np.array(image.convert("L"))
    colour = processor_class.from_config(LongTailConfig(num_labels=2))
    torch.testing.assert_close(
        colour(grey, return_tensors="pt").pixel_values,
        colour(image.convert("L"), return_tensors="pt").pixel_values,
    )


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "I;16"])
@pytest.mark.parametrize("shape", [(50, 31), (31, 90), (32, 32), (8, 8)])
@pytest.mark.parametrize("channels, crop_ratio", [(3, 1.0), (1, 0.875)])
def test_equals_the_evaluation_of_training(mode, shape, channels, crop_ratio):
    if mode == "I;16":
        values = np.random.default_rng(0).integers(0, 65536, shape).astype(np.uint16)
        image = Image.fromarray(values)
    else:
        image = picture(*shape, mode)
    config = LongTailConfig(
        backbone="resnet18", num_labels=2, image_size=28, num_channels=channels, crop_ratio=crop_ratio
    )
    decoded = resize_image(decode_image(image, channels), (28, 28), resize_ratio=crop_ratio)
    expected = (decoded.float() / 255 - 0.5) / 0.5
    pixels = LongTailImageProcessor.from_config(config)(image, return_tensors="pt").pixel_values[0]
    torch.testing.assert_close(pixels, expected, rtol=0, atol=1e-6)


def test_sixteen_bit_pictures_are_scaled_not_clipped():
    values = (np.arange(32 * 32, dtype=np.uint16) * 64).reshape(32, 32)
    processor = LongTailImageProcessor.from_config(LongTailConfig(num_labels=2, num_channels=1), do_normalize=False)
    pixels = processor(Image.fromarray(values), return_tensors="pt").pixel_values[0, 0].numpy()
    np.testing.assert_allclose(pixels, values / 65535, atol=1 / 255)


def test_a_batch_of_pictures_of_different_sizes():
    processor = LongTailImageProcessor.from_config(LongTailConfig(num_labels=2))
    pixels = processor([picture(40, 50), picture(64, 33), picture(8, 8)], return_tensors="pt").pixel_values
    assert pixels.shape == (3, 3, 32, 32)


@pytest.mark.parametrize("channels", [1, 3])
def test_auto_class_and_pipeline_find_processor_and_model(tmp_path, channels):
    torch.manual_seed(0)
    config = LongTailConfig(
        backbone="vit_pico_patch4_16",
        backbone_kwargs={"depth": 1, "embed_dim": 16, "num_heads": 2},
        num_channels=channels,
        id2label={0: "ant", 1: "bee", 2: "crab"},
        logit_adjustment={"tau": 1.0, "remove": [100, 10, 1]},
    )
    model = LongTailForImageClassification(config).eval()
    processor = LongTailImageProcessor.from_config(config)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    image = picture(20, 24)

    loaded = AutoImageProcessor.from_pretrained(tmp_path)
    assert type(loaded) is LongTailImageProcessor
    assert type(AutoImageProcessor.from_pretrained(tmp_path, backend="pil")) is LongTailImageProcessorPil
    pixels = processor(image, return_tensors="pt").pixel_values
    assert torch.equal(loaded(image, return_tensors="pt").pixel_values, pixels)

    classifier = pipeline("image-classification", model=str(tmp_path), device="cpu")
    scores = {answer["label"]: answer["score"] for answer in classifier(image)}
    with torch.no_grad():
        expected = model(pixels).logits.softmax(dim=1)[0]
    assert scores == pytest.approx({name: expected[index].item() for index, name in config.id2label.items()}, abs=1e-6)
    assert len(classifier([image, image])) == 2
