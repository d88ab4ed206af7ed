"""For plain Locust:

locust -f tests/load/locustfile.py --model cnn --rate 100                          # its web page
locust -f tests/load/locustfile.py --model cnn --headless -t 20s TritonGrpcUser
locust -f tests/load/locustfile.py --model cnn --headless -t 20s --processes 2     # or --master and --worker
"""

from loadtest.plain_locust import TritonGrpcUser, TritonHttpUser

__all__ = ["TritonGrpcUser", "TritonHttpUser"]
