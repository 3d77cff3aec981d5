"""Research on the package: the study, the paper's comparison, the benchmarks.

It is not installed, and `monai_lung` never imports it; the scripts of `tools/` run it from the checkout.
"""
