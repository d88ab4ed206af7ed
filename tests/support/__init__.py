"""What test modules share: graphs, recipes, networks, and runs of the kit's commands."""
