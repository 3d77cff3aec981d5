"""Guidelines for pulmonary nodules, one file each: Fleischner 2017, Lung-RADS v2022, Brock.

Paraphrases of the published rules, for research; each answer names the cell that fired. A network's probability is not
an input of any of them.
"""

from monai_lung.clinical.guidelines.advise import advise, deciding_nodule
from monai_lung.clinical.guidelines.brock import brock_probability
from monai_lung.clinical.guidelines.fleischner_2017 import fleischner_2017
from monai_lung.clinical.guidelines.lung_rads_2022 import lung_rads_2022
from monai_lung.clinical.guidelines.nodule import GuidelineInputError, GuidelineNodule

__all__ = [
    "GuidelineInputError",
    "GuidelineNodule",
    "advise",
    "brock_probability",
    "deciding_nodule",
    "fleischner_2017",
    "lung_rads_2022",
]
