"""What a site is sent of the models; the only code that knows how groups of arrays are laid out in a flat record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from normfed_common.foundation import arrays as named
from normfed_common.foundation.errors import WireError

BESIDE = "beside"

T = TypeVar("T")


@dataclass(frozen=True)
class Offer(Generic[T]):
    """Models, and what an algorithm sends beside them; of arrays, or of Flower's, which several records share.

    Parameters
    ----------
    models
        One; or several, of which the site chooses (IFCA).
    beside
        SCAFFOLD's control variate, under the names of the model's arrays; never compressed.
    """

    models: tuple[dict[str, T], ...]
    beside: Mapping[str, T] = field(default_factory=dict)

    @property
    def model(self) -> dict[str, T]:
        """The one model.

        Raises
        ------
        WireError
            If there are several.
        """
        if len(self.models) != 1:
            raise WireError(f"{len(self.models)} models were offered where one is trained")
        return self.models[0]


def encode(offer: Offer[T]) -> dict[str, T]:
    """All arrays by name: ``0/name``, ``1/name``, ...; ``beside/name``. Nothing for a single model without arrays."""
    return named.stacked(offer.models) | {f"{BESIDE}/{name}": array for name, array in offer.beside.items()}


def decode(arrays: Mapping[str, T]) -> Offer[T]:
    """Undo `encode`.

    Raises
    ------
    WireError
        If an array does not say what it belongs to, or a model is missing.
    """
    prefix = f"{BESIDE}/"
    beside = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    models = named.unstacked({name: array for name, array in arrays.items() if not name.startswith(prefix)})
    return Offer(tuple(models) or ({},), beside)  # a model has no arrays before its first sums
