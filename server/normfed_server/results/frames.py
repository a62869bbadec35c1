"""A run's figures as pandas data frames, tidy: a row an observation, a column a variable.

What is not defined, or may not be told, is NaN in a column of numbers and None in one of words. Every frame has its
columns even where it has no row. The columns of each frame are described in a table of its own, such as `SITES`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pandas as pd

from normfed_common.algorithms.arms import FEDERATED
from normfed_server.events.rounds import RoundFigures
from normfed_server.results.chance import chance
from normfed_server.results.figures import Figure, Interval, LeagueRow, ModelFigures
from normfed_server.results.layout import RunResults

Columns = Mapping[str, tuple[type, str]]  # name to type and meaning

_FIGURE: Columns = {
    "mean": (float, "over patients"),
    "sd": (float, "standard deviation over patients"),
    "n": (
        int,
        "patients for whom the metric is defined; of image_auroc sites, not patients",
    ),
    "low": (float, "lower end of the 95 % interval of the mean"),
    "high": (float, "upper end of it"),
}
_CHANCE: Columns = {
    "chance": (float, "what a map of noise gets: of average precision the lesions' share of the voxels, where known")
}
_MODEL: Columns = {"model": (str, "as metrics.json calls it; RunResults.title has what people read")}
METRIC: Columns = {"metric": (str, "as metrics.json calls it")}

MODELS: Columns = {
    **_MODEL,
    "title": (str, "what people read"),
    **METRIC,
    **_FIGURE,
    **_CHANCE,
    "worst": (float, "mean at the site where it is worst"),
    "worst_site": (str, "that site"),
    "trainings": (int, "how often the model was trained; mean and interval are the first training's"),
    "trainings_low": (float, "lower end of the 95 % interval over trainings"),
    "trainings_high": (float, "upper end of it"),
    "merged": (float, "of all sites' voxels together, an estimate"),
    "merged_low": (float, "least that it can be"),
    "merged_high": (float, "most that it can be"),
}
SITES: Columns = {**_MODEL, "site": (str, "where it was tested"), **METRIC, **_FIGURE, **_CHANCE}
KINDS: Columns = {**_MODEL, "kind": (str, "of lesion"), **METRIC, **_FIGURE}
ROUNDS: Columns = {
    **_MODEL,
    "round": (int, "from 1"),
    "site": (str, "who was asked"),
    "outcome": (str, "what became of the site, such as took part, late, refused"),
    "reason": (str, "why, where it did not take part"),
    "loss": (float, "mean training loss at the site"),
    "share": (float, "the site's weight in the next model"),
    "update_norm": (float, "of the site's update"),
    "seconds": (float, "of the site's training, by its own clock"),
    "round_seconds": (float, "of the whole round, by the server's clock: the same for all its sites"),
    "megabytes_out": (float, "sent to all sites of the round together"),
    "megabytes_back": (float, "received from them"),
}
MATRIX: Columns = {
    **METRIC,
    "trained": (str, "the site whose own model it is"),
    "tested": (str, "the site whose patients they are"),
    "mean": (float, "over these patients"),
}
CALIBRATION: Columns = {
    **_MODEL,
    "site": (str, "whose held-out normal people they are; all for all sites"),
    "people": (int, "how many"),
    "promised": (float, "share of normal voxels that the threshold calls abnormal"),
    "measured": (float, "the same with the threshold that all other sites' people give"),
    "low": (float, "least that the measured share can be"),
    "high": (float, "most that it can be"),
}
COHORTS: Columns = {
    "site": (str, "name"),
    "train": (int, "normal people who are learnt from"),
    "held_out": (int, "normal people who set thresholds"),
    "test": (int, "people who are tested"),
    "kinds": (str, "of lesion among them, with commas between"),
    "trains": (bool, "whether the site trains the federated model"),
    "left_out": (str, "why it takes no part"),
}
LEAGUE: Columns = {
    "model": (str, "of a strategy, or local or pooled"),
    "title": (str, "what people read"),
    "strategy": (str, "of the algorithm; None for local and pooled"),
    "sites": (int, "that its models serve"),
    "megabytes_per_round": (float, "out and back, over all sites"),
    "seconds_per_round": (float, "of the sites' training, added up"),
}
RANKED: Columns = {  # of `league`, behind the name of every metric that strategies are compared by
    "": (float, "mean over patients"),
    "_low": (float, "lower end of the 95 % interval of the mean"),
    "_high": (float, "upper end of it"),
    "_worst": (float, "mean at the worst site"),
    "_worst_site": (str, "that site"),
    "_sd_over_sites": (float, "standard deviation of the sites' means"),
    "_gain": (float, "mean gain over each site training alone"),
    "_gain_low": (float, "lower end of its 95 % interval"),
    "_gain_high": (float, "upper end of it"),
    "_sites_gaining": (int, "sites that gain beyond their interval"),
    "_sites_losing": (int, "sites that lose beyond it"),
}


def models(results: RunResults) -> pd.DataFrame:
    """Every model over all patients by every metric, the columns of `MODELS`."""
    return framed(
        (
            {
                "model": name,
                "title": results.title(name),
                "metric": metric,
                **_figure(figure),
                **_beside(results, model, metric),
            }
            for name, model in results.evaluation.items()
            for metric, figure in model.all.items()
        ),
        MODELS,
    )


def sites(results: RunResults) -> pd.DataFrame:
    """Every model at every site by every metric, the columns of `SITES`."""
    return framed(
        (
            {
                "model": name,
                "site": site,
                "metric": metric,
                **_figure(figure),
                "chance": chance(results, metric, site),
            }
            for name, model in results.evaluation.items()
            for site, figures in model.sites.items()
            for metric, figure in figures.items()
        ),
        SITES,
    )


def kinds(results: RunResults) -> pd.DataFrame:
    """Every model on every kind of lesion by every metric, the columns of `KINDS`."""
    return framed(
        (
            {"model": name, "kind": kind, "metric": metric, **_figure(figure)}
            for name, model in results.evaluation.items()
            for kind, figures in model.kinds.items()
            for metric, figure in figures.items()
        ),
        KINDS,
    )


def rounds(results: RunResults) -> pd.DataFrame:
    """Every round of every model at every site that it asked, the columns of `ROUNDS`."""
    histories = {FEDERATED: results.rounds, **results.rounds_of}
    return framed(
        (
            {"model": name, **row}
            for name, history in histories.items()
            for entry in history
            for row in rows_of_round(entry)
        ),
        ROUNDS,
    )


def rows_of_round(entry: RoundFigures) -> Iterator[dict[str, Any]]:
    """A round, a row a site, without the name of the model."""
    for site in sorted(entry.outcomes.keys() | entry.loss.keys()):
        yield {
            "round": entry.round,
            "site": site,
            "outcome": entry.outcomes.get(site),
            "reason": entry.reasons.get(site),
            "loss": entry.loss.get(site),
            "share": entry.shares.get(site),
            "update_norm": entry.update_norms.get(site),
            "seconds": entry.site_seconds.get(site),
            "round_seconds": entry.seconds,
            "megabytes_out": entry.megabytes.out,
            "megabytes_back": entry.megabytes.back,
        }


def matrix(results: RunResults) -> pd.DataFrame:
    """Every site's own model at every site, the columns of `MATRIX`."""
    return framed(
        (
            {"metric": metric, "trained": trained, "tested": tested, "mean": mean}
            for metric, rows in results.matrix.items()
            for trained, row in rows.items()
            for tested, mean in row.items()
        ),
        MATRIX,
    )


