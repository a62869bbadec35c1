"""LaTeX tables of how well models find lesions: rows that fit on a page, and bold where one is surely the best."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from normfed_common.algorithms.arms import FEDERATED, OWN, POOLED
from normfed_server.paper import choice
from normfed_server.paper.latex import WORDS, Table, bold, escaped
from normfed_server.paper.rounding import (
    NOTHING,
    below,
    difference,
    interval,
    number,
    one_decimal,
    small,
    surely_best,
    with_interval,
)
from normfed_server.report.gains import judgement
from normfed_server.report.verdicts import borrowing
from normfed_server.report.words import capital
from normfed_server.results.chance import chance
from normfed_server.results.figures import Difference, Figures
from normfed_server.results.layout import RunResults
from normfed_server.results.models import BORROWED

OF_PATIENTS = "Mean over patients [95\\,\\% interval]"
ACROSS = 3  # metrics with their intervals that fit beside each other
WIDEST = 10  # sites of a matrix; a figure and the CSV have more
HEADS = {
    FEDERATED: "federated",
    OWN: "alone",
    POOLED: "pooled",
}  # of columns, which have no room for what models are called
BASELINE = "baseline"
RULE = (
    "Better and worse: by the interval, the test where there is one, and every training. Too few: fewer than six "
    "patients, or so few that $p$ could not be below 0.05 even if all agreed. All else is tied."
)
BOLD = "Bold: surely better than the others, as in the table of models; with fewer than six patients nothing is."
UNTESTED = "Nothing is bold: models are tested against each other over all patients alone, as in the table of gains."
BORROWS = " Where a site trains nothing, the mean over the other sites' own models stands for its own."


def models(results: RunResults) -> Iterator[Table]:
    """Models x metrics, those first that matter most; in as many tables as fit."""
    names = choice.shown(results)
    ranked = [name for name, metric in results.metrics.items() if "table" in metric.shown]
    ranked = [metric for metric in ranked if any(metric in results.evaluation[name].all for name in names)]
    ranked.sort(key=lambda metric: -len(results.metrics[metric].shown))
    for first in range(0, len(ranked), ACROSS):
        number_of = f"-{first // ACROSS + 1}" if first else ""
        yield _models(results, names, ranked[first : first + ACROSS], f"models{number_of}")


def _models(results: RunResults, names: list[str], metrics: list[str], name: str) -> Table:
    figures = {name: results.evaluation[name].all for name in names if name != BORROWED}
    best = {
        metric: surely_best(results, figures, metric, _differences(results, metric), everybody=True)
        for metric in metrics
    }
    rows = [["chance", *(small(chance(results, metric)) for metric in metrics)]]
    for model in names:
        cells = []
        for metric in metrics:
            figure, described = results.evaluation[model].all.get(metric), results.metrics[metric]
            cell = NOTHING
            if figure is not None:
                mean = number(figure.mean, described)
                ends = interval(figure.ci95, described)
                cell = f"{bold(mean) if best[metric] == model else mean} {ends}".rstrip()
            cells.append(cell)
        rows.append([escaped(results.title(model)), *cells])
    n = max((figure.n for figure in results.evaluation[FEDERATED].all.values()), default=0)
    caption = (
        f"How well lesions are found. {OF_PATIENTS}, of at most {n} patients; image AUROC is over people. The study's "
        f"own model: {escaped(results.title(FEDERATED))}. Chance is what a map of noise gets: of average precision the "
        "lesions' share of the voxels. Bold: surely better than every other model by the 95\\,\\% interval of the "
        f"difference to the federated model, or by intervals that are apart.{_borrows(results)}"
    )
    titles = [escaped(results.metrics[metric].title) for metric in metrics]
    return Table(name, caption, ["Model", *titles], [WORDS, *"l" * len(metrics)], rows)


def worst_sites(results: RunResults) -> Table:
    """Every model at the site where it is worst, and which that is."""
    metrics = choice.chief(results)
    rows = []
    for name in choice.shown(results):
        worst = results.evaluation[name].worst_site
        cells = [f"{number(worst[m].mean)} ({escaped(worst[m].site)})" if m in worst else NOTHING for m in metrics]
        rows.append([escaped(results.title(name)), *cells])
    titles = [escaped(results.metrics[metric].title) for metric in metrics]
    caption = "Mean over patients at the site where it is worst, and that site, by model."
    return Table("worst-sites", caption, ["Model", *titles], [WORDS, *"l" * len(metrics)], rows)


def groups(results: RunResults, metric: str, by: str) -> Table:
    """The principal models per site, or by kind of lesion."""
    names = choice.principal(results)
    by_site = by == "sites"  # chance of average precision is known of sites, and not of kinds of lesion
    of: dict[str, dict[str, Figures]] = {name: getattr(results.evaluation[name], by) for name in names}
    tested = results.has_paired_tests
    rows = []
    for place in sorted({place for found in of.values() for place in found}):
        figures = {name: found[place] for name, found in of.items() if metric in found.get(place, {})}
        if not figures:
            continue
        compared = {n: getattr(d, by).get(place, {}).get(metric) for n, d in results.differences.items()}
        known = {name: difference for name, difference in compared.items() if difference is not None}
        best = "" if tested else surely_best(results, figures, metric, known, everybody=False)
        n = max(found[metric].n for found in figures.values())
        cells = []
        for name in names:
            figure = figures.get(name, {}).get(metric)
            text = NOTHING if figure is None else with_interval(figure.mean, figure.ci95)
            cells.append(bold(text) if name == best else text)
        rows.append([escaped(place), str(n), *cells, *([small(chance(results, metric, place))] if by_site else [])])
    title = {"sites": "per site", "kinds": "by kind of lesion"}[by]
    caption = (
        f"{escaped(capital(results.metrics[metric].title))} {title}. {OF_PATIENTS}; $n$: patients. "
        f"{UNTESTED if tested else BOLD}"
    )
    if any(model.trainings for model in results.evaluation.values()):
        caption += " Further trainings are known over all patients alone."
    head = {"sites": "Site", "kinds": "Lesion"}[by]
    caption += f" {_heads(results, names)}{_borrows(results)}"
    columns = [head, "$n$", *(HEADS.get(name, BASELINE) for name in names), *(["chance"] if by_site else [])]
    return Table(f"{by}-{metric}", caption, columns, f"lr{'l' * (len(columns) - 2)}", rows)


def matrix(results: RunResults, metric: str) -> Table:
    """Each site's own model at every site."""
    found = results.matrix[metric]
    tests = sorted({test for row in found.values() for test in row})
    rows = [[escaped(trained), *(number(row.get(test)) for test in tests)] for trained, row in sorted(found.items())]
    title = escaped(capital(results.metrics[metric].title))
    caption = f"{title} of each site's own model (rows) at every site (columns): mean over the patients there."
    return Table(f"matrix-{metric}", caption, ["Trained at", *map(escaped, tests)], f"l{'r' * len(tests)}", rows)


