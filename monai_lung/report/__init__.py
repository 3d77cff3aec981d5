"""A report as files: findings, DICOM SEG and SR, page, figure, tables. Nothing here runs a network."""
