"""Whether a request that got no answer is sent again, and when. The machinery is tenacity's, of which the part that
neither sleeps nor calls (`Retrying.iter`) serves blocking and asyncio clients alike.

Sent again is what the server surely did not run: it could not be reached, the request was not whole when the connection
broke, or the server said that it had no room. What is declared repeatable is sent again, too, after a connection that
broke. Nothing else is, and nothing in the middle of a sequence.

gRPC's own retries stay as they are without a `retryPolicy`: only what never left the process. A policy by status would
take a connection that broke in mid-call for a full queue (both are UNAVAILABLE), knows methods and not calls, and is
counted nowhere.
"""

from tenacity import DoSleep, RetryCallState, Retrying, wait_random_exponential

from clients.call_log import log
from clients.calls import Call, Inference, Request
from clients.errors import ClientError, DeadlineExceeded, Unreachable, WrongCertificate

ATTEMPTS = 4
LEAST_S = 0.05
"""So much of a call's time has to be left for another attempt: Triton 2.51 dies of gRPC deadlines of 5 ms."""


class Budget:
    """Retries are stopped where most calls need one: they would keep an overloaded server overloaded.

    Each failure takes a token, each success gives a tenth of one, and there are no retries while half of them are
    missing. Source: retry throttling of gRPC, https://github.com/grpc/proposal/blob/master/A6-client-retries.md
    """

    MOST, GAIN = 100.0, 0.1

    def __init__(self) -> None:
        self._tokens = self.MOST  # threads may lose each other a token, which does no harm

    def failure(self) -> None:
        self._tokens = max(0.0, self._tokens - 1)

    def success(self) -> None:
        self._tokens = min(self.MOST, self._tokens + self.GAIN)

    def __bool__(self) -> bool:
        return self._tokens > self.MOST / 2


class Retries:
    """The policy of one client: a request is sent at most `attempts` times, and once to each other server; with 1 it is
    never sent again."""

    def __init__(self, attempts: int = ATTEMPTS) -> None:
        if not isinstance(attempts, int) or attempts < 1:
            raise ClientError(f"attempts={attempts!r}: a request is sent at least once, allowed are 1, 2, ...")
        self.attempts = attempts
        self.budget = Budget()


class Failures:
    """Of the requests that were sent at once for `call`: what became of them so far decides what is done next."""

    def __init__(self, retries: Retries, call: Call) -> None:
        self.retries, self.call = retries, call
        self.request: Request | None = None
        self.elsewhere = False
        self._controller = Retrying(retry=_worth, stop=_enough, wait=_wait, reraise=True)
        self._controller.begin()
        self._state = RetryCallState(self._controller, None, (self,), {})

    def pause(self, failure: ClientError, request: Request, elsewhere: bool) -> float:
        """Seconds after which to send again, none where it goes `elsewhere`, to a server that has not failed.

        Raises `failure` where it is not to be sent again.
        """
        if self._state.outcome is not None:
            self._state.prepare_for_next_attempt()
        self.request, self.elsewhere = request, elsewhere
        if not elsewhere and repeats_nothing(failure, request, self.call):
            self.retries.budget.failure()
        self._state.set_exception((type(failure), failure, failure.__traceback__))
        decision = self._controller.iter(self._state)
        assert isinstance(decision, DoSleep)  # else it has raised
        log.info("%s %s is sent again in %.2f s: %s", self.call.operation, self.call.model, decision, failure)
        return float(decision)


def repeats_nothing(failure: ClientError, request: Request | None, call: Call) -> bool:
    """Whether the request may be sent again without being run twice that must not be."""
    step = request.step if isinstance(request, Inference) else None
    if step is not None:
        return step.start and failure.not_run
    broken = isinstance(failure, Unreachable) and not isinstance(failure, DeadlineExceeded)
    return failure.not_run or (broken and (not isinstance(request, Inference) or call.repeatable))


def _worth(state: RetryCallState) -> bool:
    failures: Failures = state.args[0]
    failure = state.outcome.exception() if state.outcome else None
    return isinstance(failure, ClientError) and repeats_nothing(failure, failures.request, failures.call)


def _enough(state: RetryCallState) -> bool:
    failures: Failures = state.args[0]
    if failures.call.deadline.left() < state.upcoming_sleep + LEAST_S:
        return True
    retries = failures.retries
    if failures.elsewhere:
        return retries.attempts == 1
    if state.outcome is not None and isinstance(state.outcome.exception(), WrongCertificate):
        return True  # it would be as wrong the next time
    return state.attempt_number >= retries.attempts or not retries.budget


_backoff = wait_random_exponential(multiplier=0.1, max=2.0)


def _wait(state: RetryCallState) -> float:
    failures: Failures = state.args[0]
    return 0.0 if failures.elsewhere else float(_backoff(state))
