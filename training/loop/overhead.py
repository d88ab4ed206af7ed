"""What keeps Lightning's own work a step small: nothing is asked that nobody answers.

With small networks a step takes as long as some hundreds of Python calls, and Lightning makes as many.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from lightning.pytorch.callbacks import Callback
from lightning.pytorch.profilers import PassThroughProfiler


class EpochCallback(Callback):
    """A callback whose hooks of a step are those that it defines: Lightning passes by what cannot be called."""

    on_train_batch_start: Any = None
    on_before_zero_grad: Any = None
    on_before_backward: Any = None
    on_after_backward: Any = None
    on_before_optimizer_step: Any = None
    on_train_batch_end: Any = None


class NoProfiler(PassThroughProfiler):
    """Profiles nothing, some sixty times a step, without making a context manager each time."""

    _NOTHING: AbstractContextManager[None] = nullcontext()

    def profile(self, action_name: str) -> Any:
        """The same empty context, whatever is done in it."""
        return self._NOTHING
