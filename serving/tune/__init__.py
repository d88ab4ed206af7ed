"""Find the configuration that serves the most on this machine, by trying: a real server under a real load."""
