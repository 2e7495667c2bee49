"""What a widget shows where widgets cannot be shown."""

from __future__ import annotations

from typing import Any


def with_text(bundle: Any, words: str) -> Any:
    """A widget's representation, with `words` for those who cannot show it."""
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    if data is not None:
        data["text/plain"] = words
    return bundle