def calibration(results: RunResults) -> pd.DataFrame:
    """False positives in normal people, promised and measured, the columns of `CALIBRATION`."""

    def rows() -> Iterator[dict[str, Any]]:
        for name, model in results.evaluation.items():
            if (found := model.calibration) is not None:
                of_sites = {site: (its.people, its.measured) for site, its in found.sites.items()}
                for site, (people, rate) in {"all": (found.people, found.measured), **of_sites}.items():
                    ends = {} if rate is None else {"measured": rate.value, "low": rate.low, "high": rate.high}
                    yield {"model": name, "site": site, "people": people, "promised": found.promised, **ends}

    return framed(rows(), CALIBRATION)


def cohorts(results: RunResults) -> pd.DataFrame:
    """Every site's people by role, the columns of `COHORTS`; NaN where a site would not say: fewer than its minimum."""
    told = [
        {
            "site": cohort.name,
            "train": cohort.train,
            "held_out": cohort.held_out,
            "test": cohort.test,
            "kinds": ", ".join(cohort.kinds),
            "trains": cohort.name in results.trained,
            "left_out": results.left_out.get(cohort.name),
        }
        for cohort in results.sites
    ]
    silent = results.left_out.keys() - {cohort.name for cohort in results.sites}
    return framed(
        [*told, *({"site": site, "trains": False, "left_out": results.left_out[site]} for site in sorted(silent))],
        COHORTS,
    )


