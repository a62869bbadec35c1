"""metrics.json: every figure of a run, per site, over all patients, at the worst site, beside its baselines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from normfed_common.algorithms.arms import FEDERATED, LOCAL, OWN, POOLED, WITHOUT, trainings
from normfed_common.foundation.versions import software
from normfed_common.metrics.base import Metric
from normfed_common.metrics.catalogue import chosen
from normfed_common.metrics.groups import EVERYBODY
from normfed_common.metrics.summary import Summary, add, difference_interval, t_interval
from normfed_common.models.combined.pipeline import draws_anything
from normfed_common.study.config import StudyConfig
from normfed_common.wire.bounds import BELOW_MINIMUM
from normfed_server.arms.evaluation import ArmResult
from normfed_server.arms.plan import Plan, baseline_titles, federated_title
from normfed_server.arms.virtual_clock import Pace, hospital_time
from normfed_server.events.rounds import RoundFigures
from normfed_server.results.calibration import calibrated
from normfed_server.results.chance import lesion_share
from normfed_server.results.figures import (
    IMAGE_AUROC,
    PRECISION,
    AtSite,
    Convergence,
    Difference,
    Differences,
    Figure,
    Figures,
    LesionShare,
    Merged,
    ModelFigures,
    Number,
    Threshold,
    Trainings,
)
from normfed_server.results.layout import Cohort, HospitalTime, RunResults, described
from normfed_server.results.league import league, shown_in_league
from normfed_server.results.models import BORROWED, TITLES, UNSEEN, local_models, models, of_repeat
from normfed_server.results.privacy import privacy_figures
from normfed_server.results.unseen import unseen
from normfed_server.sites.closing import missing
from normfed_server.sites.description import SiteDescription
from normfed_server.steps import progress as checkpoints
from normfed_server.steps.progress import Progress


def assemble(
    study: StudyConfig,
    plan: Plan,
    sites: Mapping[str, SiteDescription],
    arms: Mapping[str, ArmResult],
    failed: Mapping[str, str],
    folder: Path,
    pace: Pace | None,
) -> RunResults:
    """Everything that metrics.json holds."""
    progress = {arm.name: _progress(folder, arm.name, study) for arm in plan.arms}
    missed = _missed(progress, arms)
    arms = consistent(plan, arms)
    train = next((arm.train for arm in plan.arms if arm.name == FEDERATED), ())
    repeats = [models(arms, repeat, train) for repeat in range(trainings(study))]
    per_model, first = repeats[0], of_repeat(arms, 0)
    raw = {name: found.history for name, found in progress.items()}
    histories = {name: tuple(RoundFigures.of_entry(entry) for entry in history) for name, history in raw.items()}
    metrics = chosen(study.evaluation.metrics)
    time = hospital_time(study, sites, raw[FEDERATED], pace)
    return RunResults(
        study=study.name,
        digest=study.digest,
        seed=study.seed,
        sites=tuple(_cohort(name, site) for name, site in sites.items() if name != POOLED),
        left_out=dict(plan.left_out),
        failed=dict(failed),
        not_served={arm.name: dict(arm.not_served) for arm in plan.arms if arm.not_served},
        strategies={
            arm.name: dict(arm.strategy)
            for arm in plan.arms
            if arm.federated and not arm.repeat and not arm.name.startswith(WITHOUT)
        },
        titles={FEDERATED: federated_title(study)}
        | {name: title for name, title in TITLES.items() if name in per_model}
        | baseline_titles(study),
        trained=tuple(train),
        rounds=histories[FEDERATED],
        rounds_of={name: history for name, history in histories.items() if name != FEDERATED},
        convergence={
            name: found for name, history in histories.items() if (found := _convergence(history, sites)) is not None
        },
        missing={
            arm.name: {site: tuple(rounds) for site, rounds in missing(raw[arm.name]).items()}
            for arm in plan.arms
            if arm.federated and raw[arm.name]
        },
        missed=missed,
        notes={
            name: {site: tuple(texts) for site, texts in found.notes.items()}
            for name, found in progress.items()
            if found.notes
        },
        hospital_time=None if time is None else HospitalTime.model_validate_json(json.dumps(time)),
        evaluation={
            name: _model(
                metrics, summaries, arms.get(name), _own_images(name, first), _trainings(metrics, repeats, name)
            )
            for name, summaries in per_model.items()
        },
        lesion_share=_lesion_share(arms.get(FEDERATED)),
        privacy=privacy_figures(study, plan),
        nothing_drawn=_nothing_drawn(study, plan, per_model),
        intervals=_intervals(arms),
        matrix=_matrix(metrics, first),
        differences=_differences(metrics, per_model),
        unseen=unseen(per_model, local_models(first), shown_in_league(metrics)),
        league=tuple(league(plan, repeats, histories)),
        software=software(),
        lowest_score=0.0,  # thresholds of runs without this key are on a scale of scores that could be negative
        metrics=described(metrics),
    )


def consistent(plan: Plan, arms: Mapping[str, ArmResult]) -> dict[str, ArmResult]:
    """Figures that can be set beside each other: of a site that reports other kinds of lesion for one model than for
    the first, which no honest site does, that model's are left out."""
    groups: dict[str, tuple[str, ...]] = {}
    found: dict[str, ArmResult] = {}
    for name in (arm.name for arm in sorted(plan.arms, key=lambda arm: arm.name != FEDERATED) if arm.name in arms):
        result = arms[name]
        kept = {
            site: summary
            for site, summary in result.summaries.items()
            if groups.setdefault(site, summary.groups) == summary.groups
        }
        if kept:
            found[name] = replace(
                result,
                summaries=kept,
                counts={site: counts for site, counts in result.counts.items() if site in kept},
                image_auroc={site: value for site, value in result.image_auroc.items() if site in kept},
            )
    return found


