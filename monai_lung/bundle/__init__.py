"""The steps that the bundles' configs are built from, beyond MONAI's own, and what packs a bundle into a zip."""
