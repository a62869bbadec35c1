"""Evaluate one arm at the sites, in three steps, from sums and counts alone."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from flwr.app import Message

from normfed_common.foundation import arrays as named
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import RunError, SiteCode
from normfed_common.metrics import histograms, subjects
from normfed_common.metrics.base import merged_figures
from normfed_common.metrics.calibration import NormalVoxels
from normfed_common.metrics.catalogue import BUILT_IN, chosen
from normfed_common.metrics.summary import Summary
from normfed_common.metrics.tissue import CLASSES
from normfed_common.privacy import disclosure
from normfed_common.wire import offers
from normfed_common.wire.answers import Answer, Figures, ScoredPeople
from normfed_common.wire.evaluation import COUNTS, CommonEdges, ScoreRange
from normfed_common.wire.messages import requests
from normfed_common.wire.offers import Offer
from normfed_common.wire.requests import Count, Measure, Payload, ScorePeople
from normfed_server.arms.calibration import HELD_OUT, OWN_TISSUE, Calibration, calibrate
from normfed_server.arms.plan import Arm
from normfed_server.events.fleeting import Answered
from normfed_server.events.kinds import Evaluated, Missing
from normfed_server.events.log import EventLog, pass_on
from normfed_server.sites import claims
from normfed_server.sites.asking import Asker, SiteFailed
from normfed_server.sites.letterhead import Letterhead
from normfed_server.sites.roster import Roster
from normfed_server.steps import shares
from normfed_server.steps.progress import Progress

WIDEST = 100.0  # times the scores of the site in the middle, plus 1: those then fall into hundreds of coarse bins
NORMAL_VOXELS = "normal-voxels."  # before the names of arrays; those of sites have a slash behind
VOXELS = ("normal", "lesion", "regions")
WITHHELD = (SiteCode.COHORT_TOO_SMALL, SiteCode.NO_TEST_SUBJECTS)


@dataclass
class ArmResult:
    """An arm's figures.

    Parameters
    ----------
    summaries
        Per site.
    counts
        Per fully evaluated site: normal, lesion, regions (b,), normal_people, patients.
    image_auroc
        Per site where it is defined.
    threshold
        The voxel score that the study's specificity gives on held-out normal people; NaN without any.
    missed
        Sites that should have given figures and did not, and why.
    calibration
        What held-out normal people say of the thresholds; None in runs from before it was asked, or where no site gave
        counts.
    normal_voxels
        What p-values compare with; None as above, or where nobody is held out.
    """

    summaries: dict[str, Summary] = field(default_factory=dict)
    counts: dict[str, Arrays] = field(default_factory=dict)
    image_auroc: dict[str, float] = field(default_factory=dict)
    threshold: float = float("nan")
    threshold_from: str = ""
    missed: dict[str, str] = field(default_factory=dict)
    calibration: Calibration | None = None
    normal_voxels: NormalVoxels | None = None

    def merged(self) -> dict[str, histograms.Bracketed]:
        """Voxel metrics over all sites' scans together.

        Hospitals merge bins until enough people are in them (`disclosure.merged_bins`): the bracket then reaches from
        all normal voxels as high and all lesions as low as their merged bins allow to the contrary.
        """
        if not self.counts:
            return {}
        told = named.add(list(self.counts.values()))
        if all(summary.resampled for summary in self.summaries.values()):
            return self._merged(told, told)
        raised = named.add(
            [{name: disclosure.reach(counts[name]) for name in VOXELS} for counts in self.counts.values()]
        )
        lowest, highest = self._merged(raised, told), self._merged(told, raised)
        return {
            name: histograms.Bracketed((low.value + highest[name].value) / 2, low.low, highest[name].high)
            for name, low in lowest.items()
        }

    def _merged(self, normal: Arrays, lesion: Arrays) -> dict[str, histograms.Bracketed]:
        metrics = next(iter(self.summaries.values())).metrics
        counts = histograms.MergedCounts(normal["normal"], lesion["lesion"], lesion["regions"])
        return merged_figures(metrics, counts)

    def image_auroc_all(self) -> float:
        """Image-level AUROC over all sites' people."""
        if not self.counts:
            return float("nan")
        total = named.add(list(self.counts.values()))
        return subjects.image_auroc_from_counts(total["normal_people"], total["patients"])

    def exceedance_error(self) -> float:
        """How far p-values of one site's normal people against the other sites' are from uniform."""
        return subjects.exceedance_error({site: counts["normal_people"] for site, counts in self.counts.items()})


