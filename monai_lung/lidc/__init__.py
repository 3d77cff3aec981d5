"""LIDC-IDRI: index, reader votes, preparation of a download, DICOM SEG of the readers' contours."""
