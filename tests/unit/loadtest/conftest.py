"""Locust without its patches: it would exchange sockets, locks and SSL under the other tests of this process."""

import os

os.environ["LOCUST_SKIP_MONKEY_PATCH"] = "1"
import locust  # noqa: F401

del os.environ["LOCUST_SKIP_MONKEY_PATCH"]  # the processes that tests start are to be patched
