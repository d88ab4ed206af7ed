"""How cost grows with what users have more of: models, rows, pixels, clients, held-out examples."""
