"""The manifest of a study, made; apart from reading one, which must not import what computes."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from normfed_client.consent.manifest import Manifest
from normfed_client.hospital.folder import Hospital
from normfed_common.foundation.versions import installed_version
from normfed_common.study.config import StudyConfig


def manifest_of(hospital: Hospital, study: StudyConfig) -> Manifest:
    """What would leave this hospital for a study; no scan is opened. The same study and rules have the same manifest,
    which is made once per process.

    Parameters
    ----------
    study
        Resolved.

    Raises
    ------
    SiteError
        If the hospital's rules refuse the study.
    PluginError
        If a plug-in that it needs is not let in, or what its model sends cannot be found out.
    """
    made_of = (study.digest, hospital.config.model_dump_json(), installed_version())
    return _made(_Asked(made_of, hospital, study))


@dataclass(frozen=True)
class _Asked:
    """Alike where all that a manifest is made of is alike."""

    made_of: tuple[str, str, str]
    hospital: Hospital = field(compare=False)
    study: StudyConfig = field(compare=False)


@lru_cache(maxsize=8)
def _made(asked: _Asked) -> Manifest:
    from normfed_client.consent.rows import made  # imports what computes

    return made(asked.hospital, asked.study)
