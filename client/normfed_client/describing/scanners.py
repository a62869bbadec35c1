"""Maker and field of the scanner of a scan: by its sidecar, or else by what participants.tsv calls the scanner.

Only classes of closed lists are made of it (see `normfed_common.statistics.tables`): what somebody typed stays here.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from normfed_client.imaging.bids import Visit
from normfed_client.imaging.nifti import EXTENSIONS
from normfed_common.statistics.tables import UNKNOWN, field_of, vendor_of

TESLA = re.compile(r"(?<![\d.])(\d{1,2}(?:\.\d+)?)[\s_-]*t(?:esla)?\b", re.IGNORECASE)


def maker_and_field(visit: Visit, modality: str) -> tuple[str, str]:
    """Of the scanner that made a visit's scan of a modality: entries of the closed lists."""
    said, called = _sidecar(visit.images[modality]), visit.participant.scanner or ""
    vendor = vendor_of(str(said.get("Manufacturer") or ""))
    field = field_of(_number(said.get("MagneticFieldStrength")))
    if vendor == UNKNOWN:
        vendor = vendor_of(called)
    if field == UNKNOWN and (found := TESLA.search(called)):
        field = field_of(float(found[1]))
    return vendor, field


def _sidecar(image: Path) -> dict[str, Any]:
    """What the scan's JSON file says; nothing where there is none that can be read."""
    extension = next((end for end in sorted(EXTENSIONS, key=len, reverse=True) if image.name.endswith(end)), "")
    try:
        text = image.with_name(image.name.removesuffix(extension) + ".json").read_text(encoding="utf-8")
        found = json.loads(text)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _number(value: object) -> float | None:
    try:
        return float(str(value))
    except ValueError:
        return None