def league(results: RunResults) -> pd.DataFrame:
    """A row a strategy, then local and pooled: the columns of `league_columns`."""
    return framed(map(_league_row, results.league), league_columns(results))


def league_columns(results: RunResults) -> Columns:
    """Of `league`: those of `LEAGUE`, then for every metric that strategies are compared by those of `RANKED`."""
    ranked = list(results.league[0].figures) if results.league else []
    by_metric = {f"{metric}{end}": said for metric in ranked for end, said in RANKED.items()}
    return {**LEAGUE, **by_metric}


def _league_row(row: LeagueRow) -> dict[str, Any]:
    found: dict[str, Any] = {
        "model": row.name,
        "title": row.title,
        "strategy": None if row.strategy is None else row.strategy["name"],
        "sites": len(row.sites),
        "megabytes_per_round": row.megabytes_per_round,
        "seconds_per_round": row.seconds_per_round,
    }
    for metric, figure in row.figures.items():
        low, high = figure.ci95
        found |= {metric: figure.mean, f"{metric}_low": low, f"{metric}_high": high}
        found[f"{metric}_sd_over_sites"] = figure.sd_over_sites
        if figure.worst_site is not None:
            found |= {f"{metric}_worst": figure.worst_site.mean, f"{metric}_worst_site": figure.worst_site.site}
        if (gain := (row.gain_over_local or {}).get(metric)) is not None:
            low, high = gain.ci95
            found |= {f"{metric}_gain": gain.mean, f"{metric}_gain_low": low, f"{metric}_gain_high": high}
            found |= {f"{metric}_sites_gaining": len(gain.gain), f"{metric}_sites_losing": len(gain.lose)}
    return found


def _beside(results: RunResults, model: ModelFigures, metric: str) -> dict[str, Any]:
    """What stands beside a model's figure over all patients."""
    worst, merged, trained = model.worst_site.get(metric), (model.merged or {}).get(metric), model.trainings.get(metric)
    found: dict[str, Any] = {"chance": chance(results, metric), "trainings": 1}
    if worst is not None:
        found |= {"worst": worst.mean, "worst_site": worst.site}
    if merged is not None:
        found |= {"merged": merged.value, "merged_low": merged.low, "merged_high": merged.high}
    if trained is not None:
        low, high = trained.ci95
        found |= {"trainings": len(trained.means), "trainings_low": low, "trainings_high": high}
    return found


def _figure(figure: Figure) -> dict[str, Any]:
    return {"mean": figure.mean, "sd": figure.sd, "n": figure.n, **ends(figure.ci95)}


def ends(interval: Interval | None) -> dict[str, Any]:
    """Of an interval, in the columns ``low`` and ``high``."""
    low, high = interval or (None, None)
    return {"low": low, "high": high}


def framed(rows: Iterable[Mapping[str, Any]], columns: Columns) -> pd.DataFrame:
    """Rows under these columns; whole numbers that are not told of every row are floats with NaN."""
    frame = pd.DataFrame.from_records(list(rows), columns=list(columns))
    for name, (kind, _) in columns.items():
        if kind is float or (kind is int and frame[name].isna().any()):
            frame[name] = frame[name].astype(float)
        elif kind is str:
            words = frame[name].astype(object)
            frame[name] = words.where(words.notna(), None)
        else:
            frame[name] = frame[name].astype(kind)
    return frame
