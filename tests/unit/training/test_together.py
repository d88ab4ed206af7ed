"""One callback stands for several, in their order, with their states."""

import inspect
from typing import Any

from lightning.pytorch.callbacks import Callback

import training.loop.epochs
import training.loop.progress
import training.loop.trainee
from training.loop.together import Together


class Recorder(Callback):
    """Remembers what it was called with."""

    def __init__(self, calls: list[tuple[str, str]]) -> None:
        self.calls = calls

    def on_train_epoch_start(self, *_: Any) -> None:
        self.calls.append((type(self).__name__, "epoch start"))

    def state_dict(self) -> dict[str, Any]:
        return {"calls": list(self.calls)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.calls = state_dict["calls"]


class Stepwise(Recorder):
    """Works at each step, too."""

    def on_train_batch_end(self, *_: Any) -> None:
        self.calls.append((type(self).__name__, "batch end"))


def test_each_is_called_in_order_and_gets_its_own_state_back() -> None:
    calls: list[tuple[str, str]] = []
    together = Together([Stepwise(calls), Recorder(calls)])
    together.on_train_epoch_start(None, None)  # type: ignore[arg-type]
    together.on_train_batch_end(None, None, None, None, 0)  # type: ignore[arg-type]
    assert calls == [("Stepwise", "epoch start"), ("Recorder", "epoch start"), ("Stepwise", "batch end")]
    fresh = [Stepwise([]), Recorder([])]
    Together(fresh).load_state_dict(together.state_dict())
    assert all(one.calls == calls for one in fresh)


def test_no_callback_of_a_run_uses_a_hook_that_is_not_passed_on() -> None:
    passed = {name for name in vars(Together) if not name.startswith("_")}
    for module in (training.loop.epochs, training.loop.progress, training.loop.trainee):
        for _, kind in inspect.getmembers(module, inspect.isclass):
            if issubclass(kind, Callback) and kind not in (Callback, Together):
                used = {name for name in vars(kind) if hasattr(Callback, name) and not name.startswith("_")}
                assert used <= passed, kind
