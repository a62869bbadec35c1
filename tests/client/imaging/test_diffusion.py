"""Maps of the diffusion tensor: found by their names, kept in their own units, moved together onto the T1w."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from normfed_client.imaging import registration
from normfed_client.imaging.bids import Visit, read_dataset
from normfed_client.imaging.cache import Cache
from normfed_client.imaging.diffusion import FREE_WATER_MM2_S, in_own_units, to_reference
from normfed_client.imaging.nifti import Image, read
from normfed_client.imaging.preprocessing import Recipe, prepare
from normfed_client.imaging.steps import Steps
from normfed_common.foundation.errors import ScanError
from normfed_common.learning.cohort import Person
from normfed_common.study.data import PhantomSite
from normfed_common.study.preprocessing import PreprocessingConfig
from normfed_simulation.phantom.hospitals import SyntheticPerson, write_person
from normfed_simulation.reproduction.look_alike import diffusion_maps

pytestmark = pytest.mark.xdist_group("registration")

QSIRECON = "derivatives/qsirecon/derivatives/qsirecon-DIPYDKI/sub-01/dwi/sub-01"
MNI = "space-MNI152NLin2009cAsym"


def dataset(root: Path, *places: str) -> Path:
    """Files without content: nothing opens them."""
    for place in places:
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).touch()
    (root / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    (root / "participants.tsv").write_text("participant_id\tsite\nsub-01\ta\n")
    return root


def found(root: Path) -> tuple[dict[str, str], bool, list[str]]:
    """Places of the images, whether they are in template space, and what was left out."""
    read = read_dataset(root)
    (visit,) = read.visits
    places = {modality: str(path.relative_to(root)) for modality, path in visit.images.items()}
    return places, visit.in_template_space, [problem.why for problem in read.problems]


def test_maps_are_read_of_derivatives_by_either_spelling_and_other_maps_are_not(tmp_path: Path) -> None:
    root = dataset(
        tmp_path,
        "sub-01/anat/sub-01_T1w.nii.gz",
        f"{QSIRECON}_space-ACPC_model-tensor_param-fa_dwimap.nii.gz",
        f"{QSIRECON}_{MNI}_model-tensor_param-fa_dwimap.nii.gz",
        f"{QSIRECON}_space-ACPC_model-dki_param-kfa_dwimap.nii.gz",
        "derivatives/dti/sub-01/dwi/sub-01_space-T1w_model-DTI_param-MD_dwimap.nii.gz",
        "derivatives/fmriprep/sub-01/anat/sub-01_desc-preproc_T1w.nii.gz",
    )
    (root / "derivatives/fmriprep/sub-01/anat/sub-01_gone_T1w.nii.gz").symlink_to("nowhere")  # nobody reads it
    assert found(root) == (
        {
            "T1w": "sub-01/anat/sub-01_T1w.nii.gz",
            "FA": f"{QSIRECON}_space-ACPC_model-tensor_param-fa_dwimap.nii.gz",
            "MD": "derivatives/dti/sub-01/dwi/sub-01_space-T1w_model-DTI_param-MD_dwimap.nii.gz",
        },
        False,
        [],
    )


def test_maps_without_a_session_are_of_the_only_one(tmp_path: Path) -> None:
    fa = f"{QSIRECON}_model-tensor_param-FA_dwimap.nii.gz"
    assert found(dataset(tmp_path, "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz", fa))[0]["FA"] == fa


def test_a_map_in_the_templates_space_goes_with_scans_that_are_there(tmp_path: Path) -> None:
    there, t1 = f"{QSIRECON}_{MNI}_param-FA_dwimap.nii.gz", "sub-01/anat/sub-01_T1w.nii.gz"
    assert found(dataset(tmp_path / "alone", there)) == ({"FA": there}, True, [])
    registered = f"sub-01/anat/sub-01_{MNI}_T1w.nii.gz"
    other = f"{QSIRECON}_space-T1w_param-FA_dwimap.nii.gz"
    assert found(dataset(tmp_path / "both", registered, there, other))[:2] == ({"T1w": registered, "FA": there}, True)
    places, _, problems = found(dataset(tmp_path / "native", t1, there))
    assert places == {"T1w": t1}
    assert problems == [
        "sub-01_space-MNI152NLin2009cAsym_param-FA_dwimap.nii.gz is in MNI152NLin2009cAsym, and the other scans are "
        "not: left out. Write the map in the space of the scanner or of the T1w"
    ]


def test_a_visit_without_a_map_says_where_it_was_expected_and_what_is_nearly_one(tmp_path: Path) -> None:
    root = dataset(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz", "derivatives/fsl/sub-01/dwi/sub-01_dti_FA.nii.gz")
    (visit,) = read_dataset(root).visits
    assert visit.lacks(["FA"]) == (
        "has no FA (expected derivatives/*/sub-01/dwi/sub-01_param-FA_dwimap.nii.gz; found derivatives/fsl/sub-01/dwi/"
        "sub-01_dti_FA.nii.gz, whose name does not end in _param-FA_dwimap.nii.gz)"
    )


def brain(median: float) -> tuple[np.ndarray, np.ndarray]:
    values = np.linspace(0.5, 1.5, 1000).reshape(10, 10, 10) * median
    return values, np.ones(values.shape, bool)


@pytest.mark.parametrize("unit", [1.0, 1e3, 1e6])
def test_mean_diffusivity_is_a_share_of_free_waters_in_every_unit_in_use(unit: float) -> None:
    values, mask = brain(8e-4)
    mask[0] = False
    got = in_own_units(values * unit, mask, "MD", "sub-01")
    np.testing.assert_allclose(got, np.where(mask, values / FREE_WATER_MM2_S, 0), rtol=1e-6)


def test_anisotropy_stays_as_it_is_but_for_what_noise_puts_beyond_1() -> None:
    values, mask = brain(0.2)
    values[3, 3, 3] = 1.2
    got = in_own_units(values, mask, "FA", "sub-01")
    np.testing.assert_allclose(got, np.minimum(values, 1), rtol=1e-6)


@pytest.mark.parametrize(
    ("modality", "median", "sentence"),
    [
        ("FA", 200.0, "FA has a median of 200 inside the brain, where 0.02 to 0.8 is usual"),
        ("FA", 0.0, "FA has a median of 0 inside"),
        ("MD", 0.05, "MD has a median of 0.05 inside the brain, where 0.0002 to 0.003 mm²/s is usual"),
    ],
)
def test_what_is_no_such_map_is_refused_in_one_sentence(modality: str, median: float, sentence: str) -> None:
    values, mask = brain(median)
    with pytest.raises(ScanError, match=sentence):
        in_own_units(values, mask, modality, "sub-01")


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> Visit:
    """A person whose scans and maps all lie in the template's space."""
    root = dataset(tmp_path_factory.mktemp("scanned"))
    site = PhantomSite(name="a", vendor="siemens", field_tesla=3.0, controls=0)
    write_person(SyntheticPerson("sub-01", site, "control"), 7, 4, root)
    (visit,) = read_dataset(root).visits
    assert visit.brain is not None
    stem = root / "derivatives/dti/sub-01/dwi/sub-01_space-MNI152NLin2009aSym_model-tensor"
    diffusion_maps.write(visit.images["T1w"], visit.brain.path, stem, parkinson=False)
    (visit,) = read_dataset(root).visits
    assert visit.in_template_space
    return visit


