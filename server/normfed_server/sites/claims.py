"""Whatever a site says is a claim: it is held against what is possible before anything is made of it.

Every function takes what a site answered and returns what may be used of it. What cannot be used raises `WireError`,
whose text says why in a few words; who asked then sets the site aside and goes on.
"""

from __future__ import annotations

import numpy as np
from flwr.app import Message

from normfed_common.foundation.arrays import Arrays, check_shapes
from normfed_common.foundation.errors import WireError
from normfed_common.learning.bounded import PEOPLE, longest, of_size
from normfed_common.learning.learner import Learner
from normfed_common.learning.setting import SUMS_ROUNDING
from normfed_common.metrics import histograms
from normfed_common.metrics.base import METRIC_ROUNDING, Metric
from normfed_common.metrics.catalogue import BUILT_IN
from normfed_common.metrics.groups import EVERYBODY
from normfed_common.metrics.summary import Summary
from normfed_common.metrics.tissue import CLASSES
from normfed_common.study.roles import ROLES
from normfed_common.wire.answers import Answer, Described, Trained
from normfed_common.wire.evaluation import COUNTS, ScoreRange, check_layout, to_summary
from normfed_common.wire.messages import decode_answer
from normfed_server.sites.description import SiteDescription

MOST_PEOPLE = 100_000  # in one role at one site: no hospital has more; UK Biobank's imaging study is as large
MOST_SCANS = 20  # of one person
LARGEST_LOSS = 1e12
LARGEST_SUM = 1e15  # of one voxel or latent over all people; sums of sites must stay far from float64's largest
LARGEST_SCORE = float(np.finfo(np.float32).max)
LONGEST_S = 1e8  # three years


def read(reply: Message, consume: bool = False) -> tuple[Answer, Arrays]:
    """An answer and its arrays; see `decode_answer`.

    Raises
    ------
    WireError
        If it breaks the protocol, in whatever way.
    """
    try:
        return decode_answer(reply, consume)
    except WireError:
        raise
    except Exception as error:  # NumPy, safetensors and Flower raise a dozen kinds on bytes that are made up
        raise WireError("it cannot be read") from error


def description(answer: Described) -> SiteDescription:
    """What a site says of itself.

    Raises
    ------
    WireError
        If it counts other roles than ours, more people than there are, or a kind of lesion twice.
    """
    if set(answer.counts) != set(ROLES):
        strange = sorted(set(answer.counts) ^ set(ROLES))
        raise WireError(f"it does not count people to {', '.join(ROLES)} (differs at {', '.join(strange)[:100]})")
    for role, people in answer.counts.items():
        if people > MOST_PEOPLE:
            said = f"it says that it has {people:,} people to {role.replace('_', ' ')}"
            raise WireError(f"{said}; at most {MOST_PEOPLE:,} are believed")
    _check_kinds(answer.kinds)
    return SiteDescription(**answer.counts, kinds=answer.kinds)


def believed(said: SiteDescription, enrolled: int | None) -> SiteDescription:
    """What is counted of what a site says: in no role more people than the operator enrolled it with."""
    if enrolled is None:
        return said
    return SiteDescription(**{role: min(getattr(said, role), enrolled) for role in ROLES}, kinds=said.kinds)


def check_training(answer: Answer, claims: frozenset[str], most_steps: int) -> None:
    """What a site says of its training, beside the weights.

    Parameters
    ----------
    claims
        Of ``steps`` and ``received_loss`` those that the server's step counts with.
    most_steps
        That the study's epochs can make of the site's people.

    Raises
    ------
    WireError
        If it is not possible.
    """
    trained = answer.told(Trained)
    for name in ("loss", "received_loss"):
        value = getattr(trained, name)
        if value is not None and abs(value) > LARGEST_LOSS:
            raise WireError(f"its {name.replace('_', ' ')} is {value:.3g}; at most {LARGEST_LOSS:.0e} is believed")
    if trained.steps > most_steps:
        most = f"its people make at most {most_steps:,} (the model's most_batches or the study's privacy says so)"
        raise WireError(f"it says that it made {trained.steps:,} steps; {most}")
    if "steps" in claims and trained.steps < 1:
        raise WireError("it does not say how many steps it made")
    if "received_loss" in claims and trained.received_loss is None:
        raise WireError("it does not say the loss of the model that it received")
    if answer.seconds > LONGEST_S:
        raise WireError(f"it says that it worked for {answer.seconds:.3g} s")


