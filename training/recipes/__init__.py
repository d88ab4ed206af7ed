"""The models Conch ships, one file each; a file added here is a recipe by its name."""
