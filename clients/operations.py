"""All that a client does but waiting: each operation is a generator that yields what is to be sent, or how long to
wait, and is given what came of it (`clients.calls`). The blocking and the asyncio client are faces of this.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from clients.address import Address
from clients.batches import Batch, batch_of
from clients.call_log import CallLog
from clients.calls import Call, Inference, Inferred, Operation, Question, T
from clients.deadline import Deadline, checked_timeout
from clients.documents import parse_index, parse_metadata
from clients.endpoints import Endpoints
from clients.errors import ClientError, Overloaded, Refused, UnknownModel, Unreachable, WrongKind, WrongTensor
from clients.exchange import Exchange
from clients.retries import ATTEMPTS, Retries
from clients.server_statistics import Counters, ModelVersion, parse_counters
from clients.signature import Classification, Metadata, ModelState
from clients.statistics import Counting, Observer, Statistics, Watched
from clients.step import Step
from clients.tracing import Tracing
from clients.trials import Trials

if TYPE_CHECKING:
    from clients.shared_memory.memory import SharedMemory

MOST_CLASSES = 2**31 - 1  # Triton takes a larger number for another one


class Operations:
    """What one client knows and decides.

    Args:
        addresses: Of servers that serve the same models, all of one protocol.
        timeout: Seconds for a call, unless it has its own.
        repeatable: Whether calls may be run twice, unless one says otherwise.
        attempts: How often a request is sent at most.
        headers: What is sent with a request of now.
        memory: Where tensors are that do not travel in messages.
        priority: The level of its requests, of models that have levels; 0 is the model's own default.
        rollouts: Whether to take part in trials of versions.
    """

    def __init__(
        self,
        addresses: list[Address],
        timeout: float = 30.0,
        repeatable: bool = False,
        attempts: int = ATTEMPTS,
        headers: Callable[[], Mapping[str, str]] = dict,
        memory: "SharedMemory | None" = None,
        priority: int = 0,
        rollouts: bool = False,
    ) -> None:
        self.observers: list[Observer] = [Tracing(), CallLog()]
        self.closed = False
        self._timeout = checked_timeout(timeout)
        self._repeatable = repeatable
        self._priority = checked_priority(priority)
        endpoints = Endpoints(addresses)
        self._exchange = Exchange(endpoints, Retries(attempts), headers, memory)
        self.trials = Trials(self._exchange, Exchange(endpoints, Retries(1), headers)) if rollouts else None
        self._memory = memory
        self._metadata: dict[tuple[str, str], Metadata] = {}
        self._process, self._counting = os.getpid(), Counting()

    @property
    def statistics(self) -> Statistics:
        """What was done so far."""
        return self._counting.so_far

    def server(self, timeout: float | None = None) -> Operation[tuple[str, str]]:
        """The server's name and version."""
        answer = yield from self._asked(self._call("server", timeout), Question("server"))
        return answer.get("name", "?"), answer.get("version", "?")

    def ready(self, timeout: float | None = None) -> Operation[bool]:
        """Whether the server takes requests for all its models."""
        answer = yield from self._asked(self._call("ready", timeout), Question("ready"))
        return bool(answer["ready"])

    def models(self, timeout: float | None = None) -> Operation[list[ModelState]]:
        """Every model version the server lists, sorted by name."""
        call = self._call("models", timeout)
        return (yield from self._watched(call, self._listed(call)))

    def counters(self, timeout: float | None = None) -> Operation[dict[ModelVersion, Counters]]:
        """What the server has counted of every version that is loaded."""
        answer = yield from self._asked(self._call("counters", timeout), Question("statistics"))
        try:
            return parse_counters(answer)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Unreachable(f"the server has no statistics as Triton's ({error!r})") from error

    def metadata(self, model: str, version: str = "", timeout: float | None = None) -> Operation[Metadata]:
        """Names, types and shapes of `model`, asked once."""
        self._check_open()
        if known := self._metadata.get((model, version)):
            return known
        call = self._call("metadata", timeout, model, version)
        return (yield from self._watched(call, self._learnt(call)))

    def configuration(self, model: str, version: str = "", timeout: float | None = None) -> Operation[dict[str, Any]]:
        """How the server runs `model`."""
        call = self._call("configuration", timeout, model, version)
        return (yield from self._watched(call, self._configured(call)))

    def infer(
        self,
        model: str,
        inputs: Mapping[str, Any],
        outputs: Iterable[str] | None = None,
        version: str = "",
        step: Step | None = None,
        timeout: float | None = None,
        repeatable: bool | None = None,
    ) -> Operation[dict[str, np.ndarray]]:
        """The model's outputs by name."""
        asked = None if outputs is None else dict.fromkeys([outputs] if isinstance(outputs, str) else outputs, 0)
        call = self._call("infer", timeout, model, version, repeatable)
        return (yield from self._watched(call, self._inferred(call, inputs, asked, step)))

    def classify(
        self,
        model: str,
        inputs: Mapping[str, Any],
        output: str,
        count: int = 5,
        version: str = "",
        step: Step | None = None,
        timeout: float | None = None,
        repeatable: bool | None = None,
    ) -> Operation[list[list[Classification]]]:
        """The `count` highest values of `output`, for each item."""
        if not 1 <= count <= MOST_CLASSES:
            raise WrongKind(f"{count} classes asked for, allowed are 1 to {MOST_CLASSES}")
        call = self._call("classify", timeout, model, version, repeatable)
        return (yield from self._watched(call, self._classified(call, inputs, output, count, step)))

    def _classified(
        self, call: Call, inputs: Mapping[str, Any], output: str, count: int, step: Step | None
    ) -> Operation[list[list[Classification]]]:
        metadata = yield from self._known(call)
        if metadata.check_classes(output).open_axes:
            # Over HTTP Triton 2.51 dies of the classes of an output that turns out to be empty.
            if metadata.stateful:
                raise WrongKind(
                    f"{call.model}: output {output!r} has axes of any size, and a server may die of the classes of an "
                    "empty one: ask for its values, with infer"
                )
            values = (yield from self._inferred(call, inputs, {output: 0}, step))[output]
            if values.size == 0:
                return [[] for _ in range(call.batch if metadata.max_batch_size else 1)]
        answers = (yield from self._inferred(call, inputs, {output: count}, step))[output]
        return [[_parse(entry) for entry in row] for row in np.atleast_2d(answers)] if len(answers) else []

    def _inferred(
        self, call: Call, inputs: Mapping[str, Any], outputs: Mapping[str, int] | None, step: Step | None
    ) -> Operation[dict[str, np.ndarray]]:
        """The answer to checked inputs; where what was known of the model is out of date, to inputs checked anew."""
        known = (call.model, call.version) in self._metadata
        metadata = yield from self._known(call)
        try:
            return (yield from self._run(call, metadata, inputs, outputs, step))
        except (WrongTensor, Refused) as error:
            # A first request of a sequence that was refused has a place at the server; another is for its caller.
            resent = isinstance(error, WrongTensor) or (step is None and not isinstance(error, Overloaded))
            changed = (yield from self._changed(call, metadata)) if known and resent else None
            if changed is None:
                if isinstance(error, Refused):
                    began_with = step.route.version if step is not None and not step.start else ""
                    raise (yield from self._why(call, error, began_with)) from error
                raise
        return (yield from self._run(call, changed, inputs, outputs, step))

    def _run(
        self,
        call: Call,
        metadata: Metadata,
        inputs: Mapping[str, Any],
        outputs: Mapping[str, int] | None,
        step: Step | None,
    ) -> Operation[dict[str, np.ndarray]]:
        """Check, split, send and join."""
        if outputs is None:
            outputs = metadata.everything
        else:
            metadata.check_outputs(list(outputs))
        if metadata.stateful and step is None:
            raise WrongKind(f"{call.model} keeps a state on the server: call it through Client.sequence")
        if step is not None:
            metadata.check_stateful()
        batch: Batch = batch_of(metadata, inputs)
        call.batch = batch.size or 0
        answers = yield from self._answered(call, metadata, batch.parts(), outputs, step)
        call.answered = answers[-1].version if answers else ""
        if step is not None and step.start:
            step.route.version = call.answered
        on_trial = self.trials is not None and self.trials.known(call.model)  # that has the same tensors
        if not call.version and not on_trial and any(answer.version not in metadata.versions for answer in answers):
            self._metadata.pop((call.model, call.version), None)  # another version answers than was asked about
        return batch.joined(list(outputs), [answer.outputs for answer in answers])

    def _answered(
        self,
        call: Call,
        metadata: Metadata,
        parts: list[Mapping[str, np.ndarray]],
        outputs: Mapping[str, int],
        step: Step | None,
    ) -> Operation[list[Inferred]]:
        """An answer to each part, through shared memory where there is some."""
        # What names no version gets the live one: a sequence stays with that which it began with.
        model, version = call.model, call.version
        if step is not None and not step.start:
            model, version = step.route.model or model, version or step.route.version
        requests = [Inference(model, version, part, outputs, step, self._priority) for part in parts]
        if self._memory is None:
            return (yield from (self.trials or self._exchange).answers(call, requests))
        places = self._memory.place(metadata, parts, outputs)
        requests = [
            replace(request, inputs_in=inputs, outputs_in=answers)
            for request, (inputs, answers) in zip(requests, places.parts, strict=True)
        ]
        try:
            found = yield from self._exchange.answers(call, requests)
        except BaseException as error:
            places.give_up(settled=isinstance(error, ClientError))  # and not where the call is broken off
            raise
        places.settle()
        return found

    def ended(self) -> Operation[None]:
        """After `closed`: give back what servers have of this client."""
        if self._memory is not None:
            yield from self._memory.ended()

    def _known(self, call: Call) -> Operation[Metadata]:
        """What the server said of the model, asked once."""
        if known := self._metadata.get((call.model, call.version)):
            return known
        return (yield from self._learnt(call))

    def _learnt(self, call: Call) -> Operation[Metadata]:
        try:
            (tensors,) = yield from self._exchange.answers(call, [Question("metadata", call.model, call.version)])
            (config,) = yield from self._exchange.answers(call, [Question("config", call.model, call.version)])
            found = parse_metadata(tensors, config)
        except Refused as refusal:
            raise (yield from self._why(call, refusal)) from refusal
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise Unreachable(
                f"the server describes {call.model} in no way that KServe v2 knows ({error!r})"
            ) from error
        self._metadata[call.model, call.version] = found
        return found

    def _configured(self, call: Call) -> Operation[dict[str, Any]]:
        try:
            (config,) = yield from self._exchange.answers(call, [Question("config", call.model, call.version)])
        except Refused as refusal:
            raise (yield from self._why(call, refusal)) from refusal
        if not isinstance(config, dict):
            raise Unreachable(f"the server describes {call.model} in no way that KServe v2 knows ({config!r})")
        return config

    def _changed(self, call: Call, metadata: Metadata) -> Operation[Metadata | None]:
        """What the server says of the model now, where that is something else than `metadata`."""
        self._metadata.pop((call.model, call.version), None)
        try:
            found = yield from self._learnt(call)
        except ClientError:  # the first error is the one to be told
            return None
        return None if found == metadata else found

    def _why(self, call: Call, refusal: Refused, began_with: str = "") -> Operation[ClientError]:
        """A better reason than the server's, where its list of models gives one.

        A sequence has a version that it `began_with`.
        """
        if not refusal.missing:
            return refusal
        self._metadata.pop((call.model, call.version), None)
        try:
            listed = yield from self._listed(call)
        except ClientError:
            return refusal
        model, version = call.model, call.version or began_with
        own = [entry for entry in listed if entry.name == model]
        if not own:
            return UnknownModel(model, sorted({entry.name for entry in listed}))
        ready = [entry.version for entry in own if entry.state == "READY"]
        if ready and version:
            advice = "; a sequence that began with it begins anew" if began_with else ""
            return Refused(
                f"{model} has no version {version!r} that is ready; it has: {', '.join(ready)}{advice}", "404"
            )
        reasons = "; ".join(entry.reason for entry in own if entry.reason) or own[0].state
        return Refused(f"{model} is on the server but not ready: {reasons}", "404")

    def _listed(self, call: Call) -> Operation[list[ModelState]]:
        (entries,) = yield from self._exchange.answers(call, [Question("index")])
        try:
            return sorted(parse_index(entries), key=lambda entry: (entry.name, entry.version))
        except (KeyError, TypeError, AttributeError) as error:
            raise Unreachable(f"the server lists its models in no way that KServe v2 knows ({error!r})") from error

    def _asked(self, call: Call, question: Question) -> Operation[Any]:
        """The answer to one question, a JSON object."""

        def ask() -> Operation[Any]:
            (answer,) = yield from self._exchange.answers(call, [question])
            if not isinstance(answer, dict):
                raise Unreachable("what answers does not speak KServe v2")
            return answer

        return (yield from self._watched(call, ask()))

    def _call(
        self,
        operation: str,
        timeout: float | None,
        model: str = "",
        version: str = "",
        repeatable: bool | None = None,
    ) -> Call:
        self._check_open()
        seconds = self._timeout if timeout is None else checked_timeout(timeout)
        return Call(
            operation, Deadline(seconds), model, version, self._repeatable if repeatable is None else repeatable
        )

    def _check_open(self) -> None:
        if self.closed:
            raise ClientError("this client is closed; make another with connect()")
        if os.getpid() != self._process:  # another thread of the parent may have held the counter's lock
            self._process, self._counting = os.getpid(), Counting()

    def _watched(self, call: Call, operation: Operation[T]) -> Operation[T]:
        """`operation`, seen by the observers from its beginning to its end."""
        with Watched(call, [self._counting, *self.observers]):
            return (yield from operation)


def _parse(entry: bytes) -> Classification:
    """b"0.98:7:seven", where the label may be missing or hold colons of its own."""
    value, index, *label = entry.decode(errors="replace").split(":", 2)  # a label file may be of any encoding
    return Classification(int(index), label[0] if label else "", float(value))


def checked_priority(priority: int) -> int:
    """`priority`, or a ClientError that says what is allowed."""
    if isinstance(priority, bool) or not isinstance(priority, int) or not 0 <= priority < 2**31:
        raise ClientError(f"priority={priority!r}: allowed are 1, 2, ..., 1 the first, and 0, the model's own default")
    return priority
