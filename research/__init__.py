"""Research on the package: the study, the paper's comparison, the benchmarks.

It is not installed, and `monai_lung` never imports it; `tools/research NAME` runs `research.NAME` from the checkout.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""The checkout."""
DOCS = ROOT / "docs"
"""Its documentation: pages that are drawn from measurements, and in `study/` the predictions behind them."""
