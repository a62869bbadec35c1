"""Names of the files that a run has in tables/ and figures/: whatever else lies there is a person's own."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from normfed_server.runs.folder import FIGURES, TABLES

METRIC = "-(auprc|auroc)"
NAMES = {
    TABLES: re.compile(
        r"(models|sites|kinds|gains|league|matrix|calibration|rounds|cohorts|patients|volumes|lesions)\.csv"
        rf"|(models(-\d+)?|worst-sites|(sites|kinds|matrix|league){METRIC}|gains|league|costs|calibration|participation|cohorts"
        r"|patients)\.tex"
    ),
    FIGURES: re.compile(
        rf"(roc|precision-recall|sites|(gains|matrix|patients){METRIC}|league|loss|calibration|bland-altman"
        r"|lesion-size)\.(svg|png)"
    ),
}


def ours(folder: Path, of: str) -> list[Path]:
    """The files in a folder that normfed writes; ``of``: `TABLES` or `FIGURES`. None where there is no folder."""
    return sorted(path for path in folder.glob("*.*") if path.is_file() and NAMES[of].fullmatch(path.name))


def remove_stale(folder: Path, of: str, written: Iterable[Path]) -> None:
    """Remove what an earlier version of the run left beside what is ``written``."""
    for path in set(ours(folder, of)) - set(written):
        path.unlink()
