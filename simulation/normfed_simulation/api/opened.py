"""A finished run as Python sees it."""

from __future__ import annotations

import html
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel
import numpy as np

from normfed_client.evaluating.served import served_model
from normfed_client.hospital.device import choose_device
from normfed_client.hospital.simulated import read_sites_again
from normfed_client.hospital.site import Site
from normfed_client.imaging.bids import Mask, Visit
from normfed_client.imaging.mapping import map_image, place_on
from normfed_client.imaging.preprocessing import Recipe
from normfed_common.algorithms.arms import FEDERATED, OWN, POOLED
from normfed_common.foundation.errors import RunError
from normfed_common.learning.score import ANOMALY
from normfed_common.models.base import NormativeModel
from normfed_common.wording.spelling import meant, sentences
from normfed_server.paper.gains import gains
from normfed_server.report.headline import headline, in_short
from normfed_server.results import frames
from normfed_server.results.layout import RunResults
from normfed_server.runs.folder import REPORT, reopen
from normfed_simulation import people, remade
from normfed_simulation.api.places import Place
from normfed_simulation.api.wording import spoken_in_python

if TYPE_CHECKING:
    import pandas


class OpenRun:
    """A finished run: its figures as pandas' frames, its models, its maps.

    The columns of every frame are in the documentation, under the reference of a run folder.

    Parameters
    ----------
    folder
        The run folder, of a simulation or of a server.

    Raises
    ------
    RunError
        If it is none, or not finished.
    """

    @spoken_in_python
    def __init__(self, folder: Place) -> None:
        folder = Path(folder)
        self._run = reopen(folder)
        if not self._run.finished:
            raise RunError(f"{folder}: not finished. Go on with normfed.resume({str(folder)!r}).")
        self.folder, self.study = folder, self._run.study

    @cached_property
    def results(self) -> RunResults:
        """All figures, as metrics.json has them; of a simulation with what is known of single patients: paired tests,
        volumes, the mean of their chances."""
        return people.results(self._run)

    @property
    def report(self) -> Path:
        """The page to show to people."""
        return self.folder / REPORT

    @cached_property
    def patients(self) -> pandas.DataFrame:
        """A row for every patient's visit, model and metric; of a simulation only."""
        return people.patients(self._run)

    @cached_property
    def models(self) -> pandas.DataFrame:
        """A row for every model and metric, over all patients."""
        return frames.models(self.results)

    @cached_property
    def sites(self) -> pandas.DataFrame:
        """A row for every model, site and metric."""
        return frames.sites(self.results)

    @cached_property
    def rounds(self) -> pandas.DataFrame:
        """A row for every model, round and site."""
        return frames.rounds(self.results)

    @cached_property
    def league(self) -> pandas.DataFrame:
        """A row for every strategy, then local-only and pooled training."""
        return frames.league(self.results)

    @cached_property
    def kinds(self) -> pandas.DataFrame:
        """A row for every model, kind of lesion and metric."""
        return frames.kinds(self.results)

    @cached_property
    def gains(self) -> pandas.DataFrame:
        """What the federated model has over every other one, over all patients, per site and per kind of lesion;
        p and the report's verdict over all patients."""
        return gains(self.results)

    @cached_property
    def matrix(self) -> pandas.DataFrame:
        """A row for every metric, site that trained and site where that site's model was tested."""
        return frames.matrix(self.results)

    @cached_property
    def calibration(self) -> pandas.DataFrame:
        """A row for every model and site: false positives in normal people, promised and measured."""
        return frames.calibration(self.results)

    @cached_property
    def cohorts(self) -> pandas.DataFrame:
        """A row for every site: its people by role."""
        return frames.cohorts(self.results)

    @spoken_in_python
    def model(self, name: str = FEDERATED, site: str | None = None, device: str = "cpu") -> NormativeModel:
        """One of the run's models, ready to score prepared scans.

        Parameters
        ----------
        name
            As in the frames; `local` is the site's own, and needs one. The rows `leave-one-site-out` and `borrowed` of
            tables are of several models: those are called `without-SITE` and `local-SITE`.
        site
            Whose; None for the model that all share. In a simulation a site's model has what it learns from the site's
            own people.

        Raises
        ------
        RunError
            If the run has no such model or site, sites have models of their own and none is named, or a site is and the
            run is a server's.
        DatasetError
            If there is no such device.
        """
        if site is None and name == OWN:
            raise RunError(f"{self.folder}: every site has a local model of its own. Say whose with site=.")
        if site is not None:
            return remade.served(self._run, self._site(site, device), name).model
        return served_model(self.folder, self.study, choose_device(device), name)

    @spoken_in_python
    def scan(self, subject: str, modality: str | None = None, session: str | None = None) -> nibabel.Nifti1Image:
        """One of a person's scans, as the hospital has it; of a simulation only.

        Parameters
        ----------
        modality
            None for the one on whose grid maps lie.

        Raises
        ------
        RunError
            If nobody is called so, or has no such scan.
        """
        _, visit = self._visit(subject, session)
        return nibabel.Nifti1Image.from_filename(visit.images[self._modality(visit, modality)])

    @spoken_in_python
    def lesion(
        self, subject: str, session: str | None = None, *, modality: str | None = None
    ) -> nibabel.Nifti1Image | None:
        """All lesions of a person that the study evaluates, as ones on the grid of the scan that they were drawn on;
        None where there are none.

        Parameters
        ----------
        modality
            The scan that they were drawn on; it may be left out where there is one such.

        Raises
        ------
        RunError
            If they were drawn on several.
        """
        _, visit = self._visit(subject, session)
        masks = [mask for mask in Recipe.of(self.study).lesions(visit) if modality in (None, mask.modality)]
        drawn_on = sorted({mask.modality for mask in masks})
        if len(drawn_on) > 1:
            raise RunError(
                f"{visit.name}: lesions were drawn on {' and '.join(drawn_on)}. Say on which: modality={drawn_on[0]!r}."
            )
        return _together(masks) if masks else None

    @spoken_in_python
    def map(
        self,
        subject: str,
        model: str = FEDERATED,
        *,
        modality: str | None = None,
        session: str | None = None,
        which: str = ANOMALY,
    ) -> nibabel.Nifti1Image:
        """A person's map on the person's own scan; of a simulation only.

        Parameters
        ----------
        subject
            Such as ``sub-01``: anybody in the run, patients and healthy people.
        model
            As in the frames; `local` is that of the person's own site, where it trained one. Maps of the federated
            model lie in the run folder; others are made again.
        modality
            The scan on whose grid it lies; None for the reference, T1w where the person has one.
        session
            Which visit, where the person has several.
        which
            The anomaly, or another map that the model makes.

        Raises
        ------
        RunError
            If nobody is called so or has no such scan, the run has no such model, or the model makes no such map.
        """
        where, visit = self._visit(subject, session)
        shown = self._modality(visit, modality)
        kept = self.folder / "maps" / f"{visit.name}_space-{shown}_desc-{which}_map.nii.gz"
        if model == FEDERATED and kept.exists():
            return nibabel.Nifti1Image.from_filename(kept)
        site = self._site(where, "cpu")
        everybody = [*site.test, *site.held_out, *site.train]
        case = next((case for case in everybody if case.visit.name == visit.name), None)
        if case is None:
            raise RunError(f"{self.folder}: {visit.name} takes no part in the run.")
        found = remade.served(self._run, site, model).score(case, everybody).maps()
        if which not in found:
            raise RunError(f"{model} makes no map called {which}. Its maps are {', '.join(found)}.")
        return map_image(found[which], place_on(case.visit, case.entry, site.recipe, shown), which)

    def _visit(self, subject: str, session: str | None) -> tuple[str, Visit]:
        """A person's visit, and the site where it is."""
        name = f"{subject}_ses-{session}" if session else subject
        there = {visit: (site, found) for (site, visit), found in self._visits.items()}
        if name in there:
            return there[name]
        if not there:
            raise RunError(f"{self.folder}: has no scans: it is a server's, or its dataset is no longer there.")
        sessions = [other.partition("_ses-")[2] for other in sorted(there) if other.startswith(f"{name}_ses-")]
        which = f" Say which visit with session=: {', '.join(sessions)}." if sessions else ""
        raise RunError(sentences(f"{self.folder}: nobody is called {name}.", which or meant(name, list(there))))

    def _modality(self, visit: Visit, asked: str | None) -> str:
        """The modality that is asked for, or the reference."""
        chosen = Recipe.of(self.study).reference(visit) if asked is None else asked
        if chosen not in visit.images:
            raise RunError(f"{self.folder}: {visit.name} has no {chosen}, only {', '.join(sorted(visit.images))}.")
        return chosen

    @cached_property
    def _visits(self) -> dict[tuple[str, str], Visit]:
        return people.visits_of(self._run)

    def _site(self, name: str, device: str) -> Site:
        if not self._run.sites_file.exists():
            raise RunError(f"{self.folder}: is a server's run, whose sites are elsewhere: only what all share is here.")
        sites = {config.name: config for config in read_sites_again(self._run.sites_file)}
        if name not in sites or name == POOLED:
            there = ", ".join(site for site in sites if site != POOLED)
            raise RunError(f"{self.folder}: no site is called {name}. Its sites are {there}.")
        return Site(sites[name].model_copy(update={"device": device}), self.study)

    def __repr__(self) -> str:
        return f"<normfed run {self.study.name!r} in {self.folder}: {in_short(self.results)}>"

    def _repr_html_(self) -> str:
        """In a notebook also the headline of the report."""
        first, *others = map(html.escape, headline(self.results))
        said = "".join(f"<p>{sentence}</p>" for sentence in (f"<strong>{first}</strong>", *others))
        return f"<p>{html.escape(repr(self)[1:-1])}</p>{said}<p>Report: {html.escape(str(self.report))}</p>"


def _together(masks: Sequence[Mask]) -> nibabel.Nifti1Image:
    """What is inside any of masks on one grid."""
    images = [nibabel.Nifti1Image.from_filename(mask.path) for mask in masks]
    inside = np.zeros(images[0].shape, np.uint8)
    for mask, image in zip(masks, images, strict=True):
        values = np.asanyarray(image.dataobj)
        inside |= values > 0.5 if mask.values is None else np.isin(values, mask.values)
    return nibabel.Nifti1Image(inside, images[0].affine)
