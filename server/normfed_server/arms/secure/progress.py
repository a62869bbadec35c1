"""How far a secure sum has come, on disk: a server that is killed between two exchanges asks the same again."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from normfed_common.foundation import arrays as named
from normfed_common.foundation.arrays import Arrays
from normfed_common.secure.adverts import Advert
from normfed_common.wire.secure import SecureStep

FILE = "secure.safetensors"


@dataclass
class SecureProgress:
    """One attempt at one sum; nothing in it is a site's part without its mask.

    Parameters
    ----------
    adverts
        Of the sites that began.
    boxes
        Site that went on to what it sealed for the others.
    survivors
        Sites whose parts are in ``total``; empty as long as more may come.
    total
        The sum of the survivors' masked parts.
    headers
        Survivor to what its answer said beside the arrays, as JSON.
    received
        Digest of what all sites were sent to work on, see `Transcript`.
    """

    step: SecureStep
    adverts: tuple[Advert, ...] = ()
    boxes: dict[str, dict[str, str]] = field(default_factory=dict)
    survivors: tuple[str, ...] = ()
    total: Arrays = field(default_factory=dict)
    headers: dict[str, dict[str, Any]] = field(default_factory=dict)
    received: str = ""

    def save(self, path: Path) -> None:
        """Write it whole."""
        header = {
            "step": self.step.model_dump(mode="json"),
            "adverts": [advert.model_dump(mode="json") for advert in self.adverts],
            "boxes": self.boxes,
            "survivors": list(self.survivors),
            "headers": self.headers,
            "received": self.received,
        }
        named.save(path, self.total, header)

    @classmethod
    def load(cls, path: Path) -> SecureProgress | None:
        """Read it; None where there is none.

        Raises
        ------
        DamagedError
            If it is damaged.
        """
        if not path.exists():
            return None
        total, header = named.read(path)
        return cls(
            SecureStep.model_validate(header["step"]),
            tuple(Advert.model_validate(advert) for advert in header["adverts"]),
            header["boxes"],
            tuple(header["survivors"]),
            total,
            header["headers"],
            header["received"],
        )
