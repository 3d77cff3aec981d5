"""Tasks of the MONAI Label app. `doubt`, `analyses`, `clicks` and `corrections` need no MONAI Label."""