def check_arrays(arrays: Arrays, model: Arrays) -> None:
    """Whether arrays are those of a model, name by name.

    Raises
    ------
    WireError
        If names, shapes or types differ.
    """
    if set(arrays) != set(model):
        strange = sorted(set(arrays) ^ set(model))
        raise WireError(f"it has other arrays than the model: {', '.join(strange[:5])[:200]}")
    for name, array in arrays.items():
        if array.shape != model[name].shape or array.dtype != model[name].dtype:
            raise WireError(f"{name} is {array.dtype} of shape {array.shape}, not of {model[name].shape}")


def sums(arrays: Arrays, model: Learner, phase: str, people: int, noise: float | None = None) -> Arrays:
    """A site's sums of a phase.

    Parameters
    ----------
    noise
        In every entry of its people's contributions, where the study asks for privacy (see `Bounded`); None where it
        does not. With it the sums may be none that people can have, but no further from such than noise can make them,
        and are returned as they are, for noise of sites to cancel.

    Raises
    ------
    WireError
        If they are not float64, absurdly large, count something that so few people cannot have, or cover no people.
    """
    scans = people * MOST_SCANS
    counted = model.counted(phase)
    if not arrays or (noise is None and not set(counted) <= set(arrays)):
        raise WireError(f"it has no sums of {', '.join(sorted(set(counted) - set(arrays))) or phase}")
    for name, value in arrays.items():
        if value.dtype != np.float64:
            raise WireError(f"{name[:100]} is {value.dtype}, not float64")
        if not np.abs(value).max(initial=0) <= LARGEST_SUM:  # NaN is never less
            raise WireError(f"{name[:100]} holds what is no number, or a sum above {LARGEST_SUM:.0e}")
    try:
        possible = arrays if noise is None else _possible(arrays, model, phase, people, noise)
        for name, most in counted.items():
            low, high = possible[name].min(initial=0), possible[name].max(initial=0)
            if low < 0 or high > most * scans:
                raise WireError(f"{name} is between {low:.3g} and {high:.3g}; 0 to {most * scans:.3g} is possible")
        model.check(phase, possible)
    except (ArithmeticError, LookupError, ValueError) as error:  # of a check that did not think of such sums
        raise WireError("its sums are none that can be checked") from error
    return arrays


def _possible(arrays: Arrays, model: Learner, phase: str, people: int, noise: float) -> Arrays:
    """Sums with noise, repaired; refused where their people's contributions are longer than people and noise are."""
    bounded = model.bounded(phase)
    if bounded is None:
        raise WireError(f"nobody's part in the sums of {phase} is bounded")
    shapes = bounded.shapes()
    check_shapes({name: array for name, array in arrays.items() if name in shapes}, shapes)
    check_shapes(arrays, {PEOPLE: ()})
    if not 0 < arrays[PEOPLE] <= people:
        raise WireError(f"its sums are of {float(arrays[PEOPLE]):g} people; it has {people}")
    most = longest(people, noise, of_size(shapes))
    length = float(np.sqrt(sum(np.square(arrays[name]).sum() for name in shapes)))
    if length > most * (1 + SUMS_ROUNDING):
        raise WireError(
            f"its people's parts add up to a length of {length:.3g}; with all noise at most {most:.3g} is possible"
        )
    return bounded.repaired(arrays, noise)


def score_range(arrays: Arrays) -> ScoreRange:
    """The lowest and the highest of a site's anomaly scores.

    Raises
    ------
    WireError
        If they are not two numbers, the lower first, of a size that scores have.
    """
    found = ScoreRange.decode(arrays)
    if max(abs(found.low), abs(found.high)) > LARGEST_SCORE:
        raise WireError(f"its scores lie between {found.low:.3g} and {found.high:.3g}")
    return found


def coarse_counts(arrays: Arrays, site: SiteDescription, voxels: float) -> Arrays:
    """A site's counts over the range of all sites' scores.

    Parameters
    ----------
    voxels
        That the brain of one scan has at most.

    Raises
    ------
    WireError
        If they are not counts, or of more voxels or people than the site has.
    """
    layout: dict[str, tuple[tuple[int, ...], type]] = dict.fromkeys(
        ("normal", "lesion", "held_out_people"), ((histograms.COARSE_BINS,), np.int64)
    )
    check_layout(arrays, {**layout, "held_out": ((len(CLASSES), histograms.COARSE_BINS), np.int64)})
    tested, held_out = _scans(site.test), _scans(site.held_out)
    for name, scans in (("normal", tested), ("lesion", tested), ("held_out", held_out)):
        _check_counts(name, arrays[name], scans * voxels)
    _check_counts("held_out_people", arrays["held_out_people"], held_out)
    return arrays


