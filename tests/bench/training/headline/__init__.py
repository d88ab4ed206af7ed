"""The headline table: five trainings, timed, judged and written to docs/training.md."""
