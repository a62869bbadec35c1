"""Was this person in the training set? By federations with and without the person (LiRA; Carlini 2022, arXiv
2112.03570).

    L_i = log N(x_i; m_i in, s in) - log N(x_i; m_i out, s out)

x_i is what a model says of person i (`evidence`), m and s are over shadow federations whose people were drawn by coins.
With few of them s is that of all people (section VI.C of the paper), and with fewer than `ONLINE` the likelihood is
that of not having been in alone (the offline variant): (x_i - m_i out) / s out.

The run itself gives one decision per person. Every shadow federation in turn, held against all others, gives as many
again, with everybody in by a fair coin: that says how well the attack does on federations like the run.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from normfed_server.results.audit import Finding
from normfed_simulation.audit.epsilons import one_run_bound
from normfed_simulation.audit.evidence import KNOWS, TITLES, Tracing
from normfed_simulation.audit.games import Game
from normfed_simulation.audit.membership import finding, scored
from normfed_simulation.audit.target import Target

NAME = "lira"
ONLINE = 8
OWN_VARIANCE = 64  # federations from which on a person's own spread is better known than everybody's
LEAST = 4  # federations


def likelihood_ratio(told: np.ndarray, shadows: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """How much likelier it is that each person was in, float (people,); NaN where no shadow federation was without.

    Parameters
    ----------
    told
        (people,): what the attacked model says of each.
    shadows
        (federations, people): what the others say.
    inside
        bool (federations, people): who was in.
    """
    with_mean, with_spread = _fitted(shadows, inside)
    without_mean, without_spread = _fitted(shadows, ~inside)
    offline = (told - without_mean) / without_spread
    if len(shadows) < ONLINE:
        return offline
    ratio = norm.logpdf(told, with_mean, with_spread) - norm.logpdf(told, without_mean, without_spread)
    return np.where(np.isfinite(ratio), ratio, np.where(inside.any(0), np.nan, offline))


def _fitted(shadows: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (people,) over the chosen federations of each."""
    counts = chosen.sum(0)
    mean = np.where(counts > 0, np.where(chosen, shadows, 0).sum(0) / np.maximum(counts, 1), np.nan)
    squares = (np.where(chosen, shadows - mean, 0) ** 2).sum(0)
    freedom = np.maximum(counts - 1, 0)
    together = np.sqrt(squares.sum() / max(freedom.sum(), 1))
    own = np.sqrt(squares / np.maximum(freedom, 1))
    spread = own if len(shadows) >= OWN_VARIANCE else np.full(len(mean), together)
    return mean, np.maximum(spread, 1e-12 + 1e-9 * np.abs(shadows).max())


def attack(target: Target) -> tuple[Finding, ...]:
    """Every kind of evidence, of the run and of federations like it."""
    if target.options.shadows < LEAST:
        return (_missing(f"Needs at least {LEAST} shadow federations: --shadows {LEAST}."),)
    people, groups = target.candidates, target.groups
    tracing = Tracing(target.new, target.arrays, people, target.private)
    of_run = scored(target.model(target.arrays), people, tracing, target.arrays)
    of_shadows = [scored(target.model(one.arrays), people, tracing, one.arrays) for one in target.shadows]
    inside = np.stack([target.inside(one) for one in target.shadows])
    found: list[Finding] = []
    for kind, told in of_run.items():
        shadows = np.stack([scores[kind] for scores in of_shadows])
        ratio = likelihood_ratio(told, shadows, inside)
        run, title = Game(ratio[None], target.members[None], groups), f"Likelihood ratio of {TITLES[kind]}"
        found.append(finding(NAME, kind, run, title=title))
        each = Game(_in_turn(shadows, inside), inside, groups)
        simple = Game(shadows, inside, groups)
        told_of_all = finding(NAME, kind, each, title=f"{title}, on {len(shadows)} federations like the run")
        knows = f"{KNOWS[kind]}, and {len(shadows) - 1} federations with people of the attacker's choice"
        update = {
            "baselines": {"threshold": simple.auc()},
            "epsilon_at_least": least_epsilon(shadows, inside, groups, target.run.study.privacy.delta),
            "epsilon_of": "the model that a federation ends with",
            "knows": knows,
        }
        found[-1] = found[-1].model_copy(update={"knows": knows})
        found.append(told_of_all.model_copy(update=update))
    return tuple(found)


def _in_turn(shadows: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The ratio of every federation, held against all others; (federations, people)."""
    others = [np.arange(len(shadows)) != turn for turn in range(len(shadows))]
    return np.stack([likelihood_ratio(shadows[n], shadows[rest], inside[rest]) for n, rest in enumerate(others)])


def least_epsilon(shadows: np.ndarray, inside: np.ndarray, groups: np.ndarray, delta: float) -> float:
    """Lower bound on the epsilon of one federation, with people as the canaries of one-run auditing.

    The second half of the federations is attacked with what the first half shows, which no coin of the second half has
    any part in; their coins are independent, so all their decisions count as one run's. The half that the attacker is
    surest of is guessed.
    """
    half = len(shadows) // 2
    ratios = [likelihood_ratio(told, shadows[:half], inside[:half]) for told in shadows[half:]]
    scores, members = Game(np.stack(ratios), inside[half:], groups).pooled()
    guessed = np.argsort(-np.abs(scores), kind="stable")[: max(1, len(scores) // 2)]
    correct = int(((scores[guessed] > 0) == members[guessed]).sum())
    return one_run_bound(len(scores), len(guessed), correct, delta)


def _missing(why: str) -> Finding:
    return Finding(attack=NAME, title="Likelihood ratio", knows="shadow federations", measure="AUC", notes=(why,))
