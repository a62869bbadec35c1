"""The sums from which ComBat's shared part follows, without a scanner's mean among them.

With one-hot columns D of the scanners, x = D alpha + z' beta + e. By Frisch, Waugh and Lovell beta is the regression of
x less its scanner's mean on z less its scanner's mean, so a site sends, added up over its scanners,

    within:   sum (z - zbar)(z - zbar)',  sum (z - zbar)(x - xbar)',  sum (x - xbar)^2
    overall:  n,  sum z,  sum z^2,  sum x

and the server makes of the total

    beta     = within zz^-1 within zx
    mean     = (sum x - beta' sum z) / n              sum_s n_s alpha_s / n,  as alpha_s = xbar_s - beta' zbar_s
    variance = (within xx - within zx' beta) / n      the residual sum of squares over n

which are B, the grand mean and the pooled variance of ComBat (Johnson 2007, Biostatistics 8:118; Fortin 2018,
NeuroImage 167:104), in one round instead of the two of d-ComBat (Chen 2022, NeuroImage 248:118822), whose products of
one-hot columns hold each site's means.

In a secure sum over sites no scanner's mean shows: two scanners whose means are exchanged leave the same total. Where
the server sees each site's own sums, it learns of a site the mean of its features, how these differ within its scanners
and go with age and sex there, and how many scanners it has; of a site with one scanner that is the scanner's mean.

A scanner that is the **reference** has its own sums beside those of all: what is made of them is that scanner's mean
and variance, and whoever sees the total sees these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from normfed_common.foundation.arrays import Arrays, check_shapes
from normfed_common.foundation.errors import WireError
from normfed_common.learning.setting import SUMS_ROUNDING
from normfed_common.transforms.combat.rows import Rows

REFERENCE = "reference_"  # how the names of a reference's own sums begin
CONFOUNDED = 0.05  # of a covariate's variance, within scanners: with less it cannot be told from the scanner
SINGULAR = 1e-9  # of a correlation matrix, the smallest eigenvalue


def sums_of(rows: Rows, reference: str | None = None) -> Arrays:
    """See the module: ``scans`` (), ``covariates`` and ``covariate_squares`` (q,), ``values`` (p,),
    ``within_covariates`` (q, q), ``within_products`` (q, p), ``within_squares`` (p,); the same again of a reference.

    Who does not tell a covariate counts as their scanner's mean of those who do.
    """
    shapes = shapes_of(rows.covariates.shape[1], rows.values.shape[1])
    found = {name: np.zeros(shape) for name, shape in shapes.items()}
    if reference is not None:
        found |= {REFERENCE + name: np.zeros(shape) for name, shape in shapes.items()}
    for scanner, mine in rows.by_scanner().items():
        for name, array in _of_scanner(mine).items():
            found[name] += array
            if scanner == reference:
                found[REFERENCE + name] += array
    return found


def shapes_of(covariates: int, features: int) -> dict[str, tuple[int, ...]]:
    """Of `sums_of`, but for a reference's own, by name."""
    q, p = covariates, features
    return {
        "scans": (),
        "covariates": (q,),
        "covariate_squares": (q,),
        "values": (p,),
        "within_covariates": (q, q),
        "within_products": (q, p),
        "within_squares": (p,),
    }


@dataclass(frozen=True)
class Shared:
    """What all sites know.

    Parameters
    ----------
    slopes
        (q, p): of the covariates.
    mean
        (p,): of an average scanner, or of the reference, where all covariates are 0.
    variance
        (p,): of what neither covariates nor scanners explain; 0 where nobody differs.
    usual
        (q,): the covariates' means.
    """

    slopes: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    usual: np.ndarray

    @classmethod
    def of(cls, total: Arrays, names: Sequence[str], reference: bool = False) -> Shared:
        """What follows from the total of all sites' sums; ``names`` are those of the covariates.

        Raises
        ------
        WireError
            If there are no scans, the covariates cannot be told from each other or from the scanners, or nobody has
            sums of the reference.
        """
        n = float(total["scans"])
        if n <= 0:
            raise WireError("the sums cover no people")
        slopes = _slopes(total, names)
        whose = {name.removeprefix(REFERENCE): array for name, array in total.items() if name.startswith(REFERENCE)}
        if not reference:
            whose = total
        elif not whose or whose["scans"] <= 0:
            raise WireError("no site has the scanner that the study names as `reference`")
        mean = (whose["values"] - slopes.T @ whose["covariates"]) / float(whose["scans"])
        explained = 2 * (slopes * whose["within_products"]).sum(0)
        explained -= np.einsum("kp,kl,lp->p", slopes, whose["within_covariates"], slopes)
        squares = whose["within_squares"]
        residual = np.where(squares - explained > SUMS_ROUNDING**2 * squares, squares - explained, 0.0)
        return cls(slopes, mean, residual / float(whose["scans"]), total["covariates"] / n)

    def expected(self, covariates: np.ndarray) -> np.ndarray:
        """What covariates (n, q) let expect of an average scanner, (n, p)."""
        found: np.ndarray = self.mean + covariates @ self.slopes
        return found

    def where(self, chosen: np.ndarray) -> Shared:
        """Of some of the features, by bool (p,)."""
        return Shared(self.slopes[:, chosen], self.mean[chosen], self.variance[chosen], self.usual)

    @property
    def varies(self) -> np.ndarray:
        """bool (p,): the features in which people differ; the others are left alone."""
        found: np.ndarray = self.variance > 0
        return found


