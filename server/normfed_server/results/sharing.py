"""A run's figures without those of one person: a site or a kind of lesion with a single patient has that patient's."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol, TypeVar

from normfed_common.study.config import StudyConfig
from normfed_server.events.rounds import RoundFigures
from normfed_server.results.figures import Differences, LeagueFigure, LeagueRow, ModelFigures
from normfed_server.results.layout import Cohort, RunResults

Places = Collection[tuple[str, str]]  # a site, or a kind of lesion, and the metric that one patient there has


class _OverPeople(Protocol):
    @property
    def n(self) -> int: ...


PERSON = "sub-"
F = TypeVar("F", bound=_OverPeople)
T = TypeVar("T")


def without_single_people(results: RunResults) -> RunResults:
    """All figures but those over one person at a site or with a kind of lesion; the same object where there are none.

    Means over all patients stay, so that a single one can be worked out from them and the means of all other sites.
    """
    sites = {place for model in results.evaluation.values() for place in _single(model.sites)}
    kinds = {place for model in results.evaluation.values() for place in _single(model.kinds)}
    tested = {site for site, _ in sites} | {site.name for site in results.sites if site.test == 1}
    sites |= {(site, metric) for site in tested for metric in results.metrics}
    found = results.model_copy(
        update={
            "sites": tuple(map(_cohort, results.sites)),
            "rounds": without_losses(results.rounds, trained_alone(results)),
            "rounds_of": {
                name: without_losses(history, trained_alone(results)) for name, history in results.rounds_of.items()
            },
            "evaluation": {name: _model(model, sites, kinds) for name, model in results.evaluation.items()},
            "differences": {
                name: Differences(all=its.all, sites=_not_at(its.sites, sites), kinds=_not_at(its.kinds, kinds))
                for name, its in results.differences.items()
            },
            "matrix": {
                metric: {
                    trained: {test: mean for test, mean in row.items() if (test, metric) not in sites}
                    for trained, row in rows.items()
                }
                for metric, rows in results.matrix.items()
            },
            "lesion_share": results.lesion_share
            and results.lesion_share.model_copy(
                update={"sites": {s: share for s, share in results.lesion_share.sites.items() if s not in tested}}
            ),
            "unseen": results.unseen
            and results.unseen.model_copy(
                update={"sites": _over_several(results.unseen.sites), "kinds": _over_several(results.unseen.kinds)}
            ),
            "league": tuple(_row(row, sites) for row in results.league),
        }
    )
    return results if found == results else found


def study_without_people(study: StudyConfig) -> StudyConfig:
    """A study that does not say which single people it leaves out, and why; the same object where it names none."""
    told = {name: why for name, why in study.data.exclude.items() if not name.startswith(PERSON)}
    if told == study.data.exclude:
        return study
    return study.model_copy(update={"data": study.data.model_copy(update={"exclude": told})})


def trained_alone(results: RunResults) -> frozenset[str]:
    """The sites that learn from one person, whose training losses are that person's."""
    return frozenset(site.name for site in results.sites if site.train == 1)


def without_losses(history: tuple[RoundFigures, ...], sites: Collection[str]) -> tuple[RoundFigures, ...]:
    """Rounds without the losses of these sites."""
    return tuple(
        entry.model_copy(update={"loss": {site: loss for site, loss in entry.loss.items() if site not in sites}})
        for entry in history
    )


def _single(by_place: Mapping[str, Mapping[str, _OverPeople]]) -> Places:
    return {(place, metric) for place, figures in by_place.items() for metric, its in figures.items() if its.n == 1}


def _over_several(by_place: Mapping[str, Mapping[str, F]]) -> dict[str, dict[str, F]]:
    found = {p: {metric: its for metric, its in figures.items() if its.n != 1} for p, figures in by_place.items()}
    return {place: figures for place, figures in found.items() if figures}


def _cohort(site: Cohort) -> Cohort:
    """With a null for a single person, as where a site would not say."""
    alone = {role: None for role in ("train", "held_out", "test") if getattr(site, role) == 1}
    return site.model_copy(update=alone | ({"kinds": ()} if "test" in alone else {}))


def _model(model: ModelFigures, sites: Places, kinds: Places) -> ModelFigures:
    calibration = model.calibration
    if calibration is not None:
        told = {site: its for site, its in calibration.sites.items() if its.people != 1}
        calibration = calibration.model_copy(update={"sites": told})
    return model.model_copy(
        update={
            "sites": _not_at(model.sites, sites),
            "kinds": _not_at(model.kinds, kinds),
            "worst_site": {m: worst for m, worst in model.worst_site.items() if (worst.site, m) not in sites},
            "calibration": calibration,
        }
    )


def _not_at(by_place: Mapping[str, Mapping[str, T]], places: Places) -> dict[str, dict[str, T]]:
    found = {p: {m: its for m, its in figures.items() if (p, m) not in places} for p, figures in by_place.items()}
    return {place: figures for place, figures in found.items() if figures}


def _row(row: LeagueRow, sites: Places) -> LeagueRow:
    gains = row.gain_over_local
    told = gains and {
        metric: its.model_copy(
            update={
                "sites": {site: gain for site, gain in its.sites.items() if (site, metric) not in sites},
                "gain": tuple(site for site in its.gain if (site, metric) not in sites),
                "lose": tuple(site for site in its.lose if (site, metric) not in sites),
            }
        )
        for metric, its in gains.items()
    }
    figures = {metric: _in_league(figure, metric, sites) for metric, figure in row.figures.items()}
    return row.model_copy(update={"gain_over_local": told, **figures})


def _in_league(figure: LeagueFigure, metric: str, sites: Places) -> LeagueFigure:
    worst = figure.worst_site
    return figure.model_copy(
        update={
            "sites": {site: mean for site, mean in figure.sites.items() if (site, metric) not in sites},
            "worst_site": None if worst is not None and (worst.site, metric) in sites else worst,
        }
    )
