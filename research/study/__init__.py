"""The study: the networks beside the published ones and beside simple rules, cross-validated by patient.

`tools/research study` (or `python -m research.study` in the checkout) trains, predicts and writes `docs/study.md`.
"""
