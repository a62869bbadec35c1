"""How much of a model is of a site that withdrew: what is known of it, and what is not.

Of sums it is a share of the people. Of rounds it is known how much weight the site had, and how far its own updates
moved the model; but from the first round on the others start from models that it was in, so this is its own part, no
bound on what is left of it. A bound comes from noise alone: with (epsilon, delta) for each person, or at a trusted
server for each site, whatever anybody makes of the model is at most exp(epsilon) times as likely, plus delta, as if the
person, or the site, had not been there. That is also what certified removal promises of one model and one method (Guo
2020, ICML, arXiv 1911.03030), here before anybody asked. What a site's withdrawal changes is measured once the run was
made again without it.
"""

from __future__ import annotations

from pathlib import Path

from normfed_common.algorithms.arms import FEDERATED
from normfed_common.foundation import arrays as named
from normfed_common.foundation.errors import RunError
from normfed_common.study import withdrawn
from normfed_server.results import layout
from normfed_server.results.exporting import MODEL
from normfed_server.results.guarantees import Guarantee, PrivacyFigures
from normfed_server.results.layout import RunResults


def sentences(folder: Path) -> list[str]:
    """Of every site that withdrew from a finished run, or had people who did; none where nobody did.

    Raises
    ------
    RunError
        If the run's figures, or its note of who withdrew, are damaged.
    """
    noted = withdrawn.read(folder)
    if not noted.sites or not (folder / layout.FILE).exists():
        return []
    results = layout.read(folder)
    found = [sentence for site in sorted(noted.sites) for sentence in _part(results, site)]
    found += _bounds(results.privacy)
    again = folder.parent / noted.replaced_by
    if noted.replaced_by and (again / layout.FILE).exists():
        found += _difference(folder, again)
    return found


def _part(results: RunResults, site: str) -> list[str]:
    """A site's own part: of the people in sums, of the weight and the length of the updates in rounds."""
    if results.rounds:
        shares = [entry.shares.get(site, 0.0) for entry in results.rounds]
        moved, everybody = 0.0, 0.0
        for entry in results.rounds:
            weighted = {name: entry.shares.get(name, 0.0) * norm for name, norm in entry.update_norms.items()}
            moved, everybody = moved + weighted.get(site, 0.0), everybody + sum(weighted.values())
        text = (
            f"{site} was in {sum(share > 0 for share in shares)} of {len(shares)} rounds, with "
            f"{sum(shares) / len(shares):.0%} of the weight on average, {max(shares):.0%} at most"
        )
        if everybody:
            text += f", and {moved / everybody:.0%} of the length of all weighted updates"
        return [
            f"{text}. That is its own part: the others trained on from models that it was in, and no number of rounds "
            "says how much of it is left."
        ]
    people = {cohort.name: cohort.train or 0 for cohort in results.sites if cohort.name in results.trained}
    if not people.get(site):
        return []
    return [f"The model is made of sums over {sum(people.values())} people, {people[site]} of them of {site}."]


def _bounds(privacy: PrivacyFigures | None) -> list[str]:
    """What noise bounds, for whom."""
    people, sites = (None, None) if privacy is None else (privacy.people, privacy.sites)
    if sites is not None:
        return [f"Noise at the server bounds what is left of a whole site: {_epsilon(sites)}."]
    if people is not None and people.unit == "patient":
        return [
            f"Noise bounds what is left of each person: {_epsilon(people)}. Of a site with n people the bound is n "
            "times that, which says little."
        ]
    return ["The study asked for no noise, so nothing bounds what is left of them in the model."]


def _epsilon(of: Guarantee) -> str:
    return f"epsilon {of.models[FEDERATED].epsilon if FEDERATED in of.models else of.epsilon:.3g}, delta {of.delta:g}"


def _difference(folder: Path, again: Path) -> list[str]:
    """What was measured between a model and the one that was made without somebody."""
    try:
        old, new = named.load(folder / MODEL), named.load(again / MODEL)
        before, after = layout.read(folder), layout.read(again)
    except RunError as error:
        return [f"What the withdrawal changed cannot be measured. {error}"]
    found = []
    if {n: a.shape for n, a in old.items()} == {n: a.shape for n, a in new.items()} and (length := named.norm(old)):
        found.append(f"{again.name} differs from this model by {named.norm(old, new) / length:.2%} of its length.")
    changes = []
    for name, metric in before.metrics.items():
        if "terminal" not in metric.shown:
            continue
        was, now = (_means(results, name) for results in (before, after))
        changes += [f"{metric.title} at {site} {was[site]:.3f}, now {now[site]:.3f}" for site in was if site in now]
    return found + ([f"Measured without: {'; '.join(changes)}."] if changes else [])


def _means(results: RunResults, metric: str) -> dict[str, float]:
    """Of the federated model, by the site that tested it."""
    model = results.evaluation.get(FEDERATED)
    if model is None:
        return {}
    found = {site: figures[metric].mean for site, figures in model.sites.items() if metric in figures}
    return {site: mean for site, mean in found.items() if mean is not None}
