"""The paper's comparison: `judge.py` keeps predictions in `docs/study`, `page.py` draws `docs/paper.md` from them."""
