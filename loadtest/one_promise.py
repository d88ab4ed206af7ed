"""One promise, as a flag has it: p99<5ms."""

import re

from conch.contracts.promises import Promise
from loadtest.errors import CannotRun

PROMISE = re.compile(r"\s*p(50|95|99)\s*(?:<=?|=)\s*([0-9.]+)\s*ms\s*")


def promise_from(text: str) -> Promise:
    """Of "p99<5ms", "p99=5ms" and the like; raises CannotRun for anything else. Every answer has to be right."""
    found = PROMISE.fullmatch(text)
    if not found or found[2].count(".") > 1 or float(found[2].strip(".") or 0) <= 0:
        raise CannotRun(f"--promise {text}: expected p50, p95 or p99 and a limit, as p99<5ms")
    limit = float(found[2])
    limits = {f"p{percent}_ms": limit if found[1] == percent else None for percent in ("50", "95", "99")}
    return Promise(rate=1.0, error_rate=0.0, **limits)
