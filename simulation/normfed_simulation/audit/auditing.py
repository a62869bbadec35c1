"""Attack a run in every way, and write down how far each attack got."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

from normfed_client.hospital.device import choose_device
from normfed_client.hospital.machine import computing
from normfed_common.privacy.audit import Finding, PrivacyAudit, Protection, save
from normfed_server.report.privacy import write_privacy
from normfed_server.results import layout
from normfed_server.runs.folder import Run
from normfed_simulation.audit.canaries import claimed
from normfed_simulation.audit.catalogue import ATTACKS
from normfed_simulation.audit.target import Options, Target, opened


def audit(
    run: Run,
    data: Path | None,
    options: Options,
    chosen: Sequence[str] = (),
    told: Callable[[str], None] = lambda _text: None,
) -> PrivacyAudit:
    """Attack a finished run of a simulation; the result is also in its folder.

    Parameters
    ----------
    data
        The dataset, where it is no longer where the run had it.
    chosen
        Names of attacks; all when empty.
    told
        Hears how far along things are.

    Raises
    ------
    UserError
        If the run cannot be audited, or an attack is not known.
    """
    attacks = {name: ATTACKS[name] for name in chosen or ATTACKS}
    begun, found = time.perf_counter(), list[Finding]()
    with opened(run, data, options, told) as target, computing(run.study, choose_device(options.device)):
        for name, attack in attacks.items():
            told(name)
            found += attack(target)
        result = PrivacyAudit(
            version=version("normfed"),
            run=run.folder.name,
            study=run.study.name,
            digest=run.study.digest,
            model=run.study.model["name"],
            protection=protection(target),
            shadows=options.shadows,
            seed=options.seed,
            seconds=time.perf_counter() - begun,
            findings=tuple(found),
        )
    save(run.folder, result)
    write_privacy(run, layout.read(run.folder))
    return result


def protection(target: Target) -> Protection:
    """What the run's study claims."""
    privacy = target.run.study.privacy
    return Protection(
        epsilon=claimed(privacy, target.spent),
        delta=privacy.delta,
        unit=privacy.unit,
        secure_aggregation=privacy.secure_aggregation is not None,
        central_epsilon=None if privacy.central is None else privacy.central.epsilon,
    )
