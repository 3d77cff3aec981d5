"""What the programs of the paper's comparison share: where predictions are kept, and whom no network has seen."""

from __future__ import annotations

NODULES, RATINGS, LOSSES = (f"study/paper_{name}.csv.gz" for name in ("nodules", "ratings", "losses"))
"""In the docs' folder."""
PRODUCT = "product"
"""The name of this software's own networks in them."""
LEFT_OUT = ("LIDC-IDRI-0003", "QIN-LSC-0009", "QIN-LSC-0055", "LungCT-Diagnosis-R_168")
"""Scans whose lungs are in no training: the networks are judged there."""
UNSEEN = ("LIDC-IDRI-0001", "LIDC-IDRI-0003")
"""Patients whose nodules are in no training, here as elsewhere."""
