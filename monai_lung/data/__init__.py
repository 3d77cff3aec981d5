"""Training data: nodules' crops and single slices, patients' folds, readers' ratings, lungs to set nodules in."""
