"""Requests to servers and the answers to them, whatever it takes: another server, another attempt, a while."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from clients.call_log import log
from clients.calls import Answer, Call, Inference, Operation, Outcome, Pause, Question, Request, Send, Sending
from clients.endpoints import PROBE_S, Endpoint, Endpoints
from clients.errors import ClientError, Unreachable
from clients.retries import LEAST_S, Failures, Retries, repeats_nothing

if TYPE_CHECKING:
    from clients.shared_memory.memory import SharedMemory


class Exchange:
    """What a client knows of its servers and of how well requests fare with them."""

    def __init__(
        self,
        endpoints: Endpoints,
        retries: Retries,
        headers: Callable[[], Mapping[str, str]],
        memory: "SharedMemory | None" = None,
    ) -> None:
        self._endpoints, self._retries, self._headers, self._memory = endpoints, retries, headers, memory

    def answers(self, call: Call, requests: Sequence[Request]) -> Operation[list[Answer]]:
        """An answer to each request, in order. One that got none is sent again where that is safe (`clients.retries`).

        Raises ClientError where one is left without.
        """
        requests = list(requests)
        answers: dict[int, Answer] = {}
        failures: Failures | None = None
        tried: set[int] = set()
        while missing := [number for number in range(len(requests)) if number not in answers]:
            places: list[Endpoint] = []
            for number in missing:
                places.append((yield from self._place(requests[number], call, tried)))
            yield from self._shared(zip(places, [requests[number] for number in missing], strict=True), call)
            call.requests += len(missing)
            outcomes = yield Send(
                [
                    Sending(place.address, requests[number], call.deadline, {**self._headers(), **call.headers})
                    for number, place in zip(missing, places, strict=True)
                ]
            )
            failed: list[tuple[Request, ClientError]] = []
            for number, place, outcome in zip(missing, places, outcomes, strict=True):
                self._note(place, outcome)
                if not isinstance(outcome, ClientError):
                    answers[number] = outcome
                    continue
                request = requests[number]
                if self._memory is not None and isinstance(request, Inference):
                    requests[number] = self._memory.without(request, outcome)
                    if self._memory.lost(place.address, outcome):
                        continue
                failed.append((request, outcome))
            if failed:
                tried |= {place.number for place in places}
                elsewhere = self._endpoints.untried(tried)
                # Those that must not be sent again come first: they end the call.
                request, failure = min(failed, key=lambda pair: repeats_nothing(pair[1], pair[0], call))
                failures = failures or Failures(self._retries, call)
                pause = failures.pause(failure, request, elsewhere)
                call.retries += len(failed)
                call.failovers += elsewhere
                yield Pause(pause)
        return [answers[number] for number in range(len(requests))]

    def _shared(self, requests: Iterable[tuple[Endpoint, Request]], call: Call) -> Operation[None]:
        """See that the servers know the memory that requests are in."""
        if self._memory is not None:
            pairs = [(place.address, request) for place, request in requests if isinstance(request, Inference)]
            yield from self._memory.registered(pairs, call.deadline)

    def _note(self, place: Endpoint, outcome: Outcome) -> None:
        """What an outcome says of the health of the server."""
        if isinstance(outcome, Unreachable):
            place.failed()
            if len(self._endpoints) > 1:
                log.warning("%s is left alone for %.1f s: %s", place.address, place.resting, outcome)
        else:
            place.answered()
        if not isinstance(outcome, ClientError):
            self._retries.budget.success()

    def _place(self, request: Request, call: Call, tried: set[int]) -> Operation[Endpoint]:
        """Where a request goes: one of a sequence to where that is kept, any other to the next server that is well."""
        route = request.step.route if isinstance(request, Inference) and request.step else None
        if route is not None and route.endpoint is not None and route.endpoint not in tried:
            return self._endpoints.all[route.endpoint]
        while self._in_doubt(place := self._endpoints.choose(tried), call):
            place.claim()
            question = Question("ready")
            (outcome,) = yield Send([Sending(place.address, question, call.deadline.within(PROBE_S), self._headers())])
            if not isinstance(outcome, ClientError) and outcome["ready"]:
                place.answered()
                break
            place.failed()
        if route is not None:
            route.endpoint = place.number
        return place

    def _in_doubt(self, place: Endpoint, call: Call) -> bool:
        """Whether there is reason to ask a server whether it is well, time for it, and another if it is not."""
        return place.doubtful and len(self._endpoints) > 1 and call.deadline.left() > LEAST_S
