"""LaTeX tables of people: the cohorts, who took part in training, and what thresholds do to normal people."""

from __future__ import annotations

from collections import Counter

from normfed_server.paper import choice
from normfed_server.paper.latex import Table, escaped
from normfed_server.paper.rounding import NOTHING, one_decimal, percent
from normfed_server.report.words import listed
from normfed_server.results.layout import RunResults

TOOK_PART = "took part"


def cohorts(results: RunResults) -> Table:
    """Every site's people by role, and over all sites where each says how many."""
    rows = []
    for site in results.sites:
        counts = [_count(site.train), _count(site.held_out), _count(site.test)]
        trains = "yes" if site.name in results.trained else "no"
        rows.append([escaped(site.name), *counts, escaped(", ".join(site.kinds)) or NOTHING, trains])
    told = [[getattr(site, role) for site in results.sites] for role in ("train", "held_out", "test")]
    if len(results.sites) > 1 and not any(None in counts for counts in told):
        rows.append(["all", *(str(sum(counts)) for counts in told), "", ""])
    caption = (
        "People by role: normal people who are learnt from, normal people who are held out for thresholds, and people "
        "who are tested; a dash where a site would not say, being fewer than its minimum."
    )
    columns = ["Site", "learnt from", "held out", "tested", "lesions", "trains"]
    return Table("cohorts", caption, columns, "lrrrll", rows)


def participation(results: RunResults) -> Table:
    """In how many rounds of the federated model every site took part, and with what weight."""
    total = len(results.rounds)
    rows = []
    for site in sorted({site for entry in results.rounds for site in entry.outcomes}):
        outcomes = Counter(entry.outcomes[site] for entry in results.rounds if site in entry.outcomes)
        weights = [entry.shares[site] for entry in results.rounds if site in entry.shares]
        seconds = sorted(entry.site_seconds[site] for entry in results.rounds if site in entry.site_seconds)
        others = listed(f"{what} ({count})" for what, count in sorted(outcomes.items()) if what != TOOK_PART)
        rows.append(
            [
                escaped(site),
                f"{outcomes[TOOK_PART]} of {total}",
                escaped(others) or NOTHING,
                percent(sum(weights) / len(weights)) if weights else NOTHING,
                one_decimal(seconds[len(seconds) // 2]) if seconds else NOTHING,
            ]
        )
    caption = (
        f"Who took part in the {total} rounds of the federated model; the mean weight of the site in the next model, "
        "and the seconds of its median round."
    )
    return Table("participation", caption, ["Site", "rounds", "else", "weight", "s"], "lllrr", rows)


def calibration(results: RunResults) -> Table:
    """False positives in normal people, promised and measured, of every model that has held-out people."""
    rows = []
    for name in choice.shown(results):
        found = results.evaluation[name].calibration
        if found is not None:
            worst = max((its.measured.value for its in found.sites.values() if its.measured), default=None)
            measured = None if found.measured is None else found.measured.value
            cells = [percent(found.promised), percent(measured), percent(worst), str(found.people)]
            rows.append([escaped(results.title(name)), *cells])
    caption = (
        "Share of normal people's voxels at or above the threshold: as promised, as measured at each site with the "
        "threshold that all other sites' people give, and at the site where that is most; over so many people held out."
    )
    return Table("calibration", caption, ["Model", "promised", "measured", "worst site", "people"], "lrrrr", rows)


def _count(people: int | None) -> str:
    return NOTHING if people is None else str(people)
