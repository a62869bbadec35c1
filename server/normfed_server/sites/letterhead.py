"""What heads every request of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from normfed_common.algorithms.arms import FEDERATED
from normfed_common.foundation.versions import PROTOCOL, installed_version
from normfed_common.study.config import StudyConfig
from normfed_common.study.federation import PLAIN
from normfed_common.wire.requests import Payload, Request


@dataclass(frozen=True)
class Letterhead:
    """The study of a run, the run's name (sites keep what belongs to it apart), and the plug-ins that it uses here."""

    study: StudyConfig
    run: str = ""
    plugins: Mapping[str, str] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """Of normfed here."""
        return installed_version()

    def request(
        self,
        payload: Payload,
        arm: str = FEDERATED,
        model: Mapping[str, Any] | None = None,
        strategy: Mapping[str, Any] = PLAIN,
        repeat: int = 0,
    ) -> Request:
        """A request about one of the study's models: an arm, its entries of the study, and which training it is.

        Parameters
        ----------
        model
            The study's own if absent.
        """
        entry = self.study.model if model is None else model
        return Request(
            study=self._study,
            run=self.run,
            protocol=PROTOCOL,
            version=self.version,
            plugins=dict(self.plugins),
            arm=arm,
            model=dict(entry),
            strategy=dict(strategy),
            repeat=repeat,
            payload=payload,
        )

    @cached_property
    def _study(self) -> str:
        return self.study.model_dump_json()
