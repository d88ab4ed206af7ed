"""Contract 3: the model repository, its configurations and versions."""
