"""Low frequencies get the mean amplitude of everybody and keep their phase, as NumPy's transform has it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from synthetic import SHAPE, People, setting

from normfed_common.foundation.errors import WireError
from normfed_common.learning.entries import build
from normfed_common.learning.setting import Setting
from normfed_common.studies import validate_learner
from normfed_common.transforms.catalogue import TRANSFORMS
from normfed_common.transforms.fourier_amplitude import FourierAmplitude
from normfed_common.transforms.means import PHASE
from normfed_common.transforms.transformed import transformed

WIDE = (-100.0, 100.0)  # nothing is clipped


def learnt(people: People, beta: float = 0.2, **changes: Any) -> FourierAmplitude:
    transform = made(beta, replace(setting(), value_range=WIDE, **changes))
    transform.absorb(PHASE, transform.statistics(PHASE, people, np.random.default_rng(0)))
    return transform


def made(beta: float, where: Setting) -> FourierAmplitude:
    raw = validate_learner(TRANSFORMS, {"name": "fourier-amplitude", "beta": beta}, "test")
    found = build(TRANSFORMS, raw, where)
    assert isinstance(found, FourierAmplitude)
    return found


def window(beta: float) -> np.ndarray:
    """Where a centred spectrum has low frequencies."""
    axes = np.ogrid[tuple(slice(n) for n in SHAPE)]
    near = [np.abs(axis - n // 2) <= int(beta * n) for axis, n in zip(axes, SHAPE, strict=True)]
    found: np.ndarray = near[0] & near[1] & near[2]
    return found


@pytest.mark.parametrize("beta", [0.01, 0.05, 0.2])
def test_it_is_what_numpy_makes_of_the_whole_spectrum(beta: float) -> None:
    people, stranger = People(3), People(1, seed=9).scans[0]
    for number, one in enumerate(people.scans):
        one.images[:] *= 1 + number
    transform, low = learnt(people, beta), window(beta)
    found = transformed(stranger, [transform]).images
    for channel in (0, 1):
        spectra = [np.fft.fftshift(np.fft.fftn(one.images[channel])) for one in (*people.scans, stranger)]
        aim = np.expm1(np.mean([np.log1p(np.abs(spectrum)) for spectrum in spectra[:-1]], 0))
        amplitude = np.where(low, aim, np.abs(spectra[-1]))
        whole = np.fft.ifftn(np.fft.ifftshift(amplitude * np.exp(1j * np.angle(spectra[-1]))))
        np.testing.assert_allclose(whole.imag, 0, atol=1e-6)
        np.testing.assert_allclose(found[channel][stranger.mask], whole.real[stranger.mask], atol=1e-5)


def test_who_is_alone_stays_the_same() -> None:
    people = People(1)
    np.testing.assert_allclose(transformed(people.scans[0], [learnt(people)]).images, people.scans[0].images, atol=1e-5)


def test_the_brightness_of_a_scanner_is_gone() -> None:
    """At frequency 0: the sum over the brain is the geometric mean of everybody's."""
    people = People(2)
    people.scans[1] = replace(people.scans[0], images=4 * people.scans[0].images)
    transform = learnt(people, beta=0.01)
    mean = transform.mean(0)
    assert mean is not None
    np.testing.assert_allclose(np.expm1(mean).item(), 2 * people.scans[0].images[0].sum(dtype=float), rtol=1e-3)


def test_only_low_frequencies_change() -> None:
    people, one = People(2), People(1, seed=9).scans[0]
    one.mask[:] = True  # so that nothing outside the brain is put back to 0
    found = transformed(one, [learnt(people)]).images[0]
    before, after = (np.fft.fftshift(np.fft.fftn(each)) for each in (one.images[0], found))
    away = ~window(0.2)
    np.testing.assert_allclose(after[away], before[away], atol=1e-3)
    assert np.abs(after[~away] - before[~away]).max() > 1


def test_the_server_which_knows_no_grid_checks_what_it_can() -> None:
    people = People(2)
    at_site = learnt(people)
    sums = at_site.sums(PHASE)
    server = made(0.2, replace(setting(), shape=(1, 1, 1), open_anatomy=None, value_range=WIDE))
    server.check(PHASE, sums)
    for wrong in (sums["sum"][:, 0], -sums["sum"], sums["sum"] * 1e3, sums["sum"][:, :0]):
        with pytest.raises(WireError):
            server.check(PHASE, {**sums, "sum": wrong})
    assert at_site.bounded(PHASE) is None