def _own_images(name: str, arms: Mapping[str, ArmResult]) -> dict[str, float]:
    if name in (UNSEEN, BORROWED):
        return {}
    if name == OWN:
        own = {arm.removeprefix(LOCAL): result for arm, result in arms.items() if arm.startswith(LOCAL)}
        return {site: result.image_auroc[site] for site, result in own.items() if site in result.image_auroc}
    return arms[name].image_auroc


def _nothing_drawn(study: StudyConfig, plan: Plan, names: Iterable[str]) -> tuple[str, ...]:
    """The models of which every training is the same."""
    entries = {arm.name: arm.model for arm in plan.arms}
    return tuple(name for name in names if not draws_anything(study, entries.get(name, study.model)))


def _trainings(
    metrics: Sequence[Metric], repeats: Sequence[Mapping[str, Mapping[str, Summary]]], name: str
) -> dict[str, Trainings]:
    """By metric, where a model was trained several times: each training's mean over patients, and the 95 % interval of
    their mean (Student's t over trainings), for these very patients: those of the sites that tell the metric of every
    training."""
    trained = [repeat[name] for repeat in repeats if repeat.get(name)]
    if len(trained) < 2:
        return {}
    found = {}
    for metric in metrics:
        sites = [site for site in trained[0] if all(site in one and one[site].n(metric.name) for one in trained)]
        if sites:
            means = np.array([add([one[site] for site in sites]).mean(metric.name) for one in trained])
            low, high = t_interval(float(means.mean()), float(means.std(ddof=1) / len(means) ** 0.5), len(means) - 1)
            found[metric.name] = Trainings(means=tuple(means.tolist()), mean=float(means.mean()), ci95=(low, high))
    return found


def _model(
    metrics: Sequence[Metric],
    summaries: Mapping[str, Summary],
    result: ArmResult | None,
    images: Mapping[str, float],
    trained: dict[str, Trainings],
) -> ModelFigures:
    everybody = add(list(summaries.values()))
    sites = {site: _figures(metrics, summary, EVERYBODY) for site, summary in summaries.items()}
    worst, over_all = _worst(metrics, summaries), _figures(metrics, everybody, EVERYBODY)
    for site, value in images.items():
        sites.setdefault(site, {})[IMAGE_AUROC] = Figure(mean=value, sd=None, n=1)
    if images:
        lowest = min(images, key=lambda name: images[name])
        worst[IMAGE_AUROC] = AtSite(mean=images[lowest], site=lowest)
    kinds = {kind: _figures(metrics, everybody, kind) for kind in everybody.groups if kind != EVERYBODY}
    tested = result if result is not None and result.counts else None
    if tested is not None:
        over_all[IMAGE_AUROC] = Figure(mean=tested.image_auroc_all(), sd=None, n=len(tested.counts))
    return ModelFigures(
        sites=sites,
        all=over_all,
        kinds=kinds,
        worst_site=worst,
        trainings=trained,
        merged={name: Merged(**vars(bracket)) for name, bracket in tested.merged().items()} if tested else None,
        threshold=Threshold(value=tested.threshold, source=tested.threshold_from) if tested else None,
        calibration=calibrated(tested.calibration, tested.missed) if tested and tested.calibration else None,
        exceedance_error=tested.exceedance_error() if tested else None,
    )


def _figures(metrics: Sequence[Metric], summary: Summary, group: str) -> Figures:
    return {
        metric.name: Figure(
            mean=summary.mean(metric.name, group),
            sd=summary.sd(metric.name, group),
            n=summary.n(metric.name, group),
            ci95=summary.interval(metric.name, group),
        )
        for metric in metrics
        if summary.n(metric.name, group)
    }


