"""Training data: LIDC-IDRI, folds, the crop format, the phantom and the demo's scans."""
