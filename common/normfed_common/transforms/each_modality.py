"""Transforms that change every modality by itself, so that a scan may lack any of them."""

from __future__ import annotations

from abc import ABC
from typing import Any

from normfed_common.transforms.base import ScanTransform


class EachModality(ScanTransform, ABC):
    """See the module. Nothing is drawn, so that every training on the same people learns the same."""

    @classmethod
    def needs(cls, config: Any, modalities: tuple[str, ...]) -> tuple[str, ...]:
        """None."""
        return ()

    @classmethod
    def draws(cls, config: Any) -> bool:
        """Nothing."""
        return False
