"""privacy.html: what a study promises its patients, what it spent, what attacks reached, what left, what it cost.

For a data-protection officer: no mathematics, no scripts, nothing from elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Literal

from markupsafe import Markup

from normfed_common.foundation.errors import DamagedError
from normfed_common.foundation.files import write_text
from normfed_server.report import arms, cost, leaving, promises, roc
from normfed_server.report.drowned import drowned
from normfed_server.report.rendering import templates
from normfed_server.report.words import interval, listed, number
from normfed_server.results import audit
from normfed_server.results.audit import Finding, PrivacyAudit
from normfed_server.results.chance import chance
from normfed_server.results.guarantees import Guarantee, PrivacyFigures
from normfed_server.results.layout import RunResults
from normfed_server.runs.folder import PRIVACY, Run

SHOWN_RATES = {"0.01": "1 %", "0.1": "10 %"}  # of others mistaken

Tone = Literal["promised", "partly", "nothing"]


@dataclass(frozen=True)
class Attacks:
    """What an audit found, to be shown.

    Parameters
    ----------
    warnings
        Before anything else.
    picture
        Empty where no attack has a curve.
    """

    audit: PrivacyAudit
    warnings: tuple[str, ...]
    picture: Markup


def write_privacy(run: Run, results: RunResults) -> Path:
    """Write privacy.html into a finished run's folder."""
    environment = templates(trim_blocks=True)
    environment.filters |= {
        "number": number,
        "interval": interval,
        "titled": results.title,
        "listed": listed,
        "upwards": promises.upwards,
        "share": promises.share,
        "factor": promises.factor,
        "one_in": promises.one_in,
        "strength": promises.strength,
        "protected": promises.protected,
        "kinds": lambda lines: [kind for kind in ("sums", "rounds") if any(kind in line.mechanisms for line in lines)],
        "result": _result,
        "rate": _rate,
    }
    privacy = results.privacy
    attacks, problem = _attacks(run, results)
    guarantees = [] if privacy is None else [found for found in (privacy.people, privacy.sites) if found is not None]
    page = environment.get_template("privacy.html.jinja").render(
        run=run,
        results=results,
        privacy=privacy,
        tone=_tone(privacy),
        headline=promises.summary(privacy),
        guarantees=guarantees,
        models=arms.explained((name for found in guarantees for name in found.models), results),
        spent={found.unit: arms.spendings(found, results) for found in guarantees},
        of_one=promises.of_one_model,
        suspicions={found.unit: promises.suspicions(_epsilons(found)) for found in guarantees},
        gaps=promises.gaps(results),
        attacks=attacks,
        problem=problem,
        rates=SHOWN_RATES,
        sent=leaving.sent(run.folder, results),
        cost=cost.cost(run, results),
        drowned=drowned(results),
        chief=[name for name, metric in results.metrics.items() if "terminal" in metric.shown],
        chance=partial(chance, results),
        simulated=run.sites_file.exists(),
        written=datetime.now().strftime("%Y-%m-%d %H:%M"),
    )
    path = run.folder / PRIVACY
    write_text(path, page)
    return path


def _tone(privacy: PrivacyFigures | None) -> Tone:
    if privacy is not None and privacy.people is not None and privacy.people.unit == "patient":
        return "promised" if promises.of_one_model(privacy.people) <= promises.MODERATE else "partly"
    return "partly" if privacy is not None and privacy.sites is not None else "nothing"


def _epsilons(guarantee: Guarantee) -> tuple[float, float]:
    return promises.of_one_model(guarantee), guarantee.total


def _attacks(run: Run, results: RunResults) -> tuple[Attacks | None, str]:
    """The audit of the run, and why there is none to show where its file cannot be read."""
    try:
        found = audit.read(run.folder)
    except DamagedError as error:
        return None, f"{audit.FILE} cannot be read ({error.why}). Audit the run again."
    if found is None:
        return None, ""
    return Attacks(found, tuple(_warnings(found, results)), _picture(found, results)), ""


def _warnings(found: PrivacyAudit, results: RunResults) -> list[str]:
    texts = []
    if found.digest != results.digest:
        texts.append("This audit is of another study than the run. Audit the run again.")
    claimed = _claimed(results)
    for finding in found.findings:
        if claimed is not None and _beyond(finding, claimed):
            texts.append(
                f"{finding.title} reached further than the claim allows: epsilon is at least "
                f"{number(finding.epsilon_at_least)}, and {promises.upwards(claimed)} is claimed. Do not rely on it."
            )
    return texts


def _beyond(finding: Finding, claimed: float) -> bool:
    return not finding.epsilon_of and finding.epsilon_at_least is not None and finding.epsilon_at_least > claimed


def _claimed(results: RunResults) -> float | None:
    """Epsilon per patient of the model that is attacked, the study's own."""
    people = results.privacy.people if results.privacy is not None else None
    if people is None or people.unit != "patient" or "federated" not in people.models:
        return None
    return people.models["federated"].epsilon


def _picture(found: PrivacyAudit, results: RunResults) -> Markup:
    curves = {finding.title: finding.curve for finding in found.findings if finding.curve}
    delta = results.privacy.people.delta if results.privacy is not None and results.privacy.people is not None else 0.0
    return roc.drawn(curves, _claimed(results), delta) if curves else Markup("")


def _result(finding: Finding) -> str:
    """Its figure with its interval."""
    if finding.figure is None:
        return "not made"
    ends = interval((finding.figure.low, finding.figure.high))
    return f"{number(finding.figure.value)}{f' ({ends})' if ends else ''}"


def _rate(value: float | None) -> str:
    return "–" if value is None else promises.share(value)
