"""What MONAI and Ignite lack to train the networks: data, losses and metrics. Nothing of it is needed to analyse."""
