"""The bottom floor: what the stages leave for each other on disk. Imports no stage and no torch."""
