"""A finished run as Python sees it."""

from __future__ import annotations

import gzip
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel

from normfed_client.evaluating.served import served_model
from normfed_client.hospital.device import choose_device
from normfed_client.hospital.simulated import read_sites
from normfed_client.hospital.site import Case, Site
from normfed_client.imaging.mapping import map_image, place_on
from normfed_common.algorithms.arms import FEDERATED, POOLED
from normfed_common.foundation.errors import RunError
from normfed_common.learning.score import ANOMALY
from normfed_common.models.base import NormativeModel
from normfed_server.report.findings import headline
from normfed_server.results import frames, layout
from normfed_server.results.layout import RunResults
from normfed_server.runs.folder import REPORT, reopen
from normfed_simulation import people, remade

if TYPE_CHECKING:
    import pandas


class OpenRun:
    """A finished run: its figures as pandas' frames, its models, its maps.

    Parameters
    ----------
    folder
        The run folder, of a simulation or of a server.

    Raises
    ------
    RunError
        If it is none, or not finished.
    """

    def __init__(self, folder: Path) -> None:
        self._run = reopen(folder)
        if not self._run.finished:
            raise RunError(f"{folder}: not finished. Go on with normfed.resume({str(folder)!r}).")
        self.folder, self.study = folder, self._run.study

    @cached_property
    def results(self) -> RunResults:
        """All figures, as metrics.json has them."""
        return layout.read(self.folder)

    @property
    def report(self) -> Path:
        """The page to show to people."""
        return self.folder / REPORT

    @cached_property
    def patients(self) -> pandas.DataFrame:
        """A row for every patient's visit, model and metric; of a simulation only. See `people.patients`."""
        return people.patients(self._run)

    @cached_property
    def models(self) -> pandas.DataFrame:
        """A row for every model and metric, over all patients. See `frames.models`."""
        return frames.models(self.results)

    @cached_property
    def sites(self) -> pandas.DataFrame:
        """A row for every model, site and metric. See `frames.sites`."""
        return frames.sites(self.results)

    @cached_property
    def rounds(self) -> pandas.DataFrame:
        """A row for every model, round and site. See `frames.rounds`."""
        return frames.rounds(self.results)

    @cached_property
    def league(self) -> pandas.DataFrame:
        """A row for every strategy, then local-only and pooled training. See `frames.league`."""
        return frames.league(self.results)

    def model(self, name: str = FEDERATED, site: str | None = None, device: str = "cpu") -> NormativeModel:
        """One of the run's models, ready to score prepared scans.

        Parameters
        ----------
        name
            As in the frames; `local` is the site's own.
        site
            Whose; None for the model that all share. In a simulation a site's model has what it learns from the site's
            own people.

        Raises
        ------
        RunError
            If the run has no such model or site, or sites have models of their own and none is named.
        """
        if site is not None:
            return remade.served(self._run, self._site(site, device), name).model
        return served_model(self.folder, choose_device(device), name)

    def map(
        self, subject: str, model: str = FEDERATED, session: str | None = None, which: str = ANOMALY
    ) -> nibabel.Nifti1Image:
        """A person's map on the person's own scan; of a simulation only.

        Parameters
        ----------
        subject
            Such as ``sub-01``; anybody in the run, patients and held-out healthy people.
        model
            As in the frames. Maps of the federated model lie in the run folder; those of others are made again.
        session
            Which visit, where the person has several.
        which
            The anomaly, or another map that the model makes.

        Raises
        ------
        RunError
            If nobody is called so, the run has no such model, or the model makes no such map.
        """
        name = f"{subject}_ses-{session}" if session else subject
        kept = sorted((self.folder / "maps").glob(f"{name}_space-*_desc-{which}_map.nii.gz"))
        if model == FEDERATED and len(kept) == 1:
            return nibabel.Nifti1Image.from_bytes(gzip.decompress(kept[0].read_bytes()))
        case, site, among = self._case(name)
        found = remade.served(self._run, site, model).score(case, among).maps()
        if which not in found:
            raise RunError(f"{model} makes no map called {which}. Its maps are {', '.join(found)}.")
        return map_image(found[which], place_on(case.visit, case.entry, site.recipe), which)

    def _case(self, name: str) -> tuple[Case, Site, list[Case]]:
        """A person's visit, the site where it is, and everybody there."""
        where = {visit: site for site, visit in people.visits_of(self._run)}
        if name not in where:
            others = sorted({n for n in where if n.startswith(f"{name}_ses-")})
            visits = f" Say which visit with session=: {', '.join(n.partition('_ses-')[2] for n in others)}."
            raise RunError(f"{self.folder}: nobody in its data is called {name}.{visits if others else ''}")
        site = self._site(where[name], "cpu")
        everybody = [*site.test, *site.held_out, *site.train]
        case = next((case for case in everybody if case.visit.name == name), None)
        if case is None:
            raise RunError(f"{self.folder}: {name} takes no part in the run.")
        return case, site, everybody

    def _site(self, name: str, device: str) -> Site:
        sites = {config.name: config for config in read_sites(self._run.sites_file)}
        if name not in sites or name == POOLED:
            there = ", ".join(site for site in sites if site != POOLED)
            raise RunError(f"{self.folder}: no site is called {name}. Its sites are {there}.")
        return Site(sites[name].model_copy(update={"device": device}), self.study)

    def __repr__(self) -> str:
        return f"<normfed run {self.study.name!r} in {self.folder}: {headline(self.results)}>"
