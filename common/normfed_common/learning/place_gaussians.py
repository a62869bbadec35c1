"""A Gaussian of vectors at every place of the common grid, from sums over sites.

A place is a cube of voxels. Sums over normal tissue, n, sum x and sum x x' per place, make mean m_v and covariance C_v,
drawn to the pooled covariance C within places, which is worth ``prior_voxels`` k of them:

    S_v = (n_v C_v + k C) / (n_v + k),    d(x, v) = ||W_v (x - m_v)||,    W_v' W_v = S_v^-1

W_v is lower triangular. A place that nobody has takes the mean of all and S_v = C.

How the mean a_i of a scan i over its n_i voxels at a place varies from scan to scan is told by one more sum,
sum n_i a_i^2: of N = n / cell^3 scans, the fewest that can have so many voxels there, it has the variance

    V_v = N / (N - 1) (sum n_i a_i^2 / n - m_v^2)

and a further scan of the same people has, with probability 1 - p and normal means, its own within
m_v +- t(N - 1, 1 - p/2) sqrt((1 + 1/N) V_v), the prediction interval of a normal sample (Geisser 1993, Predictive
Inference, 2.1).

Memory: L places of dimension d have 8 L (1 + d + d (d + 1) / 2) bytes of sums: 15 MB at 6 mm and d = 10 on the grid of
2 mm, 400 MB where every voxel is a place. Means and W_v are float32 and kept only for places that somebody has.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.sparse import csr_array
from scipy.special import stdtrit

from normfed_common.foundation.arrays import Arrays, check_shapes
from normfed_common.foundation.errors import StudyError, WireError
from normfed_common.learning.scatter import ROUNDING, check_semidefinite, symmetric, triangle
from normfed_common.learning.setting import Places, Setting

LARGEST_DISTANCE = 1e18  # its square is within float32: what overflows is as far, never infinite
LARGEST_SUMS = 2 * 10**9  # bytes
AT_ONCE = 16_384  # places or voxels
FEWEST_SCANS = 3  # at a place, of whose spread anything is said


class PlaceGaussians:
    """See the module. Made where there is no grid, as at the server, it takes sums of any number of places.

    Parameters
    ----------
    dimension
        d, of the vectors.
    setting
        Has the common grid.
    spacing_mm
        Edge of a place, rounded to voxels and at least one.
    prior_voxels
        k above 0, in voxels.
    smoothing
        Standard deviation in places of a Gaussian that spreads the sums over neighbours before anything is made of
        them. Its weights sum to 1, so that n_v is a mean over neighbours. How means differ between neighbours then
        counts as covariance.
    interpolated
        Whether m_v and W_v are interpolated linearly between the centres of places that somebody has, instead of being
        the same all over a place.
    covariances
        Whether there are any; without, sums have no ``products`` and only m_v is made of them.
    between
        Of which b of the d numbers it is learnt how a scan's mean at a place varies from scan to scan; without any,
        sums have no ``between``.

    Attributes
    ----------
    cells
        Places along x, y, z.
    edge_mm
        Of a place.
    mean
        float32 (rows, d).
    whitening
        float32 (rows, d, d): W_v.
    count
        (rows,): n_v.
    spread
        float64 (rows, b): sqrt(V_v); 0 where N is below 3.
    row
        (L,): a place's row of these. The last row is of places that nobody has.

    Raises
    ------
    StudyError
        If the sums are larger than a message.
    """

    def __init__(
        self,
        dimension: int,
        setting: Setting,
        spacing_mm: float,
        prior_voxels: float,
        smoothing: float = 0.0,
        interpolated: bool = False,
        covariances: bool = True,
        between: Sequence[int] = (),
    ) -> None:
        self.dimension, self.prior_voxels, self.smoothing = dimension, prior_voxels, smoothing
        self.covariances, self.between = covariances, np.array(between, np.intp)
        self.cell = cell = max(1, round(spacing_mm / setting.voxel_size_mm))
        self.shape = shape = setting.shape
        self.edge_mm = cell * setting.voxel_size_mm
        self.cells = (-(-shape[0] // cell), -(-shape[1] // cell), -(-shape[2] // cell))
        self.upper = triangle(dimension)
        self.interpolated = interpolated and cell > 1
        numbers = 1 + dimension + covariances * len(self.upper[0]) + len(self.between)
        size = 8 * int(np.prod(self.cells)) * numbers
        if size > LARGEST_SUMS:
            raise StudyError(
                f"spacing_mm: places of {self.edge_mm:g} mm have {size / 1e9:,.0f} GB of sums, at most "
                f"{LARGEST_SUMS / 1e9:.0f} GB fit into a message. Ask for larger places, or for fewer numbers at each."
            )

    @property
    def places(self) -> Places:
        """As `Learner.places` says it, of a phase with these sums alone."""
        return Places(self.cells, self.edge_mm, of_scans=len(self.between) > 0)

    @property
    def counted(self) -> dict[str, float]:
        """As `Learner.counted` says it: a scan counts once at each voxel of a place."""
        return {"count": self.cell**3}

    def cell_of(self, index: np.ndarray) -> np.ndarray:
        """Flat number of the place of every voxel, both (n,)."""
        place = np.unravel_index(index, self.shape)
        flat: np.ndarray = np.ravel_multi_index([axis // self.cell for axis in place], self.cells)
        return flat

    def statistics(self, fields: Iterable[tuple[np.ndarray, np.ndarray]]) -> Arrays:
        """Sums over voxels, float64.

        Parameters
        ----------
        fields
            Per scan flat indices (n,) of voxels, each at most once, and their vectors (n, d).

        Returns
        -------
        ``count`` (L,), ``sum`` (L, d), ``products``, the upper triangle row by row, (L, d(d+1)/2), and ``between``
        (L, b).
        """
        total = {name: np.zeros(shape) for name, shape in self._shapes(int(np.prod(self.cells))).items()}
        for index, vectors in fields:
            where = self.cell_of(index)
            order = np.argsort(where, kind="stable")
            here, starts, counts = np.unique(where[order], return_index=True, return_counts=True)
            if not len(here):
                continue
            columns = np.asarray(vectors, np.float64).T[:, order]
            total["count"][here] += counts
            first = np.add.reduceat(columns, starts, axis=1).T
            total["sum"][here] += first
            if len(self.between):
                total["between"][here] += first[:, self.between] ** 2 / counts[:, None]
            if self.covariances:
                products = [np.add.reduceat(columns[i] * columns[j], starts) for i, j in zip(*self.upper, strict=True)]
                total["products"][here] += np.stack(products, axis=1)
        return total

    def _shapes(self, *places: int) -> dict[str, tuple[int, ...]]:
        """Of the sums."""
        shapes = {"count": places, "sum": (*places, self.dimension)}
        if self.covariances:
            shapes["products"] = (*places, len(self.upper[0]))
        if len(self.between):
            shapes["between"] = (*places, len(self.between))
        return shapes

    def check(self, sums: Arrays) -> None:
        """The scatter of every place, sum x x' - sum x sum x' / n, is positive semidefinite, and that of scans' means.

        So they are for means over cubes of places. Places without people have no sums.

        Raises
        ------
        WireError
            If not.
        """
        check_shapes(sums, self._shapes(*(sums["count"].shape[:1] if "count" in sums else ())))
        count, first = sums["count"], sums["sum"]
        if (count < 0).any():
            raise WireError("counts are below 0")
        nobody = count == 0
        if any(array[nobody].any() for array in sums.values()):
            raise WireError("there are sums at locations where nobody is")
        if len(self.between):
            known = ~nobody
            least = first[known][:, self.between] ** 2 / count[known, None]
            if (sums["between"][known] < least * (1 - ROUNDING)).any():
                raise WireError("sums and those of scans contradict each other")
        if not self.covariances:
            return
        for rows in _blocks(np.flatnonzero(~nobody)):
            products = symmetric(sums["products"][rows], self.dimension)
            scatter = products - first[rows, :, None] * first[rows, None, :] / count[rows, None, None]
            check_semidefinite(scatter, np.trace(products, axis1=1, axis2=2))

    def absorb(self, total: Arrays) -> None:
        """Means and whitening matrices of all places from sums over all sites, which `check` let pass.

        Raises
        ------
        WireError
            If no mean or covariance can be made of them.
        """
        total = self._smoothed(total)
        known = np.flatnonzero(total["count"] > 0)
        count, first = total["count"][known], total["sum"][known]
        people = max(count.sum(), 1)
        mean = first / count[:, None]
        self.mean = np.concatenate([mean, first.sum(0, keepdims=True) / people]).astype(np.float32)
        self.count = np.append(count, 0.0)
        self.row = np.full(len(total["count"]), len(known), np.int32)
        self.row[known] = np.arange(len(known))
        if self.covariances:
            self.whitening = self._whitening(total["products"], known, count, mean)
        if len(self.between):
            self.spread = np.pad(self._spread(total["between"][known], count, mean), ((0, 1), (0, 0)))
        if not np.isfinite(self.mean).all():
            raise WireError("sums make a mean that is not finite")

    def _whitening(self, products: np.ndarray, known: np.ndarray, count: np.ndarray, mean: np.ndarray) -> np.ndarray:
        """W_v of the places (n,) that somebody has, and of the others: float32 (n + 1, d, d)."""
        people, eye = max(count.sum(), 1), np.eye(self.dimension)
        pooled = np.zeros((self.dimension, self.dimension))
        for rows in _blocks(np.arange(len(known))):
            pooled += self._scatter(products[known[rows]], count[rows], mean[rows]).sum(0)
        pooled /= people
        pooled += eye * (1e-6 * np.trace(pooled) / self.dimension + 1e-12)
        whitening = np.empty((len(known) + 1, self.dimension, self.dimension), np.float32)
        for rows in _blocks(np.arange(len(known))):
            scatter = self._scatter(products[known[rows]], count[rows], mean[rows])
            weight = count[rows, None, None] + self.prior_voxels
            whitening[rows] = np.tril(np.linalg.inv(_roots((scatter + self.prior_voxels * pooled) / weight)))
        whitening[-1] = np.tril(np.linalg.inv(_roots(pooled)))
        if not np.isfinite(whitening).all():
            raise WireError("sums make a covariance that is not finite")
        return whitening

    def _spread(self, between: np.ndarray, count: np.ndarray, mean: np.ndarray) -> np.ndarray:
        """sqrt(V_v) of the places (n,) that somebody has, (n, b)."""
        scans = count[:, None] / self.cell**3
        variance = np.maximum(between / count[:, None] - mean[:, self.between] ** 2, 0)
        correction = scans / np.maximum(scans - 1, 1)
        return np.where(scans >= FEWEST_SCANS, np.sqrt(correction * variance), 0.0)

    def beyond(self, values: np.ndarray, index: np.ndarray, probability: float) -> np.ndarray:
        """Share of a scan's voxels at places where its mean is outside the prediction interval (see the module), (b,).

        Of places with fewer than 3 scans, or where all have one mean, nothing is said, and they count for nothing; the
        share is 0 where there is no other.

        Parameters
        ----------
        values
            (n, b), at voxels ``index`` (n,): those of the d numbers that ``between`` names.
        probability
            p, of a scan of the same people to be outside at a place.
        """
        here, place, counts = np.unique(self.cell_of(index), return_inverse=True, return_counts=True)
        sums = np.stack([np.bincount(place, column, len(here)) for column in values.T.astype(np.float64)], 1)
        row = self.row[here]
        spread = self.spread[row]
        scans = np.maximum(self.count[row, None] / self.cell**3, FEWEST_SCANS)
        reach = stdtrit(scans - 1, 1 - probability / 2) * np.sqrt(1 + 1 / scans) * spread
        outside = np.abs(sums / counts[:, None] - self.mean[row][:, self.between]) > reach
        weight = counts[:, None] * (spread > 0)
        share: np.ndarray = (weight * outside).sum(0) / np.maximum(weight.sum(0), 1)
        return share

    def count_at(self, index: np.ndarray) -> np.ndarray:
        """n_v of the places of voxels, both (n,)."""
        return self.count[self.row[self.cell_of(index)]]

    def mean_at(self, index: np.ndarray) -> np.ndarray:
        """m_v at voxels (n,), float32 (n, d)."""
        return self.at(self.mean, index)

    def whitening_at(self, index: np.ndarray) -> np.ndarray:
        """W_v at voxels (n,), float32 (n, d, d); 4 n d^2 bytes, of a whole brain rather in parts."""
        return self.at(self.whitening, index)

    def whitened(self, vectors: np.ndarray, index: np.ndarray) -> np.ndarray:
        """W_v (x - m_v) of vectors (n, d) at voxels (n,), float32 (n, d)."""
        found = np.empty(vectors.shape, np.float32)
        for rows in _blocks(np.arange(len(index))):
            centred = vectors[rows] - self.mean_at(index[rows])
            found[rows] = np.einsum("nij,nj->ni", self.whitening_at(index[rows]), centred)
        return found

    def mahalanobis(self, vectors: np.ndarray, index: np.ndarray) -> np.ndarray:
        """d(x, v) of vectors (n, d) at voxels (n,), float32 (n,), at most `LARGEST_DISTANCE`."""
        squares = (self.whitened(vectors, index) ** 2).sum(1)
        return np.fmin(np.sqrt(squares), np.float32(LARGEST_DISTANCE))

    def at(self, rows: np.ndarray, index: np.ndarray) -> np.ndarray:
        """What is kept by place, (rows, ...), at voxels (n,): float32 (n, ...)."""
        if not self.interpolated:
            return rows[self.row[self.cell_of(index)]]
        found = self._neighbours(index) @ rows.reshape(len(rows), -1).astype(np.float32, copy=False)
        return np.asarray(found).reshape(len(index), *rows.shape[1:])

    def _neighbours(self, index: np.ndarray) -> csr_array:
        """Weights (n, rows) of the eight places whose centres are around voxels (n,); a voxel's sum to 1."""
        ends, shares = [], []
        for axis, voxel in enumerate(np.unravel_index(index, self.shape)):
            place = (np.arange(self.shape[axis]) + 0.5) / self.cell - 0.5
            low = np.floor(place).astype(np.int32)
            near = np.clip([low, low + 1], 0, self.cells[axis] - 1)
            share = np.array([low + 1 - place, place - low])
            ends.append(near[:, voxel])
            shares.append(share[:, voxel])
        row, weight = np.empty((len(index), 8), np.int32), np.empty((len(index), 8))
        for x, y in np.ndindex(2, 2):
            column = (ends[0][x] * self.cells[1] + ends[1][y]) * self.cells[2]
            share = shares[0][x] * shares[1][y]
            for z in range(2):
                corner = (2 * x + y) * 2 + z
                row[:, corner] = self.row[column + ends[2][z]]
                weight[:, corner] = share * shares[2][z]
        weight *= row < len(self.count) - 1
        total = weight.sum(1, keepdims=True)
        weight = np.where(total > 0, weight / np.where(total > 0, total, 1), 1 / 8).astype(np.float32)
        starts = np.arange(0, row.size + 1, 8)
        return csr_array((weight.ravel(), row.ravel(), starts), shape=(len(index), len(self.count)))

    def _smoothed(self, total: Arrays) -> Arrays:
        """Spread over neighbours, where the grid is known."""
        if not self.smoothing or len(total["count"]) != np.prod(self.cells):
            return total
        found = {}
        for name, array in total.items():
            columns = array.reshape(len(array), -1)
            spread = [
                gaussian_filter(column.reshape(self.cells), self.smoothing, mode="constant").ravel()
                for column in columns.T
            ]
            found[name] = np.stack(spread, 1).reshape(array.shape)
        return found

    def _scatter(self, products: np.ndarray, count: np.ndarray, mean: np.ndarray) -> np.ndarray:
        """n_v C_v, (n, d, d)."""
        return symmetric(products, self.dimension) - count[:, None, None] * mean[:, :, None] * mean[:, None, :]


def _blocks(rows: np.ndarray) -> Iterator[np.ndarray]:
    """So many at once that matrices of all of them fit into memory."""
    for start in range(0, len(rows), AT_ONCE):
        yield rows[start : start + AT_ONCE]


def _roots(covariances: np.ndarray) -> np.ndarray:
    """Cholesky factors, lower triangular."""
    try:
        roots = np.linalg.cholesky(covariances)
    except np.linalg.LinAlgError as error:
        raise WireError("products make no covariance") from error
    if not np.isfinite(roots).all():
        raise WireError("products make no covariance")
    return roots
