"""What a config says about a masked autoencoder over its backbone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...validation import choice, flag, mapping, number, whole_number
from ..size_limits import MOST_BLOCKS, MOST_OWN_PARAMETERS, WIDEST, check_parameters

# Decoder of the ViT-B and ViT-L models of He et al. 2022; smaller encoders want a smaller one.
MASKED_AUTOENCODER_DEFAULTS: dict[str, Any] = {
    "mask_ratio": 0.75,
    "norm_pix_loss": True,
    "decoder_dim": 512,
    "decoder_depth": 8,
    "decoder_heads": 16,
}


def complete_masked_autoencoder_options(
    given: Mapping[str, Any] | None, image_size: int, count_patches: Callable[[], int]
) -> dict[str, Any]:
    """
    All options of the masked autoencoder: those given, checked, and defaults for the rest.

    Args:
        given (`dict`, *optional*): The field `masked_autoencoder`.
        image_size (`int`): Side of an image.
        count_patches (`Callable`): How many an image has, which takes a measurement.
    """
    options = mapping("masked_autoencoder", given or {})
    for name in options:
        choice("option of the masked autoencoder", name, MASKED_AUTOENCODER_DEFAULTS)
    options = {**MASKED_AUTOENCODER_DEFAULTS, **options}
    number("mask_ratio", options["mask_ratio"], above=0, below=1)
    flag("norm_pix_loss", options["norm_pix_loss"])
    for name, most in (("decoder_dim", WIDEST), ("decoder_depth", MOST_BLOCKS), ("decoder_heads", WIDEST)):
        whole_number(name, options[name], minimum=0 if name == "decoder_depth" else 1, maximum=most)
    width, heads = options["decoder_dim"], options["decoder_heads"]
    if width % heads or width % 4:
        raise ValueError(
            f"decoder_dim ({width}) must be divisible by decoder_heads ({heads}), and by 4 for its position embedding"
        )
    check_parameters("the decoder of the masked autoencoder", 12 * options["decoder_depth"] * width**2)
    if width * image_size**2 > MOST_OWN_PARAMETERS:
        # Every pixel a patch of its own would be too much.
        check_parameters("the decoder's position embedding", width * count_patches())
    return options
