"""Was this person in the training set? By a threshold on what the model itself says of the person's scan.

`measure` is the same for a benchmark: a model, who trained, and who did not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from normfed_common.foundation.arrays import Arrays
from normfed_common.models.base import NormativeModel
from normfed_server.results.audit import Figure, Finding
from normfed_simulation.audit import evidence
from normfed_simulation.audit.evidence import ANOMALY, KNOWS, LOSS, TITLES, TRACED, Tracing
from normfed_simulation.audit.games import Game, curve
from normfed_simulation.audit.target import Candidate, Target

NAME = "membership"
RATES = (0.01, 0.1)
POINTS = 200  # of a curve that is kept


def attack(target: Target) -> tuple[Finding, ...]:
    """Of the run itself: its training people against those held out at the same sites; beside it, apart, the people of
    sites that did not train."""
    people, groups, members = target.candidates, target.groups, target.members
    tracing = Tracing(target.new, target.arrays, people, target.private)
    found = []
    for kind, scores in scored(target.model(target.arrays), people, tracing, target.arrays).items():
        game = Game(scores[None], members[None], groups)
        found.append(finding(NAME, kind, game, _unseen(target, kind, scores, members)))
    return tuple(found)


def measure(
    model: NormativeModel,
    members: Sequence[Candidate],
    others: Sequence[Candidate],
    tracing: Tracing | None = None,
    kinds: Iterable[str] = (LOSS, ANOMALY, TRACED),
) -> dict[str, Game]:
    """The membership game of one trained model, by the kind of evidence: `Game.auc`, `Game.interval`.

    Parameters
    ----------
    members, others
        Who trained, and healthy people of the same sites who did not.
    tracing
        Of these members and others, in this order; without it the model's sums are not looked at.
    """
    people = [*members, *others]
    truth = np.arange(len(people)) < len(members)
    groups = np.array([person.site for person in people])
    arrays = model.share() if tracing is not None else {}
    found = scored(model, people, tracing, arrays, kinds)
    return {kind: Game(scores[None], truth[None], groups) for kind, scores in found.items()}


def scored(
    model: NormativeModel,
    people: Sequence[Candidate],
    tracing: Tracing | None,
    arrays: Arrays,
    kinds: Iterable[str] = (LOSS, ANOMALY, TRACED),
) -> dict[str, np.ndarray]:
    """Of every kind of evidence that a model gives, each person's, float (people,).

    Parameters
    ----------
    arrays
        Those of the model.
    """
    found = {}
    for kind in kinds:
        if kind == LOSS:
            scores = evidence.losses(model, people)
        elif kind == ANOMALY:
            scores = evidence.anomalies(model, people)
        else:
            scores = None if tracing is None else tracing.coefficients(arrays)
        if scores is not None:
            found[kind] = scores
    return found


def finding(attack: str, kind: str, game: Game, notes: Sequence[str] = (), title: str = "") -> Finding:
    """A game as it is reported."""
    value = game.auc()
    inside, outside = game.counts()
    people = int(np.isfinite(game.scores).any(0).sum())
    shared: dict[str, Any] = {
        "attack": attack,
        "title": title or f"Membership by {TITLES[kind]}",
        "knows": KNOWS[kind],
        "measure": "AUC",
        "chance": 0.5,
        "people": people,
        "decisions": inside + outside,
        "trials": len(game.scores),
    }
    if np.isnan(value):
        return Finding(**shared, notes=("Nobody is held out at a site that trains, so there is nobody to compare.",))
    low, high = game.interval()
    scores, members = game.pooled()
    return Finding(
        **shared,
        figure=Figure(value=value, low=low, high=high),
        rates={f"{rate:g}": game.rate_at(rate) for rate in RATES},
        curve=tuple(_thinned(*curve(scores, members))),
        notes=(f"{inside} decisions about members, {outside} about others.", *notes),
    )


def _thinned(false: np.ndarray, true: np.ndarray) -> list[tuple[float, float]]:
    chosen = np.unique(np.linspace(0, len(false) - 1, min(len(false), POINTS)).round().astype(int))
    return [(float(false[i]), float(true[i])) for i in chosen]


def _unseen(target: Target, kind: str, scores: np.ndarray, members: np.ndarray) -> tuple[str, ...]:
    """How far people of a scanner that nobody trained with stand out, which is no membership."""
    if not target.unseen or kind == TRACED:
        return ()
    other = scored(target.model(target.arrays), target.unseen, None, target.arrays, (kind,))[kind]
    both = np.concatenate([scores[members], other])
    game = Game(both[None], (np.arange(len(both)) < members.sum())[None], np.full(len(both), "one"))
    return (
        f"Against {len(other)} people of sites that did not train the area is {game.auc():.2f}: that is their scanner, "
        "and no membership.",
    )
