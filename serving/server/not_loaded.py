"""Which models a server does not serve, each with a reason that names a cause."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from serving.kserve.endpoint import ModelState
from serving.onnx_files.runtime_reason import plain
from serving.server import last_words
from serving.server.stubs import Death

UNHEALTHY = re.compile(r"Stub process '(.+?)' is not healthy")
"""All that Triton says of a process that has died; with the name of the instance."""
DEGRADED = "DEGRADED"
"""The state of a model that serves, but not with all of its processes; not one of Triton's."""


def not_loaded(
    states: list[ModelState], left_out: Mapping[str, str], log: str, deaths: Mapping[str, Death]
) -> list[ModelState]:
    """What is not served, sorted by name and version.

    Args:
        states: The server's own index.
        left_out: The models it was started without, with the reason.
        log: Triton's log, which has the reasons of what is not in the index.
        deaths: The processes that have died, by instance.
    """
    untried = last_words.load_failures(log)
    known = {state.name for state in states}
    found = [whole(name, reason) for name, reason in untried.items() if name not in known]
    found += [whole(name, reason) for name, reason in left_out.items()]
    for state in states:
        if not state.ready:
            reason = untried.get(state.name, state.reason)
            if (stub := UNHEALTHY.search(reason)) and stub[1] in deaths:
                reason = own_words(deaths[stub[1]], log, deaths)
            found.append(replace(state, reason=_one_line(reason)))
    return sorted(found, key=lambda state: (state.name, state.version))


def with_reasons(said: Sequence[ModelState], known: Sequence[ModelState]) -> list[ModelState]:
    """What a server says of its models, with what is known of those that did not load; sorted by name and version.

    What the server has got ready since then is ready, whatever is known of it.
    """
    ready = {(state.name, version) for state in said if state.ready for version in (state.version, "-")}
    states = {(state.name, state.version): state for state in said}
    states |= {key: state for state in known if (key := (state.name, state.version)) not in ready}
    return [states[key] for key in sorted(states)]


def degraded(states: Sequence[ModelState], troubles: Mapping[str, str]) -> list[ModelState]:
    """`states`, with those that say they are ready though not all of their processes live: what `troubles` says."""
    return [
        replace(state, state=DEGRADED, reason=troubles[state.name]) if state.ready and state.name in troubles else state
        for state in states
    ]


def failures(states: list[ModelState]) -> str:
    """All of them in one line."""
    return "; ".join(failure(state) for state in states)


def failure(state: ModelState) -> str:
    """What is not served, and why, in one line."""
    which = f"model '{state.name}'" + ("" if state.version == "-" else f" version {state.version}")
    return f"{which} failed to load: {state.reason}"


def whole(name: str, reason: str) -> ModelState:
    """A model of which no version was tried."""
    return ModelState(name, "-", "UNAVAILABLE", reason)


def own_words(death: Death, log: str, deaths: Mapping[str, Death]) -> str:
    """How a process ended, with the last words in the log where only one can have said them."""
    words = last_words.fatal_words(log) if len(deaths) == 1 else ""
    return f"{death}{f': {words}' if words else ''}"


def _one_line(reason: str) -> str:
    """Without the place in a source that Triton's Python backend adds, and the codes of ONNX Runtime."""
    return plain(reason.partition("\n\nAt:")[0].removeprefix("Internal: ").removeprefix("TritonModelException: "))
