"""The report of a simulation, with single patients: it reads the sites' own folders, as no server could."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from normfed_client.hospital.simulated import read_sites_again
from normfed_client.hospital.site import Site
from normfed_client.imaging.bids import Problem, Visit
from normfed_common.algorithms.arms import POOLED
from normfed_common.foundation.errors import RunError
from normfed_common.foundation.files import write_json
from normfed_server.report.ages import Ages
from normfed_server.report.page import Patients, write_report
from normfed_server.results.layout import RunResults
from normfed_server.results.reading import read_as
from normfed_server.runs.folder import Run
from normfed_simulation import people
from normfed_simulation.patient_table import chance_by_kind, patient_rows, touched
from normfed_simulation.pictured import cases
from normfed_simulation.run_folder import CONDITIONS

T = TypeVar("T")
LEFT_OUT = "left_out.json"  # who takes no part, and why


def remember_left_out(run: Run, problems: Iterable[Problem]) -> None:
    """Keep who was left out and why, for the report."""
    write_json(run.folder / LEFT_OUT, [(problem.what, problem.why) for problem in problems])


def report(run: Run) -> Path:
    """Write report.html, with single patients where the run has sites on this machine, as that of a server has not.

    Raises
    ------
    RunError
        If the run is not finished, or a file of it is damaged.
    """
    if not run.finished:
        raise RunError(f"{run.folder}: not finished. Go on with: normfed simulate --resume {run.folder}")
    if not run.sites_file.exists():
        return write_report(run)
    results = people.results(run)
    sites = sites_of(run)
    rows = patient_rows(run, results, sites)
    patients = Patients(
        cases=cases(run, results, sites),
        people=rows,
        touched=touched(rows),
        chance_by_kind=chance_by_kind(rows),
        left_out=_kept(run, LEFT_OUT, list[tuple[str, str]], []),
        attacks=_kept(run, CONDITIONS, dict[str, dict[str, str]], {}).get("attacks", {}),
        device=", ".join(sorted({str(site.device) for site in sites.values()})),
        ages=ages(results, sites),
    )
    return write_report(run, patients, results)


def _kept(run: Run, name: str, kind: type[T], without: T) -> T:
    """What a file of the run says, which an older one has not."""
    path = run.folder / name
    return read_as(kind, path, "Copy the run folder again, or remove the file.") if path.exists() else without


def ages(results: RunResults, sites: Mapping[str, Site]) -> Ages:
    """Of the people of the sites' roles, each at their first visit; nobody's that the dataset does not tell."""
    return Ages(
        _ages(visit for name in results.trained if name in sites for visit in sites[name].roles.train),
        _ages(visit for site in sites.values() for visit in site.roles.test),
    )


def _ages(visits: Iterable[Visit]) -> tuple[float, ...]:
    known: dict[str, float] = {}
    for visit in visits:
        if visit.participant.age is not None:
            known.setdefault(visit.participant.subject, visit.participant.age)
    return tuple(known.values())


def sites_of(run: Run) -> dict[str, Site]:
    """The hospitals of a simulated run, by name."""
    configs = read_sites_again(run.sites_file)
    return {config.name: Site(config, run.study) for config in configs if config.name != POOLED}
