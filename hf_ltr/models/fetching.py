"""Images that are named by a path, an address or base64 text, opened but not decoded."""

from __future__ import annotations

import base64
import binascii
import os
from typing import Any

from ..data.loading.decoding import open_image

_WEB = ("http://", "https://")


def fetch_image(source: Any, timeout: float | None = None) -> Any:
    """
    Open what `transformers` takes for an image, without the conversion to RGB that comes with its own loading (it cuts
    16-bit images off at 255).

    Args:
        source: Web address, path, base64 text (with or without `data:image/...,` before it), bytes, or a PIL image.
        timeout (`float`, *optional*): Seconds, for web addresses.

    Raises:
        `ValueError`: for text that is none of these.
        `OSError`: for a file that is no image.
    """
    if not isinstance(source, str):
        return open_image(source)
    if source.startswith(_WEB):
        # Not in a file that defines a model's class: transformers wants all that such a file imports to be there.
        import httpx

        return open_image(httpx.get(source, timeout=timeout, follow_redirects=True).raise_for_status().content)
    if os.path.isfile(source):
        return open_image(source)
    try:
        text = source.partition(",")[2] if source.startswith("data:image/") else source
        encoded = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        encoded = b""
    if not encoded:
        shown = source if len(source) <= 200 else f"{source[:200]}..."
        raise ValueError(
            f"{shown!r} is no image: there is no such file, and it is neither a web address nor base64 text"
        )
    return open_image(encoded)
