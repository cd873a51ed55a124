"""`pipeline("image-classification")` with the decoding of training."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from transformers.pipelines import PIPELINE_REGISTRY
from transformers.pipelines.image_classification import ImageClassificationPipeline

from .fetching import fetch_image
from .image_processor import LongTailImageProcessor, LongTailImageProcessorPil

_TASK = "image-classification"


class LongTailImageClassificationPipeline(ImageClassificationPipeline):
    """
    The pipeline of transformers, which converts every image to RGB before the image processor sees it and so makes
    16-bit images white. With an image processor of this package, that processor decodes; with any other, nothing is
    changed.
    """

    def preprocess(  # type: ignore[override]  # as the parent has it, which says no types
        self, image: Any, timeout: float | None = None
    ) -> Any:
        processor = self.image_processor
        ours = LongTailImageProcessor | LongTailImageProcessorPil
        if isinstance(processor, ours) and not isinstance(image, np.ndarray | torch.Tensor):
            try:
                return processor(images=fetch_image(image, timeout), return_tensors="pt").to(self.dtype)
            except (ValueError, OSError) as error:
                if isinstance(image, (str, os.PathLike)) and os.path.exists(image):
                    raise ValueError(f"{os.fspath(image)}: {error}") from error
                raise
        return super().preprocess(image, timeout)


def register_pipeline() -> None:
    """Let `transformers.pipeline` take it for image classification."""
    known = PIPELINE_REGISTRY.supported_tasks[_TASK]
    # Not `register_pipeline`: it warns of the task that is there already, and forgets its default model.
    PIPELINE_REGISTRY.supported_tasks[_TASK] = {**known, "impl": LongTailImageClassificationPipeline}
