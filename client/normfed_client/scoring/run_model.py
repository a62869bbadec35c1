"""A finished run, ready to score: its study, its model as a site is served it, and what its normal people say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from normfed_client.evaluating import maps
from normfed_client.evaluating.levels import Levels, normal_voxels, thresholds_of
from normfed_client.evaluating.served import MODEL, served_arrays, shared_model
from normfed_client.hospital.device import choose_device
from normfed_client.hospital.machine import computing
from normfed_client.hospital.simulated import read_sites
from normfed_client.hospital.site import Site
from normfed_client.imaging.preprocessing import Recipe
from normfed_common.foundation import digests
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import RunError, StudyError
from normfed_common.foundation.versions import installed_version
from normfed_common.metrics.tissue import CLASSES
from normfed_common.models.base import NormativeModel
from normfed_common.studies import study_of_run
from normfed_common.study.config import StudyConfig

WHOLE = "brain"  # the threshold of the whole brain, beside those of `CLASSES`


@dataclass(frozen=True)
class RunModel:
    """What scans are scored with.

    Parameters
    ----------
    site
        Whose model it is; None of the one that all share.
    digest
        Of the weights and sums as they score here.
    """

    run: Path
    study: StudyConfig
    model: NormativeModel
    levels: Levels
    device: torch.device
    site: str | None
    digest: str

    @property
    def recipe(self) -> Recipe:
        """How scans are prepared: as in the run, without anybody's lesion masks."""
        return Recipe(self.study.preprocessing, self.study.data.modalities, ())

    def thresholds(self) -> dict[str, float] | None:
        """By class of place where they differ, else of the whole brain; None where the run has none."""
        if self.levels.thresholds is None:
            return None
        *by_class, whole = map(float, self.levels.thresholds)
        if all(value == whole for value in by_class):
            return {WHOLE: whole}
        return dict(zip(CLASSES, by_class, strict=True))

    def provenance(self) -> dict[str, object]:
        """What made the maps, as their sidecars tell it."""
        return {
            "NormfedVersion": installed_version(),
            "Study": {"Name": self.study.name, "Digest": self.study.digest},
            "Model": {"Name": self.study.model["name"], "Digest": self.digest, "Site": self.site or "all"},
        }


def study_to_score(run: Path) -> StudyConfig:
    """The study of a run.

    Raises
    ------
    RunError
        If ``run`` is no run folder, or its study is not one of this version.
    """
    try:
        return study_of_run(run)
    except StudyError as error:
        raise RunError(
            f"{run}: its study cannot be read by normfed {installed_version()} ({str(error).rstrip('.')}). The run is "
            "of another version, or study.yaml was changed: score with the version that made the run."
        ) from error


def open_run_model(run: Path, study: StudyConfig, device: str, site: str | None) -> RunModel:
    """The model of a finished run; see `served_arrays` for ``site``.

    Where the site's model has a part of its own that is never written (one_class.fit_on: location) that part is learnt
    anew, from the site's dataset; without a site the shared part scores alone.

    Raises
    ------
    RunError
        If the run is not finished, or a file of it holds what no run writes.
    DatasetError
        If there is no such device.
    """
    arrays = served_arrays(run, study, site)
    levels = Levels(thresholds_of(run), normal_voxels(run))
    chosen = choose_device(device)
    with computing(study, chosen):
        model = _model(run, study, arrays, chosen, site)
    return RunModel(run, study, model, levels, chosen, site, digests.of_arrays("", arrays))


def _model(run: Path, study: StudyConfig, arrays: Arrays, device: torch.device, site: str | None) -> NormativeModel:
    """The model as it scores at ``site``; of the run's sites only a simulation's are on this machine."""
    model = shared_model(study, arrays, device, run / MODEL)
    if site is not None and model.keeps_to_site:
        config = next(config for config in read_sites(run / "sites.json") if config.name == site)
        maps.personalise(model, Site(config.model_copy(update={"device": str(device)}), study))
    return model
