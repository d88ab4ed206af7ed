"""What clients log, by one logger, `clients`: calls at DEBUG, what is sent again at INFO, servers left alone at
WARNING. It is silent until the program gives it a handler, and shows no header."""

import logging

from clients.calls import Call

log = logging.getLogger("clients")


class CallLog:
    """An observer of calls."""

    def begun(self, call: Call) -> None:
        """Nothing is known yet."""

    def ended(self, call: Call, seconds: float, error: BaseException | None) -> None:
        """One line."""
        if log.isEnabledFor(logging.DEBUG):
            what = f"{call.operation} {call.model}".strip()
            counted = f"batch {call.batch}, requests {call.requests}, retries {call.retries}"
            outcome = "answered" if error is None else f"{type(error).__qualname__}: {error}"
            log.debug("%s: %s, %.1f ms, %s", what, counted, seconds * 1e3, outcome)
