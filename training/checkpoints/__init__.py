"""Contract 2: the folder that training leaves and export reads."""
