"""Where a wrong graph goes wrong, and why."""
