"""Trainer, image processors and `pipeline` see the same pixels, whatever file a photograph comes in."""

import base64

import numpy as np
import PIL.Image
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Image
from transformers import pipeline

from hf_ltr import LongTailConfig, LongTailForImageClassification, LongTailTrainer, LongTailTrainingArguments
from hf_ltr.models import LongTailImageProcessor, LongTailImageProcessorPil
from tests.data.pictures import deep, encoded, gray, oriented, oriented_by_xmp, photograph

FILES = {
    **{f"orientation {number}.jpg": oriented("JPEG", number) for number in range(1, 9)},
    **{f"orientation {number}.png": oriented("PNG", number) for number in (3, 6)},
    **{f"orientation {number}.webp": oriented("WEBP", number) for number in (5, 8)},
    **{f"orientation {number}.tif": oriented("TIFF", number) for number in (2, 7)},
    **{f"xmp.{name.lower()}": oriented_by_xmp(name, 6, False) for name in ("PNG", "WEBP", "JPEG", "TIFF")},
    "16 bits.png": deep(np.uint16),
    "16 bits, dark.png": deep(np.uint16, 90),
    "16 bits.tif": deep(np.uint16, format="TIFF"),
    "8 in 32 bits.tif": deep(np.int32, 1, "TIFF"),
    "16 in 32 bits.tif": deep(np.int32, 257, "TIFF"),
    "16 bits.pgm": deep(np.uint16, format="PPM"),
    **{f"{mode}.png": encoded(photograph(mode), "PNG") for mode in ("1", "L", "LA", "P", "RGB", "RGBA")},
    "transparent palette.png": encoded(photograph("P"), "PNG", transparency=bytes(range(256))),
    **{f"{mode}.tif": encoded(photograph(mode), "TIFF") for mode in ("1", "CMYK", "PA")},
    "cmyk.jpg": encoded(photograph("CMYK"), "JPEG"),
    "animated.gif": encoded(photograph(), "GIF", save_all=True, append_images=[PIL.Image.new("RGB", (24, 16))]),
    "bitmap.bmp": encoded(photograph(), "BMP"),
    "one pixel.png": encoded(photograph().resize((1, 1)), "PNG"),
}


def make_model(channels):
    torch.manual_seed(0)
    config = LongTailConfig(
        backbone="vit_pico_patch4_16",
        backbone_kwargs={"depth": 1, "embed_dim": 16, "num_heads": 2},
        num_channels=channels,
        num_labels=3,
        image_size=16,
        crop_ratio=0.875,
    )
    model = LongTailForImageClassification(config).eval()
    torch.nn.init.normal_(model.classifier.weight)  # so that other pixels are other logits
    return model


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.filterwarnings("ignore:.*32 bits:UserWarning")
def test_trainer_and_pipeline_give_the_same_logits(channels, tmp_path):
    paths = []
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
        paths.append(str(tmp_path / name))
    features = Features({"image": Image(), "label": ClassLabel(num_classes=3)})
    data = Dataset.from_dict({"image": paths, "label": [0] * len(paths)}, features=features)
    model = make_model(channels)
    args = LongTailTrainingArguments(
        output_dir=str(tmp_path / "out"), mixed_precision_mode="no", use_cpu=True, report_to=[], disable_tqdm=True
    )
    expected = LongTailTrainer(model, args).predict(data).predictions
    assert len({tuple(row) for row in expected.round(3).tolist()}) > 10

    processor = LongTailImageProcessor.from_config(model.config)
    classifier = pipeline("image-classification", model=model, image_processor=processor, device="cpu")
    opened = [PIL.Image.open(path) for path in paths]
    for inputs in (paths, opened, data["image"][:]):
        answers = classifier(inputs, function_to_apply="none", top_k=3)
        scores = [[score for _, score in sorted((a["label"], a["score"]) for a in answer)] for answer in answers]
        np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-4)
    with torch.no_grad():
        logits = model(processor(paths, return_tensors="pt").pixel_values).logits.numpy()
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4)


def test_a_pipeline_names_the_file_that_is_no_photograph(tmp_path):
    whole = encoded(photograph().resize((90, 90)), "PNG")
    for name, content in {"page.jpg": b"<html>", "half.png": whole[: len(whole) // 2]}.items():
        (tmp_path / name).write_bytes(content)
    model = make_model(3)
    processor = LongTailImageProcessor.from_config(model.config)
    classifier = pipeline("image-classification", model=model, image_processor=processor, device="cpu")
    with pytest.raises(ValueError, match=r"page\.jpg: no image: it is an HTML page"):
        classifier(str(tmp_path / "page.jpg"))
    with pytest.raises(ValueError, match=r"half\.png: image file is truncated"):
        classifier(str(tmp_path / "half.png"))
    with pytest.raises(ValueError, match="'photo.jpg' is no image: there is no such file"):
        classifier("photo.jpg")
    assert len(classifier(deep(np.uint16))) == 3  # encoded bytes


def processors(**options):
    config = LongTailConfig(num_labels=2)
    return [kind.from_config(config, **options) for kind in (LongTailImageProcessor, LongTailImageProcessorPil)]


def test_sources_of_a_pipeline(tmp_path):
    file = tmp_path / "deep.png"
    file.write_bytes(deep(np.uint16))
    text = base64.encodebytes(file.read_bytes()).decode()
    for processor in processors():
        expected = processor(np.repeat(gray()[None], 3, axis=0), return_tensors="pt").pixel_values
        for source in (file, str(file), file.read_bytes(), text, f"data:image/png;base64,{text}"):
            torch.testing.assert_close(processor(source, return_tensors="pt").pixel_values, expected)
        with pytest.raises(ValueError, match="'no/such.png' is no image: there is no such file"):
            processor("no/such.png", return_tensors="pt")


@pytest.mark.parametrize("tensor", [False, True])
def test_arrays_of_any_kind(tensor):
    image = np.asarray(photograph())
    for processor in processors():
        expected = processor(photograph(), return_tensors="pt").pixel_values
        for array in (image, image.transpose(2, 0, 1), image.astype(np.float32), image.astype(np.int64)):
            array = torch.from_numpy(array.copy()) if tensor else array
            torch.testing.assert_close(processor(array, return_tensors="pt").pixel_values, expected)
        sixteen = image.astype(np.uint16) * 257
        sixteen = torch.from_numpy(sixteen) if tensor else sixteen
        torch.testing.assert_close(processor(sixteen, return_tensors="pt").pixel_values, expected)
        unit = (image / 255).astype(np.float32)
        unit = torch.from_numpy(unit) if tensor else unit
        with pytest.raises(ValueError, match="divided by 255 once more"):
            processor(unit, return_tensors="pt")
        ready = processor(unit, do_rescale=False, return_tensors="pt").pixel_values
        torch.testing.assert_close(ready, expected, rtol=0, atol=0.1)
        with pytest.raises(ValueError, match=r"must lie in 0\.\.255, got"):
            processor(unit * np.nan, return_tensors="pt")


def test_pipeline_of_other_models_is_left_alone():
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    config = ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, image_size=16, patch_size=8
    )
    processor = ViTImageProcessor(size={"height": 16, "width": 16})
    model = ViTForImageClassification(config).eval()
    answer = pipeline("image-classification", model=model, image_processor=processor, device="cpu")(photograph())
    with torch.no_grad():
        scores = model(**processor(photograph(), return_tensors="pt")).logits.softmax(1)[0]
    assert answer[0]["score"] == pytest.approx(scores.max().item(), abs=1e-6)
