"""Benchmarks: this package beside its peers on the same scan. Run by `monai-lung bench`.

`tasks.py` is the table of what is measured. Each task runs in a process of its own (`child.py`), so that imports, the
first run and the peak of memory are its own; `page.py` makes `docs/benchmarks.md` of the results.
"""
