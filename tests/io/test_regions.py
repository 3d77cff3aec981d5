"""What a header says of the part of the body, and what the place says where it says nothing."""

import pytest
from dicom_series import SeriesBuilder, body_hu

from monai_lung.io import discover
from monai_lung.io.regions import region_named


@pytest.mark.parametrize(
    ("text", "region"),
    [
        ("CHEST", "chest"),
        ("Thorax 1.0 B30f", "chest"),
        ("NECKCHESTABDPELV", "chest"),
        ("CT CAP with contrast", "chest"),
        ("LUNG 1.25mm", "chest"),
        ("Tórax", "chest"),
        ("Torax sin contraste", "chest"),
        ("胸部平扫", "chest"),
        ("WHOLEBODY", "chest"),
        ("HEAD", "elsewhere"),
        ("Thoracic spine 2.0", "elsewhere"),
        ("TSPINE", "elsewhere"),
        ("RUN-OFF LEGS", "elsewhere"),
        ("ABDOMENPELVIS", "elsewhere"),
        ("1.0 x 1.0 B30f", ""),
        ("escape legend charm", ""),
        ("", ""),
    ],
)
def test_regions_by_words(text, region):
    assert region_named(text) == region


def test_the_description_counts_before_the_body_part(tmp_path):
    SeriesBuilder(seed=1, SeriesDescription="Head 1.0", BodyPartExamined="CHEST").write(tmp_path)
    assert [s.region for s in discover(tmp_path)] == ["elsewhere"]


def test_a_series_at_the_place_of_a_chest_is_one(tmp_path):
    frame = {"study_uid": "1.2", "FrameOfReferenceUID": "1.2.3"}
    named = SeriesBuilder(seed=1, SeriesDescription="Thorax lung", **frame)
    silent = SeriesBuilder(seed=2, SeriesDescription="1.0 B30f", **frame)
    above = SeriesBuilder(seed=3, SeriesDescription="other", origin=(-20.0, -30.0, 200.0), **frame)
    other_frame = SeriesBuilder(seed=4, SeriesDescription="other", **{**frame, "FrameOfReferenceUID": "1.2.4"})
    placeless = SeriesBuilder(seed=5, SeriesDescription="other", PixelSpacing=None, hu=body_hu(), **frame)
    for n, builder in enumerate((named, silent, above, other_frame, placeless)):
        builder.write(tmp_path / str(n))
    found = {s.uid: s.region for s in discover(tmp_path)}
    assert [found[b.uid] for b in (named, silent, above, other_frame, placeless)] == ["chest", "chest", "", "", ""]
