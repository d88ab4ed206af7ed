"""From a recipe to trained weights: epochs, processes, progress and the state that a killed run goes on from."""
