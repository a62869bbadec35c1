"""What a study can look at: contrasts, whose intensities mean nothing by themselves, and maps of absolute values."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator

from normfed_common.foundation.errors import StudyError
from normfed_common.wording.spelling import meant, sentences

CONTRASTS = ("T1w", "T2w", "FLAIR", "pet")  # BIDS suffixes
# Of the diffusion tensor: fractional anisotropy, from 0 to 1, and mean diffusivity (BIDS: param-FA, param-MD).
MAPS = ("FA", "MD")
MODALITIES = (*CONTRASTS, *MAPS)
AGENT = r"ce-[A-Za-z0-9]+_T1w"  # T1 with a contrast agent


def _known(name: str) -> str:
    if name not in MODALITIES and not re.fullmatch(AGENT, name):
        said = f"must be one of {', '.join(MODALITIES)}, or ce-AGENT_T1w such as ce-gadolinium_T1w."
        raise ValueError(sentences(said, meant(name, MODALITIES)).removesuffix("."))
    return name


Modality = Annotated[str, AfterValidator(_known)]


def asked(names: Iterable[str]) -> tuple[Modality, ...]:
    """The modalities of the option `--modality`.

    Raises
    ------
    StudyError
        If one is none; with what was probably meant.
    """
    for name in (names := tuple(names)):
        try:
            _known(name)
        except ValueError as error:
            raise StudyError(f"--modality {name}: {error}") from error
    return names
