"""Training data: crops of nodules, single slices, folds of patients, whole lungs to set nodules in; the demo's scan."""
