"""The load test: Locust users that check every answer, and the promises a run is judged by.

conch load run cnn --rate 100 --duration 20s      # judged: exit code 0 kept, 1 broken, 2 could not run
locust -f tests/load/locustfile.py --model cnn --rate 100   # plain Locust, with its web page
"""
