"""The parts that MONAI and Ignite lack to train the networks: data, losses, handlers. Not needed to analyse."""
