"""What a study's privacy came to: with how much noise each model's parts left, and what all models together claim.

The figures follow from the study alone, as the sites compute them too: no model ever takes more than it may.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from normfed_common.algorithms.arms import POOLED
from normfed_common.learning.bounded import of_size
from normfed_common.learning.phase import Phase, averaged_rounds
from normfed_common.learning.setting import Setting
from normfed_common.models.base import NormativeModel
from normfed_common.models.combined.pipeline import assemble
from normfed_common.privacy import accounting
from normfed_common.privacy.mechanisms import SampledGaussian
from normfed_common.privacy.spending import Kind, spending
from normfed_common.study.config import StudyConfig
from normfed_server.arms.plan import Arm, Plan
from normfed_server.results.guarantees import Guarantee, Mechanism, PrivacyFigures, Spent, Unit
from normfed_server.steps.central import central_noise, releases

Sizes = Mapping[Kind, int]


def privacy_figures(study: StudyConfig, plan: Plan) -> PrivacyFigures | None:
    """None where the study asks for no privacy at all."""
    asked = study.privacy
    if asked.epsilon is None and asked.central is None and asked.secure_aggregation is None:
        return None
    models = {arm.name: assemble(study.transforms, arm.model, Setting.of(study)) for arm in plan.arms}
    phases = {name: model.phases() for name, model in models.items()}
    learnt = [arm for arm in plan.arms if phases[arm.name]]
    sizes = {name: _sizes(model) for name, model in models.items()}
    people, sites = _people(study, learnt, phases, sizes), _sites(study, learnt, phases, sizes)
    covered = {name for guarantee in (people, sites) if guarantee is not None for name in guarantee.models}
    return PrivacyFigures(
        people=people,
        sites=sites,
        minimum_sites=asked.secure_aggregation.minimum_sites if asked.secure_aggregation is not None else None,
        outside=tuple(arm.name for arm in learnt if arm.name not in covered),
    )


def _sizes(model: NormativeModel) -> Sizes:
    """How many numbers the largest of a model's bounded sums consists of, and the largest part that rounds train."""
    phases = model.phases()
    bounded = [model.bounded(phase.name) for phase in phases if phase.kind == "summed"]
    averaged = [phase.parts or tuple(model.parts) for phase in phases if phase.kind == "averaged"]
    trained = [[weight for part in parts for weight in model.parts[part].parameters()] for parts in averaged]
    return {
        "sums": max((of_size(one.shapes()) for one in bounded if one is not None), default=0),
        "rounds": max((sum(weight.numel() for weight in weights) for weights in trained), default=0),
    }


def _people(
    study: StudyConfig, arms: Sequence[Arm], phases: Mapping[str, Sequence[Phase]], sizes: Mapping[str, Sizes]
) -> Guarantee | None:
    if study.privacy.epsilon is None:
        return None
    found: dict[str, dict[Kind, SampledGaussian]] = {}
    for arm in arms:
        spent = spending(study, phases[arm.name])
        assert spent is not None
        found[arm.name] = spent.by_kind() if arm.federated else _by_one_site(spent.by_kind())
    return _guarantee(study.privacy.unit, study.privacy.epsilon, study.privacy.delta, arms, found, sizes)


def _by_one_site(releases: Mapping[Kind, SampledGaussian]) -> dict[Kind, SampledGaussian]:
    """The same of a model that is in no secure sum: who trains it adds all the noise."""
    return {kind: replace(release, sites=1) for kind, release in releases.items()}


def _sites(
    study: StudyConfig, arms: Sequence[Arm], phases: Mapping[str, Sequence[Phase]], sizes: Mapping[str, Sizes]
) -> Guarantee | None:
    config = study.privacy.central
    if config is None:
        return None
    covered = [arm for arm in arms if arm.federated]
    found: dict[str, dict[Kind, SampledGaussian]] = {}
    for arm in covered:
        rounds = averaged_rounds(phases[arm.name], study.federation.rounds)
        (all_rounds,) = releases(central_noise(config, rounds), rounds)
        found[arm.name] = {"rounds": all_rounds}
    return _guarantee("site", config.epsilon, config.delta, covered, found, sizes)


def _guarantee(
    unit: Unit,
    epsilon: float,
    delta: float,
    arms: Sequence[Arm],
    found: Mapping[str, Mapping[Kind, SampledGaussian]],
    sizes: Mapping[str, Sizes],
) -> Guarantee:
    def together(those: Iterable[Arm]) -> float:
        return accounting.epsilon([release for arm in those for release in found[arm.name].values()], delta)

    everywhere = {site for arm in arms for site in arm.train} - {POOLED}
    return Guarantee(
        unit=unit,
        epsilon=epsilon,
        delta=delta,
        models={
            arm.name: Spent(
                epsilon=together([arm]),
                sites=arm.train,
                mechanisms=tuple(
                    _mechanism(kind, release, sizes[arm.name][kind]) for kind, release in found[arm.name].items()
                ),
                alone=_alone(found[arm.name].values(), delta),
            )
            for arm in arms
        },
        total=max((together([arm for arm in arms if site in arm.train]) for site in everywhere), default=0.0),
    )


def _alone(releases: Collection[SampledGaussian], delta: float) -> float | None:
    if all(release.sites == 1 for release in releases):
        return None
    return accounting.epsilon([release.alone() for release in releases], delta)


def _mechanism(kind: Kind, release: SampledGaussian, numbers: int) -> Mechanism:
    return Mechanism(
        of=kind,
        noise_multiplier=release.noise_multiplier,
        sampling_rate=release.sampling_rate,
        releases=release.times,
        numbers=numbers,
        sites=release.sites,
    )
