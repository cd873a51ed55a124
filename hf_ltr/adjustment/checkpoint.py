"""Loading any image classifier of transformers with its processor, and saving it changed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from transformers import AutoImageProcessor, AutoModelForImageClassification, PreTrainedModel

from .. import models  # noqa: F401  registers the models of this package
from ..models.quiet import quiet_loading
from ..naming import require_folder_or_hub_id, some
from ..storage import naming_storage_errors
from .features import number_of_channels, pixel_values

# Largest difference of the logits of a checkpoint and of its reloaded copy, relative to the largest logit.
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class LoadedClassifier:
    """
    A classifier in float32 and evaluation mode, and what is needed to save it as it came.

    Args:
        model (`PreTrainedModel`)
        processor: Its image processor, whose defaults are the evaluation transform.
        source (`str`): The Hub id, or the name of the folder.
        dtypes (`dict`): Type of every parameter and buffer in the checkpoint.
        probe (`Tensor` of shape `(4, channels, H, W)`): Images of noise, for proofs.
    """

    model: PreTrainedModel
    processor: Any
    source: str
    dtypes: dict[str, torch.dtype]
    probe: Tensor


def load_classifier(checkpoint: str | Path, image_processor: str | Path | None = None) -> LoadedClassifier:
    """
    Load a checkpoint with `AutoModelForImageClassification` and its image processor with `AutoImageProcessor`.

    Args:
        checkpoint (`str` or `Path`): Folder or Hub id; models of this package, and all that transformers knows.
        image_processor (`str` or `Path`, *optional*): Where the processor is, if not there.

    Raises:
        `FileNotFoundError`: for a folder that is not there.
        `ValueError`: for a checkpoint that is no trained single-label classifier.
    """
    checkpoint = str(checkpoint)
    for place in (checkpoint, str(image_processor or checkpoint)):
        require_folder_or_hub_id(place)
    try:
        with quiet_loading():
            model, info = AutoModelForImageClassification.from_pretrained(
                checkpoint, dtype="auto", output_loading_info=True
            )
    except RuntimeError as error:  # weights of other shapes
        raise ValueError(f"{checkpoint} cannot be loaded: {error}") from error
    # Without this, a backbone that was never fine-tuned would be adjusted with a random head.
    missing = sorted(info["missing_keys"])
    if missing or info.get("mismatched_keys"):
        raise ValueError(
            f"{checkpoint} is not a trained classifier: it has no weights for "
            f"{some(missing, 5) or 'some layers'}. "
            "Fine-tune it first."
        )
    config = model.config
    if config.num_labels < 2 or getattr(config, "problem_type", None) in ("regression", "multi_label_classification"):
        raise ValueError(
            f"{checkpoint} does not choose one of several classes (num_labels={config.num_labels}, problem_type="
            f"{getattr(config, 'problem_type', None)!r}), so there is no class prior to adjust"
        )
    processor = _load_processor(str(image_processor or checkpoint))
    dtypes = {name: tensor.dtype for name, tensor in _tensors(model)}
    model = model.float().eval().requires_grad_(False)
    source = Path(checkpoint).resolve().name if Path(checkpoint).exists() else checkpoint
    return LoadedClassifier(model, processor, source, dtypes, _probe(processor, number_of_channels(config)))


def save_classifier(
    loaded: LoadedClassifier,
    output: str | Path,
    expected: Callable[[], Tensor],
    describe: Callable[[Path], None] = lambda folder: None,
) -> Path:
    """
    Save model and processor in the types of the checkpoint, and prove that what loads from there is what was meant.

    The folder appears at once when it is complete.

    Args:
        loaded ([`LoadedClassifier`]): With the changed model, on the CPU; its tensors have the checkpoint's types
            afterwards.
        output (`str` or `Path`): A folder that is not there, or empty.
        expected (`Callable`): Gives the logits `(4, C)` for `loaded.probe` that the saved checkpoint must give.
        describe (`Callable`, *optional*): Writes what else belongs into the folder it is given.

    Returns:
        `Path`: the folder.

    Raises:
        `FileExistsError`: if there is something already.
        `ValueError`: if the reloaded checkpoint gives other logits: its class has no place for the change.
    """
    output = check_output(output)
    temporary = output.with_name(f".{output.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    wanted = expected()
    try:
        _restore_dtypes(loaded)
        with naming_storage_errors(output), quiet_loading():
            loaded.model.save_pretrained(temporary)
            loaded.processor.save_pretrained(temporary)
            copy = AutoModelForImageClassification.from_pretrained(temporary, dtype=torch.float32).eval()
        with torch.no_grad():
            logits = copy(pixel_values=loaded.probe).logits.float()
        difference = float((logits - wanted).abs().max() / wanted.abs().max().clamp(min=1.0))
        if not difference < _TOLERANCE:
            raise ValueError(
                f"{type(loaded.model).__name__} does not keep the change: loaded again, its logits differ by "
                f"{difference:.1e} of the largest one. Nothing was written."
            )
        with naming_storage_errors(output):
            describe(temporary)
        temporary.replace(output)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return output


def check_output(output: str | Path) -> Path:
    """
    Raises:
        `FileExistsError`: if the folder holds something: a checkpoint is never overwritten.
    """
    output = Path(output).expanduser().resolve()
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise FileExistsError(f"{output} is not empty; name another folder with --output")
    output.parent.mkdir(parents=True, exist_ok=True)
    return output


def _restore_dtypes(loaded: LoadedClassifier) -> None:
    """Give every tensor the type it had in the checkpoint; what is new gets that of the model's other parameters."""
    parameters = {name for name, _ in loaded.model.named_parameters()}
    most = next((dtype for name, dtype in loaded.dtypes.items() if name in parameters), torch.float32)
    for name, tensor in _tensors(loaded.model):
        if tensor.is_floating_point():
            tensor.data = tensor.data.to(loaded.dtypes.get(name, most))


def head_dtype(loaded: LoadedClassifier, name: str) -> torch.dtype:
    """Type in which the weights of a layer are stored."""
    return loaded.dtypes.get(f"{name}.weight", torch.float32)


def _tensors(model: nn.Module) -> list[tuple[str, Tensor]]:
    return [*model.named_parameters(), *model.named_buffers()]


def _load_processor(place: str) -> Any:
    try:
        with quiet_loading():
            return AutoImageProcessor.from_pretrained(place)
    except Exception as error:
        # Of any type: transformers reports a missing file, an unknown class and a missing field differently.
        raise ValueError(
            f"{place} has no image processor that transformers can load ({type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else ''}); name one with image_processor= "
            "(--image_processor)"
        ) from error


def _probe(processor: Any, channels: int) -> Tensor:
    """Four images of noise, of the size that the processor makes, each of another brightness."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (4, 64, 64, channels), generator=generator, dtype=torch.int64)
    pixels = (noise * torch.tensor([1.0, 0.7, 0.4, 0.1]).reshape(4, 1, 1, 1)).to(torch.uint8).numpy()
    images = [Image.fromarray(image[:, :, 0] if channels == 1 else image) for image in pixels]
    return pixel_values(processor, images).float()