def gains(results: RunResults) -> Table:
    """The federated model less each other one by every metric, a line each, with what the report makes of it."""
    rows = []
    for name, found in results.differences.items():
        for metric in choice.chief(results):
            worth, apart = judgement(results, name, metric), found.all.get(metric)
            if worth is None or apart is None:
                continue
            p = NOTHING if worth.p is None else below(worth.p)
            cells = [str(worth.n), difference(apart), p, worth.verdict]
            rows.append([escaped(results.title(name)), escaped(results.metrics[metric].title), *cells])
    paired = "paired by patient" if results.intervals == "bootstrap" else "as of independent samples"
    caption = (
        "The federated model less each other one: difference of means over $n$ patients "
        f"[95\\,\\% interval, {paired}]; $p$: paired Wilcoxon test over patients, Holm-corrected for all models, where "
        f"single patients are known. {RULE}"
        f"{_borrows(results)}"
    )
    columns = ["Federated less", "by", "$n$", "difference", "$p$", "federated is"]
    return Table("gains", caption, columns, [WORDS, *"lrlrl"], rows)


def _heads(results: RunResults, names: Sequence[str]) -> str:
    """What the columns of models are, in a sentence."""
    said = [f"{HEADS.get(name, BASELINE)}: {escaped(results.title(name))}" for name in names]
    return f"{capital('; '.join(said))}."


def _borrows(results: RunResults) -> str:
    return BORROWS if borrowing(results) else ""


def league(results: RunResults, metric: str) -> Table:
    """Every strategy by a metric, and what it gains over each site alone."""
    rows = []
    for row in results.league:
        figure, gain = row.figures[metric], (row.gain_over_local or {}).get(metric)
        worst = NOTHING if figure.worst_site is None else number(figure.worst_site.mean)
        cells = [with_interval(figure.mean, figure.ci95), worst, NOTHING if gain is None else difference(gain)]
        rows.append([escaped(row.title), *cells])
    title = results.metrics[metric].title
    caption = (
        f"Strategies by {escaped(title)}, in the order of average precision; then each site alone and all scans in one "
        f"place. {OF_PATIENTS}; the mean at the worst site; the gain over each site training alone, which by itself is "
        "no verdict: see the table of gains."
        f"{_borrows(results)}"
    )
    columns = ["Strategy", escaped(title), "worst site", "gain"]
    return Table(f"league-{metric}", caption, columns, [WORDS, *"lll"], rows)


def costs(results: RunResults) -> Table:
    """What a round of every strategy sends and takes."""
    rows = [
        [escaped(row.title), one_decimal(row.megabytes_per_round), one_decimal(row.seconds_per_round)]
        for row in results.league
    ]
    caption = (
        "What a round of every strategy costs. MB: out and back, of a mean round; s: of the sites' training in a "
        "median round, added up."
    )
    return Table("costs", caption, ["Strategy", "MB", "s"], [WORDS, *"rr"], rows)


def _differences(results: RunResults, metric: str) -> dict[str, Difference]:
    return {name: found.all[metric] for name, found in results.differences.items() if metric in found.all}
