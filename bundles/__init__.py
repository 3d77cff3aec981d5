"""The MONAI bundles, shipped as package data."""