def check_sums(
    sums: Arrays,
    covariates: int,
    reference: bool,
    low: float = -np.inf,
    high: float = np.inf,
    largest_covariate: float = np.inf,
) -> None:
    """Whether scans can have these sums; values lie between ``low`` and ``high``, or are 0, and no covariate is further
    from 0 than the largest.

    Raises
    ------
    WireError
        If not, or there are none.
    """
    values = sums.get("values", np.zeros(()))
    if values.ndim != 1:
        raise WireError(f"values has shape {values.shape}, not one entry a feature")
    shapes = shapes_of(covariates, len(values))
    both = shapes | ({REFERENCE + name: shape for name, shape in shapes.items()} if reference else {})
    check_shapes(sums, both)
    for prefix in ("", *([REFERENCE] if reference else [])):
        _check({name: sums[prefix + name] for name in shapes}, low, high, largest_covariate)
    if sums["scans"] < 0 or (reference and sums[REFERENCE + "scans"] > sums["scans"] * (1 + SUMS_ROUNDING)):
        raise WireError("the reference has more scans than there are")


def _check(sums: Arrays, low: float, high: float, largest_covariate: float) -> None:
    n, largest, most = float(sums["scans"]), max(abs(low), abs(high)), 1 + SUMS_ROUNDING
    zz, xx = sums["within_covariates"], sums["within_squares"]
    if n < 0 or (xx < 0).any() or (np.diag(zz) < 0).any() or (sums["covariate_squares"] < 0).any():
        raise WireError("counts or squares are below 0")
    slack = SUMS_ROUNDING * largest * n if np.isfinite(largest) else 0.0
    if (sums["values"] < low * n - slack).any() or (sums["values"] > high * n + slack).any():
        raise WireError(f"sums are not of values between {low:g} and {high:g}")
    if (sums["within_products"] ** 2 > np.diag(zz)[:, None] * xx * most + SUMS_ROUNDING).any():
        raise WireError("products and squares contradict each other")
    if (xx > n * ((max(high, 0.0) - min(low, 0.0)) / 2) ** 2 * most + slack).any():
        raise WireError(f"squares are not of values between {low:g} and {high:g}")
    squares = sums["covariate_squares"]
    if (squares > largest_covariate**2 * n * most).any() or (sums["covariates"] ** 2 > squares * n * most).any():
        raise WireError("no scans have such covariates")
    if (np.diag(zz) > squares * most).any():
        raise WireError("covariates differ more within scanners than they do at all")
    slack = SUMS_ROUNDING * float(np.trace(zz))
    if len(zz) and (np.abs(zz - zz.T).max() > slack or np.linalg.eigvalsh(zz)[0] < -slack):
        raise WireError("products of covariates contradict each other")


def _of_scanner(rows: Rows) -> Arrays:
    z, x = rows.filled(rows.usual()), rows.values
    away, from_mean = z - z.mean(0), x - x.mean(0)
    return {
        "scans": np.float64(len(x)),
        "covariates": z.sum(0),
        "covariate_squares": (z**2).sum(0),
        "values": x.sum(0),
        "within_covariates": away.T @ away,
        "within_products": away.T @ from_mean,
        "within_squares": (from_mean**2).sum(0),
    }


def check_confounded(total: Arrays, names: Sequence[str]) -> np.ndarray:
    """Whether what covariates do can be told from what scanners do.

    Parameters
    ----------
    total
        ``scans``, ``covariates``, ``covariate_squares`` and ``within_covariates`` of all sites.

    Returns
    -------
    bool (q,), in which covariates anybody differs.

    Raises
    ------
    WireError
        If not; it names the covariate.
    """
    spread = np.diag(total["within_covariates"])
    whole = total["covariate_squares"] - total["covariates"] ** 2 / float(total["scans"])
    differs: np.ndarray = whole > SUMS_ROUNDING * total["covariate_squares"]
    if (spread[differs] < CONFOUNDED * whole[differs]).any():
        name = names[int(np.flatnonzero(differs & (spread < CONFOUNDED * whole))[0])]
        raise WireError(
            f"{name} differs between scanners, and hardly between people of one scanner, so that its effect cannot be "
            "told from theirs: leave it out of the covariates, or include scanners with other people"
        )
    return differs


def _slopes(total: Arrays, names: Sequence[str]) -> np.ndarray:
    """beta (q, p); 0 of a covariate in which nobody differs."""
    within, products = total["within_covariates"], total["within_products"]
    differs = check_confounded(total, names)
    found = np.zeros_like(products)
    if not differs.any():
        return found
    scale = np.sqrt(np.diag(within)[differs])
    matrix = within[np.ix_(differs, differs)] / np.outer(scale, scale)
    if np.linalg.eigvalsh(matrix)[0] < SINGULAR:
        raise WireError(
            f"of {', '.join(names)} one follows from the others, so that their effects cannot be told apart: leave one "
            "out of the covariates"
        )
    found[differs] = np.linalg.solve(matrix, products[differs] / scale[:, None]) / scale[:, None]
    return found
