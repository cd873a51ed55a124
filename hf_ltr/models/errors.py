"""The "nearest valid names" error, also where the files of this folder were copied into a model repository."""

from __future__ import annotations

try:
    from hf_ltr.naming import unknown_name
except ImportError:  # copied next to a checkpoint with `register_for_auto_class`, without the package installed

    def unknown_name(kind: str, name: object, valid: object, hint: str = "") -> ValueError:
        """Short form of `hf_ltr.naming.unknown_name`: names what was asked for and what exists."""
        return ValueError(f"Unknown {kind}: {name!r}. {hint}")


__all__ = ["unknown_name"]
