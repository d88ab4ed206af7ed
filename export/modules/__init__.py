"""Any torch.nn.Module without a recipe: read from a file, described on the command line, proven."""
