"""Which models can be trained so that people are protected: what leaves must come from private gradients alone."""

from __future__ import annotations

from typing import Any

from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from normfed_common.algorithms.privacy import WITHOUT
from normfed_common.algorithms.table import configure
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import SiteCode, SiteError, StudyError
from normfed_common.learning.learner import NETWORK
from normfed_common.learning.phase import Phase
from normfed_common.models.base import NormativeModel
from normfed_common.models.combined.pipeline import Pipeline
from normfed_common.study.privacy import PrivacyConfig


def check_training(
    model: NormativeModel, name: str, personal: frozenset[str], privacy: PrivacyConfig, strategy: dict[str, Any]
) -> None:
    """Refuse a model of which something else leaves, or passes from one person's gradient into another's.

    Parameters
    ----------
    name
        Of the model in the study.
    personal
        Names of its arrays that stay at the site.

    Raises
    ------
    StudyError
        With what to change.
    """
    phases = [phase for phase in model.phases() if phase.kind == "averaged"]
    if privacy.epsilon is None or not phases:
        return
    if isinstance(model, Pipeline) and any(transform.keeps_to_site for transform in model.transforms):
        raise StudyError(
            f"transforms: one is fitted to a site's people, and the model {name} would learn of each through all "
            f"others: privacy.epsilon cannot cover that. Leave it out, {WITHOUT}."
        )
    row, _ = configure(strategy)
    if personal and (row.fine_tuned or row.beside_a_personal_model):
        raise StudyError(
            f"strategy {strategy['name']}: trains the model {name} without noise beside its rounds, and these would "
            f"begin from the parts that it keeps at the sites, which privacy.epsilon does not cover. Take another "
            f"strategy, {WITHOUT}."
        )
    for phase in phases:
        _check_normalisation(model, name, phase, personal, privacy)


def _check_normalisation(
    model: NormativeModel, name: str, phase: Phase, personal: frozenset[str], privacy: PrivacyConfig
) -> None:
    assert model.network is not None
    trained = model.arrays_of(phase)
    names = {id(tensor): NETWORK + key for key, tensor in model.network.state_dict(keep_vars=True).items()}
    for layer in model.network.modules():
        if not isinstance(layer, _NormBase):
            continue
        running = {names[id(tensor)] for tensor in (layer.running_mean, layer.running_var) if tensor is not None}
        if running & trained - personal:
            raise StudyError(
                f"model {name}: running statistics of its normalisation layers would leave without noise, which "
                "privacy.epsilon forbids. Take another `norm`, such as layer or none, or the strategy fedbn, which "
                f"keeps them at the sites, {WITHOUT}."
            )
        if running - trained:
            raise StudyError(
                f"model {name}: its phase {phase.name} uses running statistics of people that an earlier one left at "
                f"the site, which privacy.epsilon does not cover. Take another `norm`, {WITHOUT}."
            )
        if privacy.unit == "sample" and isinstance(layer, _BatchNorm):
            raise StudyError(
                f"model {name}: batch normalisation mixes samples, of which privacy.unit `sample` protects each by "
                "itself. Take another `norm`, or protect the `patient`."
            )


def scores_with_people(model: NormativeModel, strategy: dict[str, Any], personal: frozenset[str]) -> bool:
    """Whether a site scores with something that it learnt of its training people without noise: a model that it trained
    plainly, running statistics, or what `personalise` learns. Then so are all figures of its maps.

    Parameters
    ----------
    personal
        Names of the model's arrays that stay at the site.
    """
    row, _ = configure(strategy)
    network = () if model.network is None else model.network.named_parameters()
    trained = {NETWORK + name for name, _ in network}
    return row.fine_tuned or row.beside_a_personal_model or model.keeps_to_site or bool(personal - trained)


def check_buffers(model: NormativeModel, leaving: Arrays, before: Arrays) -> None:
    """Refuse to let out what training changed and no gradient did: statistics of people without noise.

    Parameters
    ----------
    before
        What the model shared before it was trained.

    Raises
    ------
    SiteError
        If a buffer of the network is another than before.
    """
    assert model.network is not None
    trained = {NETWORK + name for name, _ in model.network.named_parameters()}
    for name, array in leaving.items():
        if name not in trained and not (array == before[name]).all():
            raise SiteError(
                SiteCode.STUDY_REFUSED, f"{name}: training changed it without a gradient, so no noise would cover it"
            )
