"""A result in the browser: the whole CT with its masks and findings in three planes, served on this computer alone."""
