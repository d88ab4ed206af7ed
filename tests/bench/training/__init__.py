"""What training costs and reaches: the loop beside a bare one, headline runs, studies of textbook results."""
