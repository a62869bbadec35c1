"""domain-shift.json: every harmonization's figures beside those without."""

from __future__ import annotations

from collections.abc import Mapping

from normfed_common.algorithms.arms import FEDERATED, OWN, trainings
from normfed_common.foundation.errors import RunError
from normfed_common.metrics.summary import Summary, add, averaged
from normfed_common.models.combined.pipeline import draws_anything
from normfed_common.study.domain_shift import NONE
from normfed_server.results.figures import AtSite
from normfed_server.results.league import shown_in_league
from normfed_server.results.models import BORROWED, UNSEEN
from normfed_simulation.domain_shift.figures import Figures, figures
from normfed_simulation.domain_shift.folder import ShiftFolder
from normfed_simulation.domain_shift.gaps import Trained, compared, gap, joined, spread
from normfed_simulation.domain_shift.layout import (
    ApproachFigures,
    DomainShift,
    Gaps,
    HarmonizationResults,
    MetricFigures,
)
from normfed_simulation.domain_shift.running import finished, kept_scanners
from normfed_simulation.domain_shift.words import words

GAPS = {FEDERATED: (FEDERATED, UNSEEN), OWN: (OWN, BORROWED)}  # seen and unseen


def assembled(folder: ShiftFolder, failed: Mapping[str, str]) -> DomainShift:
    """Everything, of the runs that are finished.

    Parameters
    ----------
    failed
        Harmonization to why it has no run.

    Raises
    ------
    RunError
        If no run is finished, or no site of a run can be seen and unseen.
    """
    found: dict[str, Figures] = {}
    failed = dict(failed)
    for name in folder.shift.studies:
        if name not in failed and finished(folder, name):
            try:
                found[name] = figures(folder.run(name))
            except RunError as error:
                failed[name] = str(error)
    if not found:
        reasons = dict.fromkeys(failed.values())
        nothing = f"{folder.path}: no run" if folder.begun else "No run"
        whys = reasons if len(reasons) == 1 else [f"{name}: {why}" for name, why in failed.items()]
        raise RunError(f"{nothing} could be finished. {'; '.join(whys)}")
    found, remarks = _alike(found)
    any_run = next(iter(found.values()))
    metrics = _metrics(any_run)
    without = found.get(NONE)
    results = {
        name: HarmonizationResults(
            transforms=study.transforms,
            run=str(folder.run_folder(name).relative_to(folder.path)),
            failed="" if name in found else failed.get(name, "not finished"),
            figures={m: _of_metric(found[name], None if name == NONE else without, m) for m in metrics}
            if name in found
            else {},
            scanners=kept_scanners(folder, name) if name in found else None,
        )
        for name, study in folder.shift.studies.items()
    }
    study = folder.shift.study
    everything = DomainShift(
        study=study.name,
        digest=study.digest,
        seed=study.seed,
        trainings=trainings(study),
        drawn=any(draws_anything(of_one, of_one.model) for of_one in folder.shift.studies.values()),
        metrics={m: next(iter(_everybody(any_run).values())).metric(m).title for m in metrics},
        titles=any_run.titles,
        sites=any_run.sites,
        trained=tuple(any_run.matrix),
        tested=tuple(next(iter(any_run.matrix.values()))),
        remarks=(*folder.shift.remarks, *remarks, *_beside(any_run)),
        words={},
        harmonizations=results,
    )
    return everything.model_copy(update={"words": {topic: tuple(said) for topic, said in words(everything).items()}})


def _alike(found: Mapping[str, Figures]) -> tuple[dict[str, Figures], list[str]]:
    """All at the sites of which every run has figures, so that differences are over the same people."""
    common = set.intersection(*(set(run.sites) for run in found.values()))
    if not common:
        raise RunError("The runs have no site in common whose figures could be compared.")
    remarks = []
    for name, run in found.items():
        others = sorted({site for other in found.values() for site in other.sites} - set(run.sites))
        if others:
            remarks.append(f"{', '.join(others)} left out everywhere: {name} has not all figures of it.")
    return {name: run.at(common) for name, run in found.items()}, remarks


def _beside(run: Figures) -> list[str]:
    """Which sites have figures in the matrices alone."""
    if not run.seen:
        return ["No site both trains and tests: every figure is of scanners that no model saw, and no gap is defined."]
    more = sorted({test for row in run.matrix.values() for test, of in row.items() if of} - set(run.sites))
    return [f"{', '.join(more)} never trained: in the matrices alone."] if more else []


def _everybody(run: Figures) -> dict[str, Summary]:
    return {name: add([averaged(of) for of in served.values()]) for name, served in run.approaches.items()}


def _metrics(run: Figures) -> list[str]:
    first = next(iter(next(iter(run.approaches.values())).values()))[0]
    return sorted(shown_in_league(first.metrics), key=lambda name: name != "auprc")


def _of_metric(run: Figures, without: Figures | None, metric: str) -> MetricFigures:
    federated = joined(run.approaches[FEDERATED])
    return MetricFigures(
        approaches={
            name: _approach(
                served,
                metric,
                None if without is None or name not in without.approaches else joined(without.approaches[name]),
                None if name == FEDERATED else federated,
            )
            for name, served in run.approaches.items()
        },
        gaps={
            name: _gaps(run, without, pair, metric)
            for name, pair in GAPS.items()
            if run.seen and set(pair) <= run.approaches.keys()
        },
        matrix={
            train: {test: averaged(of).mean(metric) for test, of in row.items() if of}
            for train, row in run.matrix.items()
        },
    )


def _approach(
    served: Mapping[str, Trained], metric: str, without: Trained | None, federated: Trained | None
) -> ApproachFigures:
    together = joined(served)
    everybody = averaged(together)
    sites = {site: averaged(of).mean(metric) for site, of in served.items() if of[0].n(metric)}
    choose = min if everybody.metric(metric).higher_is_better else max
    worst = choose(sites, key=lambda site: sites[site]) if sites else None
    return ApproachFigures(
        n=together[0].n(metric),
        mean=everybody.mean(metric),
        ci95=everybody.interval(metric),
        sites=dict(sites),
        worst_site=None if worst is None else AtSite(mean=sites[worst], site=worst),
        trainings=spread([of.mean(metric) for of in together]),
        over_none=None if without is None else compared(together, without, metric),
        over_federated=None if federated is None else compared(together, federated, metric),
    )


def _gaps(run: Figures, without: Figures | None, pair: tuple[str, str], metric: str) -> Gaps:
    seen, unseen = (run.approaches[name] for name in pair)
    before = None if without is None else tuple(without.approaches[name] for name in pair)

    def of(site: str | None) -> tuple[Trained, Trained, tuple[Trained, Trained] | None]:
        def at(served: Mapping[str, Trained]) -> Trained:
            return joined(served) if site is None else served[site]

        return at(seen), at(unseen), None if before is None else (at(before[0]), at(before[1]))

    ours, theirs, reference = of(None)
    return Gaps(
        all=gap(ours, theirs, metric, reference),
        sites={site: gap(*of(site)[:2], metric, of(site)[2]) for site in run.sites},
    )
