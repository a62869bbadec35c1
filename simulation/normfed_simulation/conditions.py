"""What a simulation does to a federation beside its study, and how a run remembers it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from normfed_client.hospital.rules import CustodyConfig
from normfed_common.foundation.errors import RunError
from normfed_common.foundation.files import write_json
from normfed_server.runs.folder import Run
from normfed_simulation.attacks import Attack
from normfed_simulation.run_folder import CONDITIONS


@dataclass(frozen=True)
class Conditions:
    """See the module.

    Parameters
    ----------
    hospital_times
        Whether answers arrive by the clocks of real hospitals (virtually: nobody waits).
    attacks
        Malicious sites, and what each does.
    custody
        Sites at which a hospital's own rules hold, as they would deployed.
    """

    hospital_times: bool = False
    attacks: Mapping[str, Attack] = field(default_factory=dict)
    custody: Mapping[str, CustodyConfig] = field(default_factory=dict)


def remember(run: Run, conditions: Conditions) -> None:
    """Keep them in the run folder, for `conditions_of`."""
    write_json(run.folder / CONDITIONS, {"attacks": conditions.attacks})


def conditions_of(run: Run) -> Conditions:
    """What the run began under; it finds hospital times by itself.

    Raises
    ------
    RunError
        If the run does not say any more.
    """
    path = run.folder / CONDITIONS
    try:
        said = json.loads(path.read_text(encoding="utf-8"))["attacks"]
        return Conditions(attacks={site: Attack(name) for site, name in said.items()})
    except FileNotFoundError:
        return Conditions()
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise RunError(f"{path}: damaged ({error}). Remove it if no site was malicious, or begin a new run.") from error
