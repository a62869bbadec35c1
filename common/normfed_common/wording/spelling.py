"""Which of the known names was probably meant."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches


def nearest(name: str, known: Collection[str], least: float = 0.6) -> str | None:
    """The nearest of the known names, whatever its case; None if none is near.

    Parameters
    ----------
    least
        Similarity from which on it may be meant, of `difflib`: twice the letters in common over all letters.
    """
    by_lower = {other.lower(): other for other in known}
    close = get_close_matches(name.lower(), by_lower, n=1, cutoff=least)
    return by_lower[close[0]] if close else None


def meant(name: str, known: Collection[str]) -> str:
    """``Did you mean ...?`` with the nearest of the known names; empty if none is near."""
    near = nearest(name, known)
    return f"Did you mean {near}?" if near is not None else ""


def sentences(*texts: str) -> str:
    """Those that say something, one after the other."""
    return " ".join(text for text in texts if text)
