"""What a finished run's models are, as a site is served them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch

from normfed_client.hospital.machine import computing
from normfed_client.hospital.personal import PersonalStore
from normfed_client.hospital.simulated import read_sites
from normfed_client.imaging.template import anatomy, common_grid
from normfed_common.algorithms.arms import FEDERATED, POOLED, trained_as
from normfed_common.algorithms.clusters import model_number
from normfed_common.algorithms.sharing import needs_every_part
from normfed_common.algorithms.table import configure
from normfed_common.foundation import arrays as named
from normfed_common.foundation import seeds
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import RunError, SiteError, WireError
from normfed_common.learning.learner import NETWORK, SUMS
from normfed_common.learning.setting import Setting
from normfed_common.models.base import NormativeModel
from normfed_common.models.combined.pipeline import assemble
from normfed_common.study.config import StudyConfig

MODEL = "model.safetensors"


def served_arrays(run: Path, study: StudyConfig, site: str | None, arm: str = FEDERATED) -> Arrays:
    """One of a finished run's models as a site is served: of its cluster, with its personal parts.

    Parameters
    ----------
    study
        The run's own.
    site
        Whose; None for the model that all sites share.
    arm
        Which model. All others than the federated one are kept in a run folder, and never sent to anybody.

    Raises
    ------
    RunError
        If the run is not finished, or has no such model; the strategy leaves none that all share; or the site is not
        one of the run.
    """
    path = path_of(run, arm)
    trained = trained_as(study, arm)
    if trained is None or (arm != FEDERATED and not path.exists()):
        there = sorted(folder.name for folder in (run / "arms").glob("*") if (folder / MODEL).exists())
        raise RunError(f"{run}: has no model called {arm}. Its models are {', '.join(there)}.")
    if not path.exists():
        raise RunError(f"{run}: holds no model.safetensors. Finish the run first: normfed simulate --resume {run}")
    strategy = trained.strategy
    row, _ = configure(strategy)
    every_part = needs_every_part(assemble(study.transforms, trained.model, Setting.of(study)), strategy)
    arrays, header = named.read(path, foreign=True)
    clusters = header.get("clusters", {})
    sites = _sites(run)
    if site is not None and site not in sites:
        raise RunError(f"{run}: no site is called {site}. Its sites are {', '.join(sites)}.")
    if site is None and (clusters or every_part):
        raise RunError(
            f"{run}: under {strategy['name']} sites have models of their own. Say whose with --site: "
            f"{', '.join(sites)}."
        )
    if clusters:
        arrays = named.unstacked(arrays)[model_number(clusters, str(site))]
    if not (row.personal or every_part) or site is None:
        return arrays
    try:
        kept = PersonalStore(run / "sites" / site / "personal" / arm).latest()
    except SiteError as error:
        raise RunError(f"{run}: {error.detail}") from error
    if every_part and not kept:
        raise RunError(f"{run}: {site} did not train, so under {strategy['name']} it has no whole model.")
    return {**arrays, **kept}


def _sites(run: Path) -> list[str]:
    """Of a simulation all; of another run folder those of which it holds something."""
    listed = run / "sites.json"
    folders = (folder.name for folder in (run / "sites").glob("*"))
    names = (config.name for config in read_sites(listed)) if listed.exists() else folders
    return sorted(name for name in names if name != POOLED)


def path_of(run: Path, arm: str) -> Path:
    """Where a run folder keeps what all sites share of a model."""
    return run / MODEL if arm == FEDERATED else run / "arms" / arm / MODEL


def served_model(run: Path, study: StudyConfig, device: torch.device, arm: str = FEDERATED) -> NormativeModel:
    """One of a finished run's models, that all sites share, as it scores prepared scans.

    Raises
    ------
    RunError
        As `served_arrays`, and as `shared_model`.
    """
    return shared_model(study, served_arrays(run, study, None, arm), device, path_of(run, arm), arm)


def shared_model(
    study: StudyConfig, arrays: Arrays, device: torch.device, path: Path, arm: str = FEDERATED
) -> NormativeModel:
    """A model of these arrays, which may come from anywhere, as it scores prepared scans; ``path`` is where they lay.

    Raises
    ------
    RunError
        If the arrays lack what the model has learnt, or hold what no training makes.
    """
    trained = trained_as(study, arm)
    assert trained is not None  # the arrays are of it
    size, seed = study.preprocessing.voxel_size_mm, seeds.of_repeat(study.seed, trained.repeat)
    setting = Setting.of(study, common_grid(size).shape, device, seed=seed, open_anatomy=partial(anatomy, size))
    with computing(study, device):
        model = assemble(study.transforms, trained.model, setting)
        _load(model, arrays, path)
    return model


def _load(model: NormativeModel, arrays: Arrays, path: Path) -> None:
    """Take what a file holds, which may come from anywhere.

    Raises
    ------
    RunError
        If it lacks what the model has learnt, or holds what no training makes.
    """
    parts = [f"{SUMS}{phase.name}." for phase in model.phases() if phase.kind == "summed"]
    parts += [NETWORK] if any(name.startswith(NETWORK) for name in model.share()) else []
    lacking = [part for part in parts if not any(name.startswith(part) for name in arrays)]
    numbers = (name for name, array in arrays.items() if array.dtype.kind == "f" and np.isfinite(array).all())
    strange = sorted(set(arrays) - set(numbers))
    try:
        if lacking:
            raise WireError(f"it holds no {lacking[0]}*")
        if strange:
            raise WireError(f"{strange[0][:100]} holds what is no finite number")
        model.load(arrays)
    except WireError as error:
        why = f"{path}: not a model of the run's study ({error})"
        raise RunError(f"{why}. Copy it again, or resume the run that writes it.") from error
