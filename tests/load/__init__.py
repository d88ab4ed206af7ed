"""What is tested by hand and by plain Locust: the locustfile, the promises and the scenarios of the shipped models."""
