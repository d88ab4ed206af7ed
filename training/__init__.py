"""Data to weights: recipes, their data sets, and the checkpoints they leave in `artifacts/checkpoints`.

python -m training cnn --epochs 30
"""
