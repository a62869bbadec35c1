"""Evaluation at the site: maps, per-person figures and scans stay; counts and sums over people leave.

Three steps, since edges and threshold come from all sites: scores and their range; coarse counts; measurement. What
leaves a hospital is about at least its minimum of people in every number: see `normfed_common.privacy.disclosure`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from normfed_client.evaluating.counting import ClassHistograms, Histogram
from normfed_client.evaluating.kept_maps import KeptMaps
from normfed_client.evaluating.maps import P_VALUE, p_map
from normfed_client.evaluating.people import EvaluatedPeople
from normfed_client.evaluating.permitted import IMAGE_AUROC, Permitted
from normfed_client.evaluating.thresholds import Extremes, groups_told_of
from normfed_client.evaluating.volumes import volumes_of
from normfed_client.hospital.site import Case, Site
from normfed_client.imaging.mapping import place_on, write_map
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.foundation.files import inside, write_json
from normfed_common.learning.score import ANOMALY
from normfed_common.metrics import histograms, subjects
from normfed_common.metrics.base import NormalPeople, ScoredScan, figures
from normfed_common.metrics.calibration import NormalVoxels
from normfed_common.metrics.curves import region_weights
from normfed_common.metrics.groups import EVERYBODY
from normfed_common.metrics.summary import Summary, reportable_groups, summarise
from normfed_common.metrics.tissue import tissue_classes
from normfed_common.privacy import disclosure
from normfed_common.processes.ticks import tick
from normfed_common.wire.evaluation import CommonEdges


@dataclass(frozen=True)
class Measured:
    """What `measure` gives: sums over the site's people, and counts between the common edges."""

    summary: Summary
    normal: np.ndarray
    lesion: np.ndarray
    regions: np.ndarray
    normal_people: np.ndarray
    patients: np.ndarray
    image_auroc: float


