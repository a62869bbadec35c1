"""A data protection impact assessment with all that normfed knows filled in; the rest is for the hospital.

The sections are those of the sample of the UK's Information Commissioner (ICO, seven steps), of the CNIL's PIA method
(its three feared events) and of the EDPB's template of 2026; together they hold what Article 35(7) GDPR asks for.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Literal, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from normfed_client.consent.manifest import Manifest
from normfed_client.consent.sheet import beside_of, lines_of, size
from normfed_client.hospital.folder import HospitalConfig
from normfed_common.study.config import StudyConfig
from normfed_common.wording.terminal_text import printable

Likelihood = Literal["remote", "possible", "probable"]
Severity = Literal["minimal", "significant", "severe"]

_SPECIAL = re.compile(r"([\\`*_\[\]<>|#~&])")


class Risk(NamedTuple):
    """One risk to people, rated by the study and by the hospital's rules; a proposal for the hospital to change."""

    what: str
    source: str
    likelihood: Likelihood
    severity: Severity
    measures: str
    remains: str

    @property
    def overall(self) -> str:
        """Both ranks together; severe harm that is not remote is high."""
        rank = ("remote", "possible", "probable").index(self.likelihood)
        rank += ("minimal", "significant", "severe").index(self.severity)
        return ("low", "low", "medium", "high", "high")[rank]


def assessment(manifest: Manifest, study: StudyConfig, rules: HospitalConfig, people: str, standing: str) -> str:
    """The assessment as Markdown; ``[TO BE FILLED IN: ...]`` marks what only the hospital knows.

    Parameters
    ----------
    people
        How many there are to be learnt from and tested, as far as that is known, in words.
    standing
        How the study stands at this hospital, in words.
    """
    text: str = (
        _environment()
        .get_template("dpia.md.jinja")
        .render(
            manifest=manifest,
            study=study,
            rules=rules,
            people=people,
            standing=standing,
            lines=lines_of(manifest, "answers"),
            beside=beside_of(manifest),
            total=size(manifest.total_bytes),
            per_other=size(sum(one.bytes * one.times_per_other_site for one in manifest.leaving)),
            risks=risks_of(study, rules),
        )
    )
    return text


def risks_of(study: StudyConfig, rules: HospitalConfig) -> tuple[Risk, ...]:
    """Risks to people, with a likelihood that follows from noise, masks and the hospital's rules."""
    epsilon = study.privacy.epsilon if study.privacy.unit == "patient" else None
    masked = study.privacy.secure_aggregation is not None
    noise = "no noise: the study has no epsilon" if epsilon is None else f"noise at epsilon {epsilon:g}"
    masks = (
        f"{'masks' if masked else 'no masks'}: the server reads {'sums over sites only' if masked else 'all answers'}"
    )
    floor = f"at least {max(rules.minimum_people, study.federation.minimum_cohort)} people in anything that leaves"
    bound = (
        "nothing bounds it"
        if epsilon is None
        else f"of a suspicion of 50 % at most {_suspicion(epsilon):.1f} % can be made"
    )
    return (
        Risk(
            "Somebody finds out that a person was among those learnt from, and so is (or is not) healthy",
            "whoever gets the model, or the server, and has the person's scan already (membership inference)",
            "possible" if epsilon is None or epsilon > 4 else "remote",
            "significant",
            f"{noise}; {floor}; normfed audit-privacy on a simulation of the study says how well known attacks do",
            bound,
        ),
        Risk(
            "Part of a scan, or a figure of one person, is computed out of what left",
            "a dishonest server, by crafted models or by differences of answers",
            "possible" if epsilon is None else "remote",
            "severe",
            f"{floor}; a record of releases, so that no two differ by fewer; {masks}; {noise}",
            "an update of a network built for it is bounded by nothing" if epsilon is None else bound,
        ),
        Risk(
            "Scans or files are read by somebody without a right to them (illegitimate access)",
            "an intruder on the client's machine, or an administrator of it",
            "remote",
            "severe",
            "one outbound connection and no open port; no code comes from the server; the dataset is read-only; the "
            "client has a user of its own",
            "as for any machine on which these scans lie; normfed does not encrypt its cache of prepared scans",
        ),
        Risk(
            "Scans are changed (unwanted modification)",
            "a fault of the client, or an intruder",
            "remote",
            "minimal",
            "the dataset is mounted read-only; prepared copies are the client's own",
            "none beyond the machine's own",
        ),
        Risk(
            "Scans are lost (disappearance)",
            "a fault of the client, or an intruder",
            "remote",
            "minimal",
            "the client writes nothing to the dataset, which is backed up as before",
            "none beyond the machine's own",
        ),
        Risk(
            "A model is wrong for people like those who are few in it, and somebody relies on it",
            "use of the model for care, for which it was not made",
            "possible",
            "significant",
            "research only, not a medical device; the report has every figure per site and per kind of lesion",
            "nothing technical stops such use",
        ),
        Risk(
            "A person objects, and what was learnt from them stays in the model",
            "a trained model cannot forget one person",
            "possible",
            "minimal",
            "exclude in site.yaml leaves the person out of all later training, tests and sums",
            "what left before stays; only a new training without the person removes it",
        ),
    )


def _suspicion(epsilon: float) -> float:
    """What a suspicion of 50 % becomes at most, in percent, but for cases of chance delta."""
    return 100 / (1 + math.exp(-epsilon))


def _inert(value: object) -> str:
    """Text of somebody else, such as a study's description, that cannot be markup, a link or another row of a table."""
    return _SPECIAL.sub(r"\\\1", " ".join(printable(str(value)).split()))


def _list(values: Iterable[str]) -> str:
    return ", ".join(values) or "none"


@lru_cache(maxsize=1)
def _environment() -> Environment:
    found = Environment(
        loader=PackageLoader("normfed_client.consent"),
        autoescape=False,
        finalize=_inert,  # the page is Markdown
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters["listed"] = _list
    return found