class Evaluator:
    """Runs the three steps for one arm."""

    def __init__(
        self,
        arm: Arm,
        progress: Progress,
        letterhead: Letterhead,
        roster: Roster,
        asker: Asker,
        events: EventLog,
    ) -> None:
        self.arm, self.progress, self.letterhead, self.roster = arm, progress, letterhead, roster
        self.study = letterhead.study
        self.asker, self.events = asker, events
        self._answers = 0

    def run(self) -> ArmResult:
        """All figures of the arm.

        Raises
        ------
        RunError
            If no site gave any that can be used.
        """
        result = ArmResult()
        ranking = {site for site, detail in self.arm.evaluate.items() if detail == "ranking"}
        messages: dict[str, Message] = {}
        for sites, payload in (
            ({*self.arm.evaluate, *self.arm.calibrate} - ranking, ScorePeople(detail="full")),
            (ranking, ScorePeople(detail="ranking")),
        ):
            for served, model in self._served(sites):
                messages |= self._requests(served, payload, offers.encode(Offer((model,))))
        ranges: dict[str, ScoreRange] = {}
        for site, found in self.asker.heard(messages, self._scored, WITHHELD, result.missed):
            if isinstance(found, Summary):
                result.summaries[site] = found
            else:
                ranges[site] = found
        ranges = self._comparable(ranges, result.missed)
        if ranges:
            self._full(result, ranges)
        for site, why in sorted(result.missed.items()):
            self.events.say(Missing(arm=self.arm.name, site=site, round=0, outcome="no figures", why=why))
        if not result.summaries:
            reasons = "; ".join(f"{site}: {why}" for site, why in sorted(result.missed.items())) or "None may be given"
            raise RunError(f"{self.arm.name}: no site gave figures. {reasons}. Fix that, and resume.")
        self.events.say(Evaluated(arm=self.arm.name, sites=tuple(sorted(result.summaries))))
        return result

    def _full(self, result: ArmResult, ranges: Mapping[str, ScoreRange]) -> None:
        low, high = min(found.low for found in ranges.values()), max(found.high for found in ranges.values())
        messages = self._requests(ranges, Count(low=low, high=high))
        held_out: dict[str, np.ndarray] = {}

        def heard() -> Iterator[Arrays]:
            for site, found in self.asker.heard(messages, self._counted, missed=result.missed):
                held_out[site] = found["held_out"]
                yield found

        coarse = named.add(heard())
        if not coarse or not coarse["normal"].any():
            return  # nobody is left whose figures would have a threshold
        evaluation = self.study.evaluation
        edges = histograms.quantile_edges(coarse["normal"], coarse["lesion"], low, high, evaluation.bins)
        whole = self._shared({site: found.sum(0) for site, found in held_out.items()})
        result.threshold = histograms.quantile(whole, low, high, evaluation.specificity)
        result.threshold_from = HELD_OUT
        if not np.isfinite(result.threshold):
            # Nobody is held out: tissue outside lesions of the very patients; said so wherever Dice is shown.
            result.threshold = histograms.quantile(coarse["normal"], low, high, evaluation.specificity)
            result.threshold_from = OWN_TISSUE
        result.calibration = calibrate(
            held_out,
            {site: self.roster.sites[site].held_out for site in held_out},
            low,
            high,
            evaluation.specificity,
            evaluation.threshold_by,
            self._shared,
            result.threshold,
            int(coarse["held_out_people"].sum()),
        )
        common = CommonEdges(
            edges,
            histograms.rebinned(coarse["held_out_people"], low, high, edges),
            self._compared_with(held_out, low, high, edges),
            result.calibration.by_class(),
        )
        if common.held_out.any():
            result.normal_voxels = NormalVoxels(edges, common.held_out)
        there = [site for site in ranges if site in self.arm.evaluate and site not in result.missed]
        payload = Measure(threshold=result.threshold, maps=self.arm.maps)
        messages = self._requests(there, payload, common.arrays())
        measured = partial(self._measured, len(edges))
        for site, (summary, counts, image_auroc) in self.asker.heard(messages, measured, missed=result.missed):
            result.summaries[site], result.counts[site] = summary, counts
            if image_auroc is not None:
                result.image_auroc[site] = image_auroc

    def _shared(self, counts: Mapping[str, np.ndarray]) -> np.ndarray:
        """The sum of sites' counts, of any shape, none of which is more than `federation.largest_share` of it."""
        most = self.study.federation.largest_share
        total: np.ndarray = np.sum(list(counts.values()), axis=0)
        if most == 1 or not total.any():
            return total
        sizes = {site: float(found.sum()) for site, found in counts.items() if found.any()}
        return np.sum([counts[site] * factor for site, factor in shares.factors(sizes, most).items()], axis=0)

    def _compared_with(
        self, held_out: Mapping[str, np.ndarray], low: float, high: float, edges: np.ndarray
    ) -> np.ndarray:
        """What p-values compare with: all sites' coarse counts by class, none more than its largest share, as counts
        between edges, int64 (classes, len(edges) + 1). What merged bins leave open counts as high, and parts of voxels
        as whole ones, so that no p-value is too small."""
        raised = {site: np.stack([disclosure.reach(row) for row in found]) for site, found in held_out.items()}
        if self.study.evaluation.threshold_by == "whole-brain":
            total = self._shared(raised)
        else:
            by_class = ({site: found[number] for site, found in raised.items()} for number in range(len(CLASSES)))
            total = np.stack([self._shared(counts) for counts in by_class])
        above = np.ceil(np.cumsum(total[:, ::-1], 1))
        whole = np.diff(above, axis=1, prepend=0)[:, ::-1].astype(np.int64)
        return np.stack([histograms.rebinned(row, low, high, edges) for row in whole])

    def _one_more(self, site: str) -> None:
        """Say that a site answered: where only the ranking is asked for once, where nobody tests twice, else three
        times."""
        self._answers += 1
        total = sum(1 if detail == "ranking" else 3 for detail in self.arm.evaluate.values())
        total += 2 * len(self.arm.calibrate)
        pass_on(Answered(arm=self.arm.name, site=site, done=self._answers, total=total))

    def _scored(self, site: str, answer: Answer, arrays: Arrays) -> Summary | ScoreRange:
        self._one_more(site)
        if self.arm.evaluate.get(site) == "ranking":
            groups = answer.told(ScoredPeople).groups
            return self._summary(site, groups, arrays, perhaps_nobody=self.study.data.tests_without_lesions)
        return claims.score_range(arrays)

    def _counted(self, site: str, answer: Answer, arrays: Arrays) -> Arrays:
        self._one_more(site)
        return claims.coarse_counts(arrays, self.roster.sites[site], self.study.preprocessing.most_voxels)

    def _measured(self, edges: int, site: str, answer: Answer, arrays: Arrays) -> tuple[Summary, Arrays, float | None]:
        self._one_more(site)
        counts = claims.counts(arrays, edges, self.roster.sites[site], self.study.preprocessing.most_voxels)
        return self._summary(site, answer.told(Figures).groups, arrays), counts, claims.image_auroc(arrays)

    def _comparable(self, ranges: Mapping[str, ScoreRange], missed: dict[str, str]) -> dict[str, ScoreRange]:
        """Ranges without those so wide that all other sites' scores would fall into one bin of the histograms."""
        if not ranges:
            return {}
        farthest = {site: max(abs(found.low), abs(found.high)) for site, found in ranges.items()}
        limit = WIDEST * (statistics.median_low(farthest.values()) + 1)
        wide = {site: far for site, far in farthest.items() if far > limit}
        for site, far in wide.items():
            why = f"its answer cannot be used: its scores go to {far:.3g}; at most {limit:.3g} fits the other sites'"
            if not self.asker.forgiving:
                raise SiteFailed(site, f"evaluate.score of {self.arm.name}", why)
            missed[site] = why
        return {site: found for site, found in ranges.items() if site not in wide}

    def _served(self, sites: Iterable[str]) -> list[tuple[list[str], Arrays]]:
        """Sites by the model that they are served, so that those of one model share a message."""
        groups: dict[int, tuple[list[str], Arrays]] = {}
        for site in sorted(sites):
            model = self.progress.model_of(site)
            groups.setdefault(id(model), ([], model))[0].append(site)
        return list(groups.values())

    def _summary(self, site: str, groups: tuple[str, ...], arrays: Arrays, *, perhaps_nobody: bool = False) -> Summary:
        evaluation, description = self.study.evaluation, self.roster.sites[site]
        metrics = chosen(evaluation.metrics)
        return claims.summary(groups, arrays, evaluation.bootstrap, description, metrics, perhaps_nobody)

    def _requests(self, sites: Iterable[str], payload: Payload, arrays: Arrays | None = None) -> dict[str, Message]:
        header = self.arm.request(self.letterhead, payload)
        return requests({site: self.roster.nodes[site] for site in sites}, header, arrays or {})


