"""What a finished run leaves, in one folder to pass on, with checksums."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from normfed_common.foundation import arrays as named
from normfed_common.foundation.errors import RunError, UserError
from normfed_common.foundation.files import write_json, write_text
from normfed_common.metrics import calibration
from normfed_common.study.withdrawn import WITHDRAWN
from normfed_server.results import audit
from normfed_server.results.layout import FILE, read
from normfed_server.runs.folder import PRIVACY, counts_only
from normfed_server.state.notes import COHORTS, COHORTS_PAGE, REPLACES

MODEL = "model.safetensors"
FILES = (MODEL, FILE, "report.html", "study.yaml")
NOT_OF_EVERY_RUN = (PRIVACY, audit.FILE, calibration.FILE, WITHDRAWN, REPLACES)
TOLD_OF_A_ROUND = {"round", "outcomes", "reasons", "share", "shares", "seconds", "site_seconds", "megabytes"}
PARTICIPATION, SUMS = "participation.json", "SHA256SUMS"


def export(folder: Path, out: Path) -> list[Path]:
    """Copy model, figures, report, study and participation; returns the paths.

    Raises
    ------
    RunError
        If the run is not finished, or its model or figures are damaged.
    UserError
        If there is something in ``out``.
    """
    if counts_only(folder):
        raise RunError(f"{folder.name}: trained nothing. Pass on its {COHORTS} and {COHORTS_PAGE} as they are.")
    missing = [name for name in FILES if not (folder / name).exists()]
    if missing:
        raise RunError(f"{folder.name}: not finished ({', '.join(missing)} is not there yet).")
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out}: there is something already. Choose another --out.")
    for name in (MODEL, calibration.FILE):
        if (folder / name).exists():
            named.load(folder / name, foreign=True)  # checksums of what was damaged before would vouch for it
    results = read(folder)
    out.mkdir(parents=True, exist_ok=True)
    files = [name for name in (*FILES, *NOT_OF_EVERY_RUN) if (folder / name).exists()]
    for name in files:
        shutil.copyfile(folder / name, out / name)
    told = results.model_dump(mode="json", include={"sites", "missing"})
    rounds = [entry.model_dump(mode="json", include=TOLD_OF_A_ROUND) for entry in results.rounds]
    write_json(out / PARTICIPATION, {**told, "rounds": rounds})
    paths = [out / name for name in (*files, PARTICIPATION)]
    write_text(out / SUMS, "".join(f"{_sha256(path)}  {path.name}\n" for path in paths))
    return [*paths, out / SUMS]


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
