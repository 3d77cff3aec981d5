"""Tasks of the MONAI Label app. `doubt`, `analyses` and `corrections` need no MONAI Label."""
