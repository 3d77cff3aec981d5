"""What MONAI and Ignite lack to train the networks: data, losses, handlers. Nothing of it is needed to analyse."""
