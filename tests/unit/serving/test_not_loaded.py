"""The reason of what is not served is the cause: from the index, the log, or how a process ended."""

from serving.kserve.endpoint import ModelState
from serving.server.not_loaded import failures, not_loaded, with_reasons
from serving.server.stubs import Death
from tests.unit.serving.test_last_words import NO_VERSION, PYTHON, START, UNHEALTHY

INDEX = "Internal: Stub process 'bad_0_0' is not healthy."
RAISED = (
    "Internal: TritonModelException: [ONNXRuntimeError] : 10 : INVALID_GRAPH : Load model from "
    "/models/odd/1/model.onnx failed:This is an invalid model. Error No Op registered for Odd\n\n"
    "At:\n  /backends/onnxruntime/model.py(55): initialize\n"
)
GOOD = ModelState("good", "1", "READY", "")


def bad(reason: str) -> ModelState:
    return ModelState("bad", "1", "UNAVAILABLE", reason)


def death(instance: str) -> dict[str, Death]:
    return {instance: Death("bad", instance, 11, False)}


def test_a_process_that_died_has_its_signal_and_its_words() -> None:
    log = START + PYTHON + UNHEALTHY
    (found,) = not_loaded([GOOD, bad(INDEX)], {}, log, death("bad_0_0"))
    assert found.reason == "the process of bad_0_0 was killed by SIGSEGV: Fatal Python error: Segmentation fault"
    (found,) = not_loaded([bad(INDEX)], {}, log, death("bad_0_0") | death("other_0_0"))
    assert found.reason == "the process of bad_0_0 was killed by SIGSEGV", "whose words they are nobody knows"
    (found,) = not_loaded([bad(INDEX)], {}, log, {})
    assert found.reason == "Stub process 'bad_0_0' is not healthy."


def test_what_is_known_of_a_failure_is_said_until_the_model_is_ready() -> None:
    known = [
        bad("killed"),
        ModelState("late", "-", "UNAVAILABLE", "no version"),
        ModelState("out", "-", "", "rename it"),
    ]
    said = [GOOD, bad("not healthy"), ModelState("late", "2", "READY", "")]
    assert with_reasons(said, known) == [known[0], GOOD, said[2], known[2]]


def test_all_that_is_not_served_is_in_one_line_each() -> None:
    states = [GOOD, ModelState("odd", "2", "UNAVAILABLE", RAISED)]
    found = not_loaded(states, {"two words": "rename it"}, START + NO_VERSION, {})
    assert failures(found) == (
        "model 'none' failed to load: at least one version must be available under the version policy of model 'none'; "
        "model 'odd' version 2 failed to load: This is an invalid model. Error No Op registered for Odd; "
        "model 'two words' failed to load: rename it"
    )
    assert not_loaded([GOOD], {}, START, {}) == []