def summary(
    groups: tuple[str, ...],
    arrays: Arrays,
    resamplings: int,
    site: SiteDescription,
    metrics: tuple[Metric, ...] = BUILT_IN,
    perhaps_nobody: bool = False,
) -> Summary:
    """A site's sums of the study's ``metrics`` over its people, of each of ``groups``; other arrays may stand beside.

    Parameters
    ----------
    perhaps_nobody
        Whether no figure need be defined of anybody, as where only voxels are ranked and all who test may be ill
        without a mask.

    Raises
    ------
    WireError
        If they are not those of this study, or of figures or people that there cannot be.
    """
    _check_kinds(groups)
    strange = set(groups) - {EVERYBODY, *site.kinds}
    if groups[:1] != (EVERYBODY,) or strange:
        raise WireError("its figures are not of everybody and of the kinds of lesion that it named")
    if not {"moments", "bootstrap"} <= set(arrays):
        raise WireError("it lacks moments or bootstrap")
    found = to_summary(groups, arrays, resamplings, metrics)
    for name in ("moments", "bootstrap"):
        if arrays[name].dtype != np.float64:
            raise WireError(f"{name} is {arrays[name].dtype}, not float64")
    least, most = (np.array([getattr(metric, end) for metric in metrics])[:, None] for end in ("lowest", "highest"))
    largest = np.maximum(-least, most)
    n, total, squares = np.moveaxis(found.moments, -1, 0)[..., None]
    resampled_n, resampled = np.moveaxis(found.bootstrap, -2, 0)
    for count, value, low, high in (
        (n, total, least, most),
        (resampled_n, resampled, least, most),
        (n, squares / largest, 0 * least, largest),
    ):
        if count.min(initial=0) < 0 or count.max(initial=0) > _scans(site.test) or (count % 1).any():
            raise WireError("it has figures of more people than it tests, or of fewer than nobody")
        if (value < count * low - METRIC_ROUNDING * largest).any() or (
            value > count * high + METRIC_ROUNDING * largest
        ).any():
            raise WireError("it has figures that no person can have")
    if (total**2 > n * squares * (1 + METRIC_ROUNDING) + METRIC_ROUNDING).any():
        raise WireError("its sums of figures and of their squares contradict each other")
    if (
        not perhaps_nobody and not found.moments[0, :, 0].any()
    ):  # any one may be left out, as all but one or two people's are alike
        raise WireError("its figures are of nobody")
    return found


def counts(arrays: Arrays, edges: int, site: SiteDescription, voxels: float) -> Arrays:
    """A site's counts between ``edges`` common edges; ``voxels``: see `coarse_counts`.

    Raises
    ------
    WireError
        If they are not counts, or of more voxels or people than the site has.
    """
    found = {name: arrays[name] for name in COUNTS if name in arrays}
    size = (edges + 1,)
    check_layout(found, {name: (size, np.float64 if name == "regions" else np.int64) for name in COUNTS})
    tested, held_out = _scans(site.test), _scans(site.held_out)
    for name in ("normal", "lesion"):
        _check_counts(name, found[name], tested * voxels)
    _check_counts("regions", found["regions"], tested + METRIC_ROUNDING)  # a scan's weights add up to 1
    _check_counts("normal_people", found["normal_people"], held_out)
    _check_counts("patients", found["patients"], tested)
    return found


def image_auroc(arrays: Arrays) -> float | None:
    """A site's image-level AUROC; None where it is not defined.

    Raises
    ------
    WireError
        If it is not a share.
    """
    if "image_auroc" not in arrays:
        return None
    value = arrays["image_auroc"]
    if value.shape != () or value.dtype != np.float64 or not 0 <= value <= 1:
        raise WireError("its image-level AUROC is not between 0 and 1")
    return float(value)


def _scans(people: int) -> int:
    return MOST_SCANS * max(people, 0)


def _check_counts(name: str, values: np.ndarray, most: float) -> None:
    # As float64, whose sum cannot wrap round.
    if values.min(initial=0) < 0 or values.astype(np.float64).sum() > most:
        raise WireError(f"{name} is not a count of what the site has")


def _check_kinds(kinds: tuple[str, ...]) -> None:
    if len(set(kinds)) != len(kinds):
        raise WireError("it names a kind of lesion twice")
