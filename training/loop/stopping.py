"""A run that is asked to stop by a signal ends where nothing is half done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from training.loop.overhead import EpochCallback


class RunStopped(Exception):
    """The run was asked to stop by a signal; its state after the last whole epoch is kept."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number.name)
        self.exit_code = 128 + number


class StopWhenAsked(EpochCallback):
    """Ends the run at the next place where nothing is half done after SIGINT or SIGTERM came.

    Those places are the end of a batch, that of an epoch, once its state is kept, and that of `listening`.

    Python raises KeyboardInterrupt wherever it is, and where that is a destructor or a callback of C code the exception
    is lost; a signal that is remembered is not.
    """

    def __init__(self) -> None:
        self.asked: list[signal.Signals] = []

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Remember the signals while the block runs; elsewhere than in the main thread Python allows no handlers.

        Raises:
            RunStopped: the block ended well and a signal came in it, however late.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self._remember) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        self.check()

    def check(self) -> None:
        """Stop where it was asked for."""
        if self.asked:
            raise RunStopped(self.asked[0])

    def _remember(self, number: int, _: object) -> None:
        self.asked.append(signal.Signals(number))

    def on_train_batch_end(self, *_: Any) -> None:
        """Stop where it was asked for."""
        self.check()

    def on_train_epoch_end(self, *_: Any) -> None:
        """Stop where it was asked for; `KeepState` comes first."""
        self.check()
