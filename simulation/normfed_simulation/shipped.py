"""What comes with normfed beside its code; loads nothing that computes, so that it can be listed in a moment."""

from __future__ import annotations

from pathlib import Path


def shipped_folder() -> Path:
    """Where the studies lie that come with normfed: in the wheel, or in the source tree."""
    here = Path(__file__).parent
    return next(folder for folder in (here / "shipped_studies", here.parents[1] / "studies") if folder.is_dir())
