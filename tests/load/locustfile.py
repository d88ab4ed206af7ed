"""For plain Locust:

locust -f tests/load/locustfile.py --model cnn --rate 100                          # its web page
locust -f tests/load/locustfile.py --model cnn --headless -u 8 -t 20s TritonGrpcUser
"""

import os
import sys
from pathlib import Path
from typing import Any

from locust import events
from locust.argument_parser import LocustArgumentParser

from tests.load.golden import GoldenError, load_golden
from tests.load.users import TritonGrpcUser, TritonHttpUser

__all__ = ["TritonGrpcUser", "TritonHttpUser"]


@events.init_command_line_parser.add_listener
def add_options(parser: LocustArgumentParser) -> None:
    """Locust's own flags are all there as well; its --host is not used."""
    group = parser.add_argument_group("Triton")
    group.add_argument("--model", default="cnn", help="The model to send to")
    group.add_argument("--rate", type=float, default=50.0, help="Requests a second, for all users together")
    group.add_argument("--batch", type=int, default=1, help="Items in each request")
    group.add_argument("--seed", type=int, default=0, help="Of the choice of inputs")
    group.add_argument("--http", default=os.environ.get("CONCH_HTTP", "localhost:8000"), help="host:port for HTTP")
    group.add_argument("--grpc", default=os.environ.get("CONCH_GRPC", "localhost:8001"), help="host:port for gRPC")
    artifacts = os.environ.get("CONCH_ARTIFACTS", "artifacts")
    group.add_argument("--artifacts", default=artifacts, help="The folder whose models/ holds the golden answers")


@events.init.add_listener
def check_golden(environment: Any, **_: Any) -> None:
    """Without golden answers there is nothing to send: end with 2 before any user starts."""
    options = environment.parsed_options
    try:
        load_golden(Path(options.artifacts), options.model)
    except GoldenError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