def save(path: Path, result: ArmResult) -> None:
    """Write an arm's figures as one safetensors file, atomically."""
    arrays: Arrays = {}
    for site, summary in result.summaries.items():
        arrays[f"{site}/moments"], arrays[f"{site}/bootstrap"] = summary.moments, summary.bootstrap
    for site, counts in result.counts.items():
        arrays |= {f"{site}/{name}": value for name, value in counts.items()}
    if result.normal_voxels is not None:
        arrays |= {NORMAL_VOXELS + name: value for name, value in result.normal_voxels.arrays().items()}
    header = {
        "groups": {site: summary.groups for site, summary in result.summaries.items()},
        "extra_metrics": _extra(result),
        "image_auroc": result.image_auroc,
        "threshold": result.threshold if np.isfinite(result.threshold) else None,
        "threshold_from": result.threshold_from,
        "missed": result.missed,
        "calibration": None if result.calibration is None else result.calibration.model_dump(mode="json"),
    }
    named.save(path, arrays, header)


def _extra(result: ArmResult) -> list[str]:
    metrics = next(iter(result.summaries.values())).metrics if result.summaries else BUILT_IN
    return [metric.name for metric in metrics if metric not in BUILT_IN]


def load(path: Path) -> ArmResult | None:
    """Read an arm's figures; None where there are none yet.

    Raises
    ------
    DamagedError
        If they are damaged.
    """
    if not path.exists():
        return None
    arrays, header = named.read(path)
    result = ArmResult(
        image_auroc=header["image_auroc"], threshold_from=header["threshold_from"], missed=header["missed"]
    )
    if header.get("calibration") is not None:
        result.calibration = Calibration.model_validate_json(json.dumps(header["calibration"]))
    normal = {n.removeprefix(NORMAL_VOXELS): array for n, array in arrays.items() if n.startswith(NORMAL_VOXELS)}
    result.normal_voxels = NormalVoxels.of(normal) if normal else None
    metrics = chosen(header.get("extra_metrics", ()))
    result.threshold = float("nan") if header["threshold"] is None else header["threshold"]
    for site, groups in header["groups"].items():
        result.summaries[site] = Summary(tuple(groups), arrays[f"{site}/moments"], arrays[f"{site}/bootstrap"], metrics)
        if f"{site}/normal" in arrays:
            result.counts[site] = {name: arrays[f"{site}/{name}"] for name in COUNTS}
    return result
