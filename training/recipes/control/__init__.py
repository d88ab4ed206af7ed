"""Learning by doing: an environment in place of a data set."""
