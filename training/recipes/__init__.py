"""The models Conch ships, one file each; a file added here, or in a folder of its family, is a recipe by its name."""
