"""docs/networks.md: of each network beyond the demo's five what it is, and what it reached at each step."""
