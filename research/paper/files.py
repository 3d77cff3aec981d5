"""Where the predictions of the paper's comparison are kept, in the docs' folder."""

from __future__ import annotations

NODULES, RATINGS, LOSSES = (f"study/paper_{name}.csv.gz" for name in ("nodules", "ratings", "losses"))
PRODUCT = "product"
"""The name of this software's own networks in them."""
