"""Data to weights: recipes, their data sets, and the checkpoints they leave in `artifacts/checkpoints`.

conch train cnn --epochs 30
"""
