"""Two checkouts of the kit in one run, turn by turn: what became slower, what faster, and what nobody can say."""
