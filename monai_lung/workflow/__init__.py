"""What the bundles' configs are put together from, beyond MONAI's own: data items, inferers and Ignite handlers."""
