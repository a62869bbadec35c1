"""Maps of everybody whom one model scores, on the site's disk between the steps of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from normfed_client.evaluating.maps import personalise, score, until
from normfed_client.hospital.site import Case, Site
from normfed_common.foundation import arrays as named
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.damage import put_aside
from normfed_common.foundation.errors import DamagedError, SiteCode, SiteError
from normfed_common.foundation.files import inside
from normfed_common.learning.score import Score
from normfed_common.models.base import NormativeModel
from normfed_common.processes.ticks import tick

SERVED = "served.safetensors"  # the model, for maps that have to be made again


class KeptMaps:
    """One model's maps at one site.

    Parameters
    ----------
    seed
        Of the training that the model belongs to.
    groups
        Scans that are scored; each group holds all visits of its people.
    """

    def __init__(self, site: Site, arm: str, seed: int, groups: Sequence[Sequence[Case]]) -> None:
        self._site, self._arm, self._seed, self._groups = site, arm, seed, groups
        self._folder = inside(site.config.output, "scores", arm)

    def make(self, entry: dict[str, Any], arrays: Arrays) -> None:
        """Score everybody with a model."""
        named.save(self._folder / SERVED, arrays, {"model": entry})
        model = self.model(entry, arrays)
        for cases in self._groups:
            for case in cases:
                self._save(case, self.score(model, case))

    def maps(self, case: Case) -> Arrays:
        """All maps at the brain's voxels, (n,) each; made again from the model that was served if they are damaged or
        gone."""
        path = self._path(case)
        if path.exists():
            try:
                return named.load(path)
            except DamagedError as error:
                put_aside(path, error.why, "the person is scored again")
        self._save(case, self.score(self._served, case))
        return named.load(path)

    def clear(self, but_the_model: bool) -> None:
        """Throw the maps away, and the model they can be made from."""
        for path in self._folder.glob("*"):
            if not (but_the_model and path.name == SERVED):
                path.unlink(missing_ok=True)

    def model(self, entry: dict[str, Any], arrays: Arrays) -> NormativeModel:
        """A model as it is served here: with what it learns from the site's own people."""
        model = self._site.model(entry, self._seed)
        model.load(arrays)
        personalise(model, self._site)
        return model

    def score(self, model: NormativeModel, case: Case) -> Score:
        """A scan's maps by a model, in the light of the person's earlier visits."""
        cases = next(cases for cases in self._groups if case in cases)
        try:
            found = score(model, until(case, cases), case.visit.name)
        except SiteError as error:
            raise SiteError(error.code, f"{self._arm}: {error.detail}") from error
        tick()
        return found

    @cached_property
    def _served(self) -> NormativeModel:
        """The model that everybody was scored with."""
        path = self._folder / SERVED
        if not path.exists():
            raise SiteError(SiteCode.BAD_REQUEST, f"nothing was scored for {self._arm}")
        arrays, header = named.read(path)
        return self.model(header["model"], arrays)

    def _save(self, case: Case, found: Score) -> None:
        mask = case.entry.mask()
        named.save(self._path(case), {name: values[mask] for name, values in found.maps().items()})

    def _path(self, case: Case) -> Path:
        return self._folder / f"{case.visit.name}.safetensors"
