"""Several passes in one series: over each other, on top of each other, between each other."""

import numpy as np
import pytest
from dicom_series import SeriesBuilder, body_hu

from monai_lung.errors import GeometryError
from monai_lung.io import read_ct


def two_passes(folder, first, second, *, shift_mm=0.0, numbers=(1, 2)):
    """A series of 40 places, 2 mm apart, of which two passes (ranges) show their part, the second shifted."""
    builders = []
    for n, part in enumerate((first, second)):
        builder = SeriesBuilder(body_hu(slices=40, seed=n), seed=n, study_uid="1.2.1", SeriesInstanceUID="1.2.2")
        builder.datasets = [builder.datasets[k] for k in part]
        for data in builder.datasets:
            data.AcquisitionNumber, data.FrameOfReferenceUID = numbers[n], "1.2.3"
            data.ImagePositionPatient[2] = float(data.ImagePositionPatient[2]) + n * shift_mm
        builder.write(folder / str(n))
        builders.append(builder)
    return builders


@pytest.mark.parametrize("shift_mm", [0, 0.7])
def test_of_two_passes_that_overlap_by_most_the_longer_is_used(tmp_path, shift_mm):
    """They were interleaved: the error advised --allow-gaps, which did it."""
    first, _ = two_passes(tmp_path, range(26), range(12, 36), shift_mm=shift_mm)
    for allow_gaps in (False, True):
        ct = read_ct(tmp_path, allow_gaps=allow_gaps)
        np.testing.assert_array_equal(ct.hu, first.hu[:, :, :26])
        (warning,) = (w for w in ct.warnings if "passes overlap" in w)
        assert "the longer, of 26 slices, was used" in warning
        assert f"{-48 + shift_mm:.0f} to {-30 + shift_mm:.0f} mm along z is missing" in warning


def test_passes_that_overlap_a_little_are_joined(tmp_path):
    first, second = two_passes(tmp_path, range(22), range(19, 40))
    ct = read_ct(tmp_path)
    np.testing.assert_array_equal(ct.hu[:, :, :22], first.hu[:, :, :22])
    np.testing.assert_array_equal(ct.hu[:, :, 22:], second.hu[:, :, 22:])
    assert any("joins 2 passes (at z = -56.0 mm)" in w for w in ct.warnings)


def test_passes_on_top_of_each_other_are_mentioned(tmp_path):
    """A breath between them moves what lies at the join."""
    two_passes(tmp_path, range(20), range(20, 40))
    assert any("joins 2 passes (at z = -60.0 mm)" in w for w in read_ct(tmp_path).warnings)


def test_a_scanner_that_moves_step_by_step_joins_no_passes(tmp_path):
    builder = SeriesBuilder(body_hu(slices=40))
    for k, data in enumerate(builder.datasets):
        data.AcquisitionNumber = k // 4
    builder.write(tmp_path)
    assert not any("passes" in w for w in read_ct(tmp_path).warnings)


@pytest.mark.parametrize("allow_gaps", [False, True])
def test_passes_that_nothing_tells_apart_are_never_interleaved(tmp_path, allow_gaps):
    two_passes(tmp_path, range(30), range(10, 40), shift_mm=0.7, numbers=(1, 1))
    with pytest.raises(GeometryError, match="two passes that nothing tells apart"):
        read_ct(tmp_path, allow_gaps=allow_gaps)
