"""What secure aggregation cannot serve, said when a study is read.

A secure sum hides a site's part among those of the others, once. It does not hide what two sums differ by: where a site
is in one round and not in the next, their difference tells of it, blurred by what the model has learnt meanwhile and by
the other batches; where a server sends the same model twice to repeated sums, by nothing. Nor does it hide the site
in a study that is run twice, once without it (So 2023, arXiv 2106.03328). That is what differential privacy is for.
What is refused here is a study that gives such a difference away by itself.
"""

from __future__ import annotations

from typing import Any

from normfed_common.algorithms.table import configure
from normfed_common.foundation.errors import StudyError
from normfed_common.learning.entries import config_of
from normfed_common.learning.setting import Setting
from normfed_common.models.combined.pipeline import TRANSFORM, assemble
from normfed_common.privacy.spending import steps_of
from normfed_common.study.config import StudyConfig
from normfed_common.study.federation import PLAIN
from normfed_common.transforms.catalogue import TRANSFORMS

KEY = "privacy.secure_aggregation"
NOISE = f"{KEY}.noise: distributed"


def check_secure_sums(study: StudyConfig) -> None:
    """Refuse a study whose sums cannot be secure, or whose sums together give away a site's part.

    Raises
    ------
    StudyError
        If so.
    """
    if study.privacy.secure_aggregation is None:
        return
    federation, beside = study.federation, study.comparisons
    if configure(study.strategy)[0].clustered:
        raise StudyError(
            f"{KEY}: strategy {study.strategy['name']} has several models, and whose update is in which of them only "
            "single updates say. Take a strategy with one global model, such as fedavg."
        )
    if study.privacy.central is not None:
        raise StudyError(
            f"{KEY}: privacy.central clips every site's update at the server, and a secure sum shows it none. Leave "
            "one of the two out; privacy.epsilon protects patients at the sites."
        )
    if federation.compression != "none" or set(beside.compressions) - {"none"}:
        raise StudyError(
            f"{KEY}: masked numbers cannot be compressed. Set federation.compression: none and leave out "
            "comparisons.compressions."
        )
    if federation.largest_share < 1:
        raise StudyError(
            f"{KEY}: federation.largest_share is {federation.largest_share:g}, and the weight of one site cannot be "
            "cut in a sum that hides it. Set it to 1."
        )
    if beside.leave_one_site_out:
        raise StudyError(
            f"{KEY}: the sum of all sites less that of all but one is that site's own update. Set "
            "comparisons.leave_one_site_out: false."
        )
    if beside.strategies or beside.compressions:
        raise StudyError(
            f"{KEY}: strategies that are compared begin with the same model; where a site drops out of one of them "
            "alone, the difference of their sums is that site's own update. Leave out comparisons.strategies, and "
            "run a study with a seed of its own for each."
        )
    if study.strategy == PLAIN and study.model in beside.baselines:
        raise StudyError(
            f"{KEY}: comparisons.baselines has the study's own model; the sums of the two would be alike but for the "
            "sites that drop out, whose parts would be their difference. Leave it out."
        )
    for entry in study.transforms:
        alone = TRANSFORMS[entry["name"]].of_one_site(config_of(TRANSFORMS, entry))
        if alone:
            raise StudyError(
                f"{KEY}: of the sums of the transform {entry['name']} {alone} are one site's alone, and no sum hides "
                "them. Leave one of the two out."
            )
    phases = assemble(study.transforms, study.model, Setting.of(study)).phases()
    if beside.baselines and any(phase.kind == "summed" and phase.name.startswith(TRANSFORM) for phase in phases):
        raise StudyError(
            f"{KEY}: every model learns the transforms anew, and the sums of two models would be alike but for the "
            "sites that drop out, whose parts would be their difference. Set comparisons.baselines: []."
        )
    check_distributed_noise(study, study.model, study.strategy)
    for entry in beside.baselines:
        check_distributed_noise(study, entry, PLAIN)


def check_distributed_noise(study: StudyConfig, entry: dict[str, Any], strategy: dict[str, Any]) -> None:
    """Refuse a model whose parts in secure sums each site's share of the noise would not hide anybody in.

    A part must be a sum over people of vectors of one length, made from nothing but the scans and what all sites were
    sent, so that noise that is added to any part is as good as noise that is added to the sum. Sums are; so is a round
    of one step of gradient descent. One of several is not: what is learnt in its first step goes into the gradients of
    the next, with the noise that was there by then, which is one site's share.

    Parameters
    ----------
    entry, strategy
        Of the model, and how it is trained.

    Raises
    ------
    StudyError
        If so.
    """
    if study.privacy.noise_sites == 1:
        return
    if study.federation.sums == "by-site":
        raise StudyError(
            f"{NOISE}: with federation.sums: by-site a person of a small site moves the sum by more than one of a "
            "large site, and the shares of the noise are too little for that. Write by-people, or noise: each-site."
        )
    phases = assemble(study.transforms, entry, Setting.of(study)).phases()
    averaged = [phase.name for phase in phases if phase.kind == "averaged"]
    wrong = _more_than_a_gradient(study, strategy) if averaged else ""
    if wrong:
        raise StudyError(
            f"{NOISE}: the model {entry['name']} trains a network ({', '.join(averaged)}), and {wrong}, so that one "
            "site's share of the noise would be all that hides a person there. Set privacy.steps_per_round: 1 and "
            "federation.optimiser: sgd with the strategy fedavg; or take a model of sums, or noise: each-site."
        )


def _more_than_a_gradient(study: StudyConfig, strategy: dict[str, Any]) -> str:
    """What else than the sum of people's gradients at the model that all were sent a round's update is made of."""
    privacy, (row, _) = study.privacy, configure(strategy)
    steps = steps_of(privacy, study.federation.local_epochs)
    if steps > 1:
        return f"in a round of {steps} steps every step after the first learns from where the one before has led"
    if study.federation.optimiser != "sgd":
        return "the optimiser adam divides a site's gradient by its own size before it is added up"
    if row.objective != "plain" or row.sharing != "all" or row.fine_tuned:
        return f"under the strategy {strategy['name']} a site's update is not its gradient alone, or parts stay there"
    if privacy.unit != "patient":
        return "privacy.unit is sample, which protects no person"
    return ""
