"""The study: the networks beside the published ones and beside simple rules, cross-validated by patient.

`python -m monai_lung.study` (or `tools/study`) trains, predicts and writes `docs/study.md`. It stands on top of all
other packages; none of them imports it.
"""
