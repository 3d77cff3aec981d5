"""Every code that SEG and SR write, as one table of facts.

Codes of SNOMED CT (SCT), DICOM (DCM), UCUM, LOINC (LN) and IBSI are those of pydicom's dictionaries (PS3.16). RadLex
(RADLEX) has the Lung-RADS categories and the texture classes; the codes are those that published SR readers and
QIICR's lidc2dicom use. Where no standard code exists, the scheme is the private `99MONAILUNG`.
"""

from __future__ import annotations

from typing import NamedTuple

from pydicom.sr.coding import Code

from monai_lung.clinical.guidelines.fleischner_texts import describe

PRIVATE_SCHEME = "99MONAILUNG"

# Anatomy
LUNG = Code("39607008", "SCT", "Lung")
SIDES = {"right": Code("24028007", "SCT", "Right"), "left": Code("7771000", "SCT", "Left")}
BILATERAL = Code("51440002", "SCT", "Bilateral")

# Findings and their categories
ANATOMICAL_STRUCTURE = Code("91723000", "SCT", "Anatomical Structure")
ABNORMAL_STRUCTURE = Code("49755003", "SCT", "Morphologically Abnormal Structure")
NODULE = Code("27925004", "SCT", "Nodule")
TEXTURE = Code("C41144", "NCIt", "Texture")
TEXTURES = {
    "solid": Code("RID50151", "RADLEX", "Solid pulmonary nodule"),
    "part-solid": Code("RID50152", "RADLEX", "Part-solid pulmonary nodule"),
    "ground-glass": Code("RID50153", "RADLEX", "Non-solid pulmonary nodule"),
}

# Algorithms (CID 7162)
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
MORPHOLOGICAL_OPERATIONS = Code("123104", "DCM", "Morphological Operations")

# Structure of the report (TID 1500)
DEVICE = Code("121007", "DCM", "Device")
CT_PROCEDURE = Code("25045-6", "LN", "CT unspecified body region")
COMMENT = Code("121106", "DCM", "Comment")
RECOMMENDATION = Code("121075", "DCM", "Recommendation")
FINDING = Code("121071", "DCM", "Finding")

# Units
MM = Code("mm", "UCUM", "mm")
MM3 = Code("mm3", "UCUM", "cubic millimeter")
ML = Code("ml", "UCUM", "milliliter")
HU = Code("[hnsf'U]", "UCUM", "Hounsfield unit")
PERCENT = Code("%", "UCUM", "Percent")
DAY = Code("d", "UCUM", "day")
ONE = Code("1", "UCUM", "no units")

# Numbers
VOLUME = Code("118565006", "SCT", "Volume")
DIAMETER = Code("81827009", "SCT", "Diameter")
MEAN = Code("373098007", "SCT", "Mean")
SUSPICION = Code("SUSPICION", PRIVATE_SCHEME, "Probability that readers of the image suspect malignancy")
SUSPICION_LOW = Code("SUSPICION_LOW", PRIVATE_SCHEME, "Suspicion, lower end of its 90 % interval")
SUSPICION_HIGH = Code("SUSPICION_HIGH", PRIVATE_SCHEME, "Suspicion, upper end of its 90 % interval")
"""Not DICOM's "probability of cancer" (111047): no pathology went into it."""
NUMBER_OF_LESIONS = Code("246206008", "SCT", "Number of lesions")
BROCK_PROBABILITY = Code("BROCK", PRIVATE_SCHEME, "Probability of cancer after the Brock model")
VOLUME_CHANGE = Code("VOLUME_CHANGE", PRIVATE_SCHEME, "Volume change since the prior examination")
DOUBLING_TIME = Code("DOUBLING_TIME", PRIVATE_SCHEME, "Volume doubling time")


class SizeCode(NamedTuple):
    """How a field of `model.Measurements` is coded."""

    field: str
    name: Code
    unit: Code
    derivation: Code | None = None


LONG_AXIS, SHORT_AXIS = Code("103339001", "SCT", "Long axis"), Code("103340004", "SCT", "Short axis")
SIZES = (
    SizeCode("volume_mm3", VOLUME, MM3),
    SizeCode("long_axis_mm", LONG_AXIS, MM),
    SizeCode("short_axis_mm", SHORT_AXIS, MM),
    SizeCode("mean_diameter_mm", DIAMETER, MM, MEAN),
    SizeCode("max_diameter_3d_mm", Code("L0JK", "IBSI", "Maximum 3D Diameter of a Mesh"), MM),
    SizeCode("mean_hu", Code("112181", "DCM", "Mean Attenuation Coefficient"), HU),
    SizeCode("core_mean_hu", Code("CORE_MEAN_HU", PRIVATE_SCHEME, "Mean attenuation without the rim"), HU),
)

# Assessment
GROWTH = Code("GROWTH", PRIVATE_SCHEME, "Change since the prior examination")
GROWTHS = {
    "new": Code("NEW", PRIVATE_SCHEME, "New"),
    "stable": Code("STABLE", PRIVATE_SCHEME, "Stable"),
    "growing": Code("GROWING", PRIVATE_SCHEME, "Growing"),
    "slow-growing": Code("SLOW_GROWING", PRIVATE_SCHEME, "Slow growing"),
    "shrinking": Code("SHRINKING", PRIVATE_SCHEME, "Shrinking"),
    "not-covered": Code("NOT_COVERED", PRIVATE_SCHEME, "Not covered by the prior examination"),
    "same-day": Code("SAME_DAY", PRIVATE_SCHEME, "Prior of the same day, no interval"),
}
LUNG_RADS = Code("RID50134", "RADLEX", "Lung-RADS assessment")
LUNG_RADS_CATEGORIES = {
    category: Code(f"RID{number}", "RADLEX", f"Lung-RADS {category}")
    for category, number in {
        "0": 50135,
        "1": 50136,
        "2": 50137,
        "3": 50138,
        "4A": 50139,
        "4B": 50140,
        "4X": 50141,
        "S": 50710,
    }.items()
}
FLEISCHNER = Code("FLEISCHNER_2017", PRIVATE_SCHEME, "Fleischner 2017 recommendation")
FLEISCHNER_BY_RISK = {
    "low": Code("FLEISCHNER_LOW", PRIVATE_SCHEME, "Fleischner 2017 recommendation at low risk"),
    "high": Code("FLEISCHNER_HIGH", PRIVATE_SCHEME, "Fleischner 2017 recommendation at high risk"),
}


def lung_rads_category(category: str) -> Code:
    """The category, one that RadLex doesn't know (not applicable) in the private scheme."""
    return LUNG_RADS_CATEGORIES.get(category) or Code(_value(category), PRIVATE_SCHEME, f"Lung-RADS {category}")


def fleischner_category(category: str) -> Code:
    """`F0` ... `F11` or `not-applicable` of Fleischner 2017."""
    return Code(_value(category), PRIVATE_SCHEME, f"Fleischner 2017: {describe(category)}")


def _value(category: str) -> str:
    """A code value: 16 characters at most (VR SH)."""
    return category.upper().replace("-", "_")[:16]
