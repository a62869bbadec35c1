"""Begin a study file: its values from another study or from a dataset, every other key as a comment."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from normfed_client.imaging.bids import read_dataset
from normfed_common.foundation import plain_yaml
from normfed_common.foundation.files import write_json, write_text
from normfed_common.shipped import shipped_study, study_file
from normfed_common.studies import MAXIMUM_BYTES, load_study, resolve
from normfed_common.study.config import StudyConfig
from normfed_simulation.datasets.recognition import as_bids
from normfed_simulation.guidance.found import data_of, reasons, usable_sites
from normfed_simulation.guidance.schema import FILE, study_schema
from normfed_simulation.guidance.template import study_text

MODALITIES = ["T1w", "FLAIR"]  # where nothing says which
# Whose model is begun with where scans are of one of these: it did best on real ones (benchmarks/RESULTS.md).
MEASURED = {"real-flair": ("FLAIR", "T2w"), "real-t1-controls": ("T1w",)}
OTHERWISE = {"name": "atlas"}


@dataclass(frozen=True)
class Begun:
    """The study as it is read, and why it has the modalities and sites of its dataset that it has."""

    study: StudyConfig
    reasons: Sequence[str] = ()


def write(path: Path, like: Path | None, data: Path | None, name: str | None = None) -> Begun:
    """Write the study and, beside it, the schema.

    Parameters
    ----------
    like
        A study to take values from: a file, or the name of one that comes with normfed.
    data
        A dataset whose modalities, sites and healthy groups are filled in.
    name
        What the study is called, less what names may not have in them; the file's when absent.

    Raises
    ------
    UserError
        If one of the two cannot be read; then nothing is written.
    """
    values = {} if like is None else _values(like)
    dataset = None if data is None else read_dataset(as_bids(data))
    if dataset is not None:
        kept = {key: value for key, value in values.get("data", {}).items() if key in ("may_lack", "lesion_labels")}
        values["data"] = kept | data_of(dataset)
    values.setdefault("data", {"modalities": MODALITIES})
    if like is None:
        values["model"] = _model(values["data"]["modalities"])
    values["name"] = re.sub("[^A-Za-z0-9._-]+", "-", name or path.stem).strip("._-")[:63] or "study"
    study = resolve(values, str(path))
    if dataset is not None:
        values["data"]["sites"] = usable_sites(study, dataset)
    write_text(path, study_text(values, FILE))
    write_json(path.with_name(FILE), study_schema())
    study = load_study(path)
    return Begun(study, () if dataset is None else reasons(study, dataset))


def _model(modalities: Collection[str]) -> dict[str, Any]:
    """The model that did best on real scans of these modalities, as its study has it."""
    for study, seen_on in MEASURED.items():
        if not set(seen_on).isdisjoint(modalities):
            model: dict[str, Any] = plain_yaml.read(shipped_study(study), "a study file", MAXIMUM_BYTES)["model"]
            return model
    return dict(OTHERWISE)


def _values(like: Path) -> dict[str, Any]:
    file = study_file(like)
    load_study(file)
    values = plain_yaml.read(file, "a study file", MAXIMUM_BYTES)
    if isinstance(initial := values.get("initial_model"), str):
        values["initial_model"] = str((file.parent / initial).resolve())
    return values