def _worst(metrics: Sequence[Metric], summaries: Mapping[str, Summary]) -> dict[str, AtSite]:
    worst = {}
    for metric in metrics:
        means = {site: summary.mean(metric.name) for site, summary in summaries.items() if summary.n(metric.name)}
        if means:
            choose = min if metric.higher_is_better else max
            site = choose(means, key=lambda name: means[name])
            worst[metric.name] = AtSite(mean=means[site], site=site)
    return worst


def _lesion_share(tested: ArmResult | None) -> LesionShare | None:
    """From counts that the sites' rankings are merged from, at sites that tell of lesions."""
    if tested is None:
        return None
    told = {site: found for site, found in tested.counts.items() if found["lesion"].any()}
    if not told:
        return None
    shares, merged = {site: lesion_share([found]) for site, found in told.items()}, lesion_share(told.values())
    patients = {site: summary.n(PRECISION) for site, summary in tested.summaries.items() if site in shares}
    number = sum(patients.values())
    mean = sum(n * shares[site] for site, n in patients.items()) / number if number else merged
    return LesionShare(all=mean, sites=shares, merged=merged)


def _intervals(arms: Mapping[str, ArmResult]) -> Literal["bootstrap", "moments"]:
    """What 95 % intervals are made of: resamplings, or moments where a site sends no more."""
    resampled = all(summary.resampled for result in arms.values() for summary in result.summaries.values())
    return "bootstrap" if resampled else "moments"


def _matrix(metrics: Sequence[Metric], arms: Mapping[str, ArmResult]) -> dict[str, dict[str, dict[str, Number]]]:
    """Metric to training site to test site: the local models' means everywhere."""
    return {
        metric: {
            train: {test: summary.mean(metric) for test, summary in sorted(row.items())}
            for train, row in sorted(local_models(arms).items())
        }
        for metric in shown_in_league(metrics)
    }


def _differences(metrics: Sequence[Metric], per_model: Mapping[str, Mapping[str, Summary]]) -> dict[str, Differences]:
    """Federated minus every other model, paired in a simulation: over all patients, per kind, per site."""
    reference = per_model[FEDERATED]
    compared = [metric.name for metric in metrics if "differences" in metric.shown]
    found: dict[str, Differences] = {}
    for name, others in per_model.items():
        if name == FEDERATED:
            continue
        common = [site for site in reference if site in others]
        if not common:
            continue
        ours, theirs = add([reference[s] for s in common]), add([others[s] for s in common])
        found[name] = Differences(
            all=_difference(compared, ours, theirs, EVERYBODY),
            kinds={
                kind: _difference(compared, ours, theirs, kind)
                for kind in ours.groups
                if kind != EVERYBODY and kind in theirs.groups
            },
            sites={site: _difference(compared, reference[site], others[site], EVERYBODY) for site in common},
        )
    return found


def _difference(metrics: Sequence[str], ours: Summary, theirs: Summary, group: str) -> dict[str, Difference]:
    return {
        metric: Difference(
            mean=ours.mean(metric, group) - theirs.mean(metric, group),
            n=min(ours.n(metric, group), theirs.n(metric, group)),
            ci95=difference_interval(ours, theirs, metric, group),
        )
        for metric in metrics
        if ours.n(metric, group) and theirs.n(metric, group)
    }


def _convergence(history: Sequence[RoundFigures], sites: Mapping[str, SiteDescription]) -> Convergence | None:
    """The last round's loss, every site's weighed by its people; None where there is nothing to set beside it."""
    reference = history[-1].reference if history else None
    losses = {site: loss for site, loss in history[-1].loss.items() if loss is not None} if history else {}
    people = {site: max(sites[site].train, 1) for site in losses if site in sites}
    if reference is None or not people:
        return None
    mean = sum(people[site] * losses[site] for site in people) / sum(people.values())
    return Convergence(loss=mean, reference=reference, ratio=mean / reference)


def _progress(folder: Path, arm: str, study: StudyConfig) -> Progress:
    """How an arm's training went, without its models: all arms' are more than fits into memory."""
    found = checkpoints.load(folder / arm / "progress.safetensors", study.digest) or Progress([])
    return replace(found, models=[], memory={})


def _missed(progress: Mapping[str, Progress], arms: Mapping[str, ArmResult]) -> dict[str, dict[str, str]]:
    """Arm to the sites whose sums, last training or figures are not in it, and why."""
    found = {name: {**entry.missed, **(arms[name].missed if name in arms else {})} for name, entry in progress.items()}
    return {name: dict(sorted(sites.items())) for name, sites in found.items() if sites}


def _cohort(name: str, site: SiteDescription) -> Cohort:
    return Cohort(
        name=name,
        train=_count(site.train),
        held_out=_count(site.held_out),
        test=_count(site.test),
        kinds=tuple(site.kinds),
    )


def _count(people: int) -> int | None:
    """None where the site would not say: fewer than its minimum."""
    return None if people == BELOW_MINIMUM else people