def test_maps_keep_their_units_whatever_the_study_does_to_contrasts(
    scanned: Visit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corrected = set[Path]()

    def noted(image: Image, mask: np.ndarray | None) -> Image:
        corrected.add(image.path)
        return image

    monkeypatch.setattr(registration, "bias_corrected", noted)
    percentiles = PreprocessingConfig(voxel_size_mm=4, bias_correction=True)
    z_scored = percentiles.model_copy(update={"normalisation": "z-score"})
    maps = []
    for config in (percentiles, z_scored):
        entry = prepare(scanned, Recipe(config, ("T1w", "FA", "MD"), None), Cache(tmp_path))
        t1, fa, md = entry.scan(Person(0)).images
        maps.append((fa, md))
        white = t1 > np.quantile(t1[fa > 0], 0.8)
        assert np.median(fa[white]) == pytest.approx(diffusion_maps.FA[2], abs=0.05)
        assert np.median(md[white]) == pytest.approx(diffusion_maps.MD_MM2_S[2] / FREE_WATER_MM2_S, abs=0.02)
    np.testing.assert_array_equal(*maps)
    assert scanned.images["T1w"] in corrected
    assert not {scanned.images["FA"], scanned.images["MD"]} & corrected


def test_maps_of_one_grid_move_onto_the_t1_together(
    scanned: Visit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = {name: read(scanned.images[name]) for name in ("FA", "MD", "T1w")}
    aside = np.array((3.0, -4.0, 0.0))
    for name in ("FA", "MD"):
        affine = scans[name].affine.copy()
        affine[:3, 3] += aside
        scans[name] = Image(scans[name].data, affine, scans[name].path)
    rigid, calls = registration.rigid, list[Path]()

    def counted(fixed: Image, moving: Image) -> np.ndarray:
        calls.append(moving.path)
        return rigid(fixed, moving)

    monkeypatch.setattr(registration, "rigid", counted)
    found = to_reference(scans, "T1w", Steps(Cache(tmp_path), ()))
    assert calls == [scanned.images["FA"]]
    np.testing.assert_array_equal(found["FA"], found["MD"])
    np.testing.assert_array_equal(found["T1w"], np.eye(4))
    corners = np.array([[x, y, z, 1] for x in (-60, 60) for y in (-90, 60) for z in (-40, 70)]).T
    away = (found["FA"] @ corners)[:3] - (corners[:3] + aside[:, None])
    assert np.linalg.norm(away, axis=0).max() < 2.0  # mm, at the corners of a brain of 4 mm voxels
