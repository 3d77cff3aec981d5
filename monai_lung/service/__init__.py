"""A PACS node: takes chest CTs over DICOM, analyses them, and sends the results back to archives.

`node.py` puts the parts together; `docs/how-to/run-beside-a-pacs.md` is for those who run it.
"""
