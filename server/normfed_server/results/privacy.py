"""What a study's privacy came to: with how much noise each model's parts left, and what all models together claim.

The figures follow from the study alone, as the sites compute them too: no model ever takes more than it may.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from normfed_common.learning.phase import Phase, averaged_rounds
from normfed_common.learning.setting import Setting
from normfed_common.models.combined.pipeline import assemble
from normfed_common.privacy import accounting
from normfed_common.privacy.mechanisms import SampledGaussian
from normfed_common.privacy.spending import Kind, spending
from normfed_common.study.config import StudyConfig
from normfed_server.arms.plan import Arm, Plan
from normfed_server.results.guarantees import Guarantee, Mechanism, PrivacyFigures, Spent, Unit
from normfed_server.sites.description import POOLED
from normfed_server.steps.central import central_noise, releases


def privacy_figures(study: StudyConfig, plan: Plan) -> PrivacyFigures | None:
    """None where the study asks for no privacy at all."""
    asked = study.privacy
    if asked.epsilon is None and asked.central is None and asked.secure_aggregation is None:
        return None
    phases = {arm.name: assemble(study.transforms, arm.model, Setting.of(study)).phases() for arm in plan.arms}
    learnt = [arm for arm in plan.arms if phases[arm.name]]
    people, sites = _people(study, learnt, phases), _sites(study, learnt, phases)
    covered = {name for guarantee in (people, sites) if guarantee is not None for name in guarantee.models}
    return PrivacyFigures(
        people=people,
        sites=sites,
        minimum_sites=asked.secure_aggregation.minimum_sites if asked.secure_aggregation is not None else None,
        outside=tuple(arm.name for arm in learnt if arm.name not in covered),
    )


def _people(study: StudyConfig, arms: Sequence[Arm], phases: Mapping[str, Sequence[Phase]]) -> Guarantee | None:
    if study.privacy.epsilon is None:
        return None
    found: dict[str, dict[Kind, SampledGaussian]] = {}
    for arm in arms:
        spent = spending(study, phases[arm.name])
        assert spent is not None
        found[arm.name] = spent.by_kind()
    return _guarantee(study.privacy.unit, study.privacy.epsilon, study.privacy.delta, arms, found)


def _sites(study: StudyConfig, arms: Sequence[Arm], phases: Mapping[str, Sequence[Phase]]) -> Guarantee | None:
    config = study.privacy.central
    if config is None:
        return None
    covered = [arm for arm in arms if arm.federated]
    found: dict[str, dict[Kind, SampledGaussian]] = {}
    for arm in covered:
        rounds = averaged_rounds(phases[arm.name], study.federation.rounds)
        (all_rounds,) = releases(central_noise(config, rounds), rounds)
        found[arm.name] = {"rounds": all_rounds}
    return _guarantee("site", config.epsilon, config.delta, covered, found)


def _guarantee(
    unit: Unit,
    epsilon: float,
    delta: float,
    arms: Sequence[Arm],
    found: Mapping[str, Mapping[Kind, SampledGaussian]],
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
                mechanisms=tuple(_mechanism(kind, release) for kind, release in found[arm.name].items()),
            )
            for arm in arms
        },
        total=max((together([arm for arm in arms if site in arm.train]) for site in everywhere), default=0.0),
    )


def _mechanism(kind: Kind, release: SampledGaussian) -> Mechanism:
    return Mechanism(
        of=kind,
        noise_multiplier=release.noise_multiplier,
        sampling_rate=release.sampling_rate,
        releases=release.times,
    )
