"""The manifest of a study, made; apart from reading one, which must not import what computes."""

from __future__ import annotations

from normfed_client.consent.manifest import Manifest
from normfed_client.hospital.folder import Hospital
from normfed_common.study.config import StudyConfig


def manifest_of(hospital: Hospital, study: StudyConfig) -> Manifest:
    """What would leave this hospital for a study; no scan is opened. The same study and rules have the same manifest.

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
    from normfed_client.consent.rows import made  # imports what computes

    return made(hospital, study)
