"""Maps made again: of any model of a run, and of anybody who is in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from normfed_client.evaluating import maps
from normfed_client.evaluating.served import path_of, served_arrays, shared_model
from normfed_client.hospital.machine import computing
from normfed_client.hospital.site import Case, Site
from normfed_common.algorithms.arms import FEDERATED, LOCAL, OWN
from normfed_common.foundation.errors import RunError
from normfed_common.learning.score import Score
from normfed_common.models.base import NormativeModel
from normfed_server.runs.folder import ARMS, Run


@dataclass(frozen=True)
class Remade:
    """One of a run's models as a site is served it, and the maps that it makes of that site's people."""

    model: NormativeModel
    site: Site

    def score(self, case: Case, among: Sequence[Case]) -> Score:
        """The maps of a scan.

        Parameters
        ----------
        among
            All visits of the person, of whom those until this one count.
        """
        with computing(self.site.study, self.site.device):
            return maps.score(self.model, maps.until(case, among), case.visit.name)


def _refuse_own(run: Run, site: str) -> None:
    """Say what stands for a site's own model in tables, where it trained none and others did."""
    arms = (run.folder / ARMS).glob(f"{LOCAL}*")
    others = sorted(arm.name for arm in arms if path_of(run.folder, arm.name).exists())
    if others:
        raise RunError(
            f"{run.folder}: {site} trains no model of its own; there `{OWN}` is the mean over the other sites' models. "
            f"Name one of these: {', '.join(others)}."
        )


def served(run: Run, site: Site, arm: str = FEDERATED) -> Remade:
    """A model of a run as it scores at a site, with what it learns there from the site's own people.

    Parameters
    ----------
    arm
        `local` is the site's own.

    Raises
    ------
    RunError
        If the run has no such model, or the site is served none of this name.
    """
    name = LOCAL + site.config.name if arm == OWN else arm
    if arm == OWN and not path_of(run.folder, name).exists():
        _refuse_own(run, site.config.name)
    arrays = served_arrays(run.folder, run.study, site.config.name, name)
    model = shared_model(run.study, arrays, site.device, path_of(run.folder, name), name)
    with computing(run.study, site.device):
        maps.personalise(model, site)
    return Remade(model, site)