class Evaluation:
    """One model's evaluation at one site; scores wait on the site's disk between the steps.

    A site that tests nobody takes part in the first two, where its held-out normal people are enough: with all others'
    they set thresholds, and are what p-values compare with.

    Parameters
    ----------
    seed
        Of the training that the model belongs to.
    """

    def __init__(self, site: Site, arm: str, seed: int) -> None:
        self.site, self.arm, self.seed = site, arm, seed
        self.people, self._permitted = EvaluatedPeople(site, arm), Permitted(site)
        self.minimum = site.told_together

    @cached_property
    def _kept(self) -> KeptMaps:
        return KeptMaps(self.site, self.arm, self.seed, (self.people.test, self.people.normal))

    def score(self, entry: dict[str, Any], arrays: Arrays) -> tuple[float, float]:
        """Score everybody who tests or is held out with a model; returns the common range of the scores."""
        self._permitted.check()
        self._kept.make(entry, arrays)
        return self._range

    def count(self, low: float, high: float) -> Arrays:
        """Coarse counts over [low, high]: voxels of patients outside and inside lesions, and of normal people by class.

        Raises
        ------
        SiteError
            If the range is not that of all sites: a narrower one would tell single scores apart, and of one that is
            wider than numbers reach there are no bins.
        """
        self._permitted.check()
        own_low, own_high = self._range
        if low > own_low or high < own_high or not np.isfinite(high - low):
            raise SiteError(SiteCode.BAD_REQUEST, f"the range [{low}, {high}] does not hold this site's scores")
        normal, lesion = (Histogram(histograms.COARSE_BINS, self.minimum, self.people.groups) for _ in range(2))
        held_out = ClassHistograms(low, high, self.minimum, self.people.groups)
        for case in self.people.test:
            person, scores, found = case.visit.participant.subject, self._clipped(case), self._lesion(case)
            normal.add(person, histograms.coarse_counts(scores[~found], low, high))
            lesion.add(person, histograms.coarse_counts(scores[found], low, high))
        for case in self.people.held_out:
            kept = self._normal_voxels(case)
            held_out.add(case.visit.participant.subject, self._clipped(case)[kept], self._classes(case)[kept])
        told_of = self.people.held_out if self._permitted.people_held_out else []
        people = histograms.coarse_counts(self._people_scores(told_of), low, high)
        told = {"normal": normal.told(), "lesion": self._counted(lesion), "held_out": held_out.told()}
        return {**told, "held_out_people": people}

    def _counted(self, histogram: Histogram) -> np.ndarray:
        """Counts as they leave; none where the hospital lets no figure leave that is made of them."""
        found = histogram.told()
        return found if self._permitted.counts else np.zeros_like(found)

    def measure(self, common: CommonEdges, threshold: float, maps: bool) -> Measured:
        """All figures of the site.

        Parameters
        ----------
        common
            The same at every site.
        threshold
            Of the whole brain; see `Measure`.
        maps
            Whether to write the anomaly maps and p-values as NIfTI into the site's output folder.

        Raises
        ------
        SiteError
            If there are more edges than this study asks with.
        """
        self._permitted.check()
        edges = common.edges
        most = 2 * self.site.study.evaluation.bins + 2
        if len(edges) > most:
            raise SiteError(SiteCode.BAD_REQUEST, f"{len(edges)} edges, of which this study has at most {most}")
        *by_class, whole = self._levels(np.array([*common.thresholds, threshold]))
        levels = np.array(by_class)
        normal, lesion = (Histogram(len(edges) + 1, self.minimum, self.people.groups) for _ in range(2))
        regions = Histogram(len(edges) + 1, self.minimum, self.people.groups, np.float64)
        ill = self.people.ill
        told = dict(zip((case.visit.name for case in ill), self._people_scores(ill), strict=True))
        calibration = NormalPeople(edges, common.held_out_people)
        rows, volumes = [], []
        for case in self.people.test:
            scores, mask, truth = self._grid(case)
            places = self._places(case)
            inside_brain, found = np.clip(scores[mask], *self._range), truth[mask]
            person = case.visit.participant.subject
            normal.add(person, histograms.count(inside_brain[~found], edges))
            lesion.add(person, histograms.count(inside_brain[found], edges))
            regions.add(person, histograms.count(inside_brain, edges, region_weights(truth)[mask]))
            told_score = float(told.get(case.visit.name, np.nan))
            scored = self._scored(scores, mask, truth, float(whole), told_score, calibration, levels[places])
            rows.append({**figures(self._permitted.metrics, scored), "subject_score": self._person(case)})
            volumes.append(volumes_of(scored))
            if maps:
                self._write_maps(case, common, places)
            tick()
        self._keep(rows, volumes)
        ranked = self._permitted.lets(IMAGE_AUROC)
        held_out, ranked_ill = (self.people.held_out, ill) if ranked else ([], [])
        return Measured(
            summary=self._summarise(rows),
            normal=self._counted(normal),
            lesion=self._counted(lesion),
            regions=self._counted(regions),
            normal_people=histograms.count(self._people_scores(held_out), edges),
            patients=histograms.count(np.array([told[case.visit.name] for case in ranked_ill]), edges),
            image_auroc=subjects.image_auroc(*(self._persons(scans) for scans in (held_out, ranked_ill))),
        )

    def close(self) -> None:
        """The figures are made: throw people's scores away. A hospital, which answers a repeated request to score from
        its outbox, keeps the model, from which it can score anew."""
        self._kept.clear(but_the_model=self.site.custody is not None)

    def rank(self, entry: dict[str, Any], arrays: Arrays) -> Summary:
        """Threshold-free figures only, in one step: how a model of another site does here."""
        ranking = [metric for metric in self._permitted.metrics if metric.needs == "scores"]
        self._permitted.check(ranking)
        model = self._kept.model(entry, arrays)
        rows = [
            figures(
                ranking,
                self._scored(self._kept.score(model, case).anomaly, case.entry.evaluated(), case.entry.lesion()),
            )
            for case in self.people.test
        ]
        if self.site.custody is None:  # a hospital keeps nobody's figures of other hospitals' models
            self._keep(rows, [{} for _ in rows])
        return self._summarise(rows)

    def _summarise(self, rows: list[dict[str, float]]) -> Summary:
        study, kinds = self.site.study, [case.kind for case in self.people.test]
        people = [case.visit.participant.subject for case in self.people.test]
        groups = reportable_groups(kinds, people, max(self.site.minimum, self._permitted.fewest))
        if self.site.custody is not None:
            groups = (EVERYBODY, *(kind for kind in groups[1:] if self.people.may_tell(kind)))
        resamplings = study.evaluation.bootstrap if self.minimum == 1 else 0
        found = summarise(
            rows,
            kinds,
            groups,
            resamplings,
            study.seed,
            self.site.config.name,
            people=people,
            minimum=self._permitted.fewest,
            metrics=self._permitted.metrics,
        )
        leaves = np.array([self._permitted.lets(metric.name) for metric in self._permitted.metrics])
        moments, bootstrap = (
            np.where(leaves[:, None], found.moments, 0.0),
            np.where(leaves[:, None, None], found.bootstrap, 0.0),
        )
        return Summary(found.groups, moments, bootstrap, found.metrics)

    def _scored(
        self,
        scores: np.ndarray,
        mask: np.ndarray,
        truth: np.ndarray,
        threshold: float = float("nan"),
        told_score: float = float("nan"),
        calibration: NormalPeople | None = None,
        thresholds: np.ndarray | None = None,
    ) -> ScoredScan:
        evaluation, size = self.site.study.evaluation, self.site.study.preprocessing.voxel_size_mm
        return ScoredScan(
            scores,
            truth,
            mask,
            size,
            threshold,
            evaluation.minimum_cluster_voxels(size),
            evaluation.surface_tolerance_mm,
            told_score,
            calibration,
            thresholds,
        )

    def _levels(self, thresholds: np.ndarray) -> np.ndarray:
        """Thresholds (classes + 1,), float32, as they are used: no figure at one is about few people's voxels."""
        if self.minimum == 1:
            return thresholds.astype(np.float32)
        extremes = Extremes()
        for case in self.people.test:
            extremes.add(case.visit.participant.subject, self._scores(case), self._classes(case))
        return extremes.settled(thresholds, groups_told_of(self.site, self.people.test), self.minimum)

    def _write_maps(self, case: Case, common: CommonEdges, places: np.ndarray) -> None:
        mask, folder = case.entry.mask(), self.site.config.output / "maps"
        maps, place = self._kept.maps(case), place_on(case.visit, case.entry, self.site.recipe)
        for name, values in maps.items():
            shown = np.zeros(mask.shape, np.float32)
            shown[mask] = values
            write_map(shown, case.visit, place, folder, name)
        if common.held_out.any():
            normal = NormalVoxels(common.edges, common.held_out)
            shown = p_map(maps[ANOMALY], mask, places[mask], normal, self.site.study.evaluation.threshold_by)
            write_map(shown, case.visit, place, folder, P_VALUE, outside=1.0)

    def _grid(self, case: Case) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        region = case.entry.evaluated()
        scores = np.zeros(region.shape, np.float32)
        scores[region] = self._scores(case)
        return scores, region, case.entry.lesion()

    @cached_property
    def _range(self) -> tuple[float, float]:
        """Score range; at least ``minimum`` people reach either end."""
        ends: dict[str, list[float]] = {}
        for case in (*self.people.test, *self.people.held_out):
            scores = self._scores(case)
            ends.setdefault(case.visit.participant.subject, []).extend((float(scores.min()), float(scores.max())))
        return disclosure.common_range(
            np.array([min(values) for values in ends.values()]),
            np.array([max(values) for values in ends.values()]),
            self.minimum,
            np.array([self.people.groups[person] for person in ends]),
        )

    def _clipped(self, case: Case) -> np.ndarray:
        """Scores as they are counted: those beyond the common range as its ends."""
        return np.clip(self._scores(case), *self._range)

    def _people_scores(self, scans: Sequence[Case]) -> np.ndarray:
        """One score for each scan, as it is told: of several people together (`disclosure.microaggregated`)."""
        scores = self._persons(scans)
        if self.minimum == 1 or not len(scores):
            return scores
        names, owner = np.unique([case.visit.participant.subject for case in scans], return_inverse=True)
        means = np.bincount(owner, scores) / np.bincount(owner, minlength=len(names))
        groups = np.array([self.people.groups[name] for name in names])
        return np.clip(disclosure.microaggregated(means, self.minimum, groups)[owner], *self._range)

    def _scores(self, case: Case) -> np.ndarray:
        """The anomaly of the voxels that are evaluated: the brain's, but for what is ignored."""
        scores, ignored = self._kept.maps(case)[ANOMALY], case.entry.ignored()
        return scores if ignored is None else scores[~ignored[case.entry.mask()]]

    @cached_property
    def _tissues(self) -> np.ndarray:
        """The template's grey matter, white matter and fluid, (3, X, Y, Z)."""
        return self.site.setting.anatomy.tissues()

    def _places(self, case: Case) -> np.ndarray:
        """The class of every voxel, int8 (X, Y, Z)."""
        return tissue_classes(self._tissues, case.entry.mask(), self.site.study.preprocessing.voxel_size_mm)

    def _classes(self, case: Case) -> np.ndarray:
        """The class of the voxels that are evaluated."""
        return self._places(case)[case.entry.evaluated()]

    def _lesion(self, case: Case) -> np.ndarray:
        return case.entry.lesion()[case.entry.evaluated()]

    def _normal_voxels(self, case: Case) -> np.ndarray:
        return case.entry.normal()[case.entry.evaluated()]

    def _person(self, case: Case) -> float:
        return float(np.quantile(self._scores(case), subjects.SUBJECT_QUANTILE))

    def _persons(self, scans: Sequence[Case]) -> np.ndarray:
        """One score for each scan, (scans,)."""
        return np.array([self._person(case) for case in scans])

    def _keep(self, rows: list[dict[str, float]], volumes: list[dict[str, Any]]) -> None:
        people = [
            {"name": case.visit.name, "kind": case.kind, **row, **volume}
            for case, row, volume in zip(self.people.test, rows, volumes, strict=True)
        ]
        write_json(inside(self.site.config.output, "people", f"{self.arm}.json"), people)
