"""A version goes live on a running server, or is taken back.

The history in the model's folder is the truth: it is written when the switch is done, and what a killed call left on
the server is taken away by the next one. Whatever is killed, the server answers with one proven version or another.
"""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conch.contracts.ensembles import parts_of, refuse_part
from conch.contracts.live import Decision, How, config_file, decide, live_version, read_history
from conch.contracts.versions import versions
from serving.errors import ServingError
from serving.repository.configuration import parse
from serving.repository.contract import contract_of, differences
from serving.repository.folder import check_repository
from serving.repository.locking import locked
from serving.rollout.control import Control
from serving.rollout.proof import prove
from serving.rollout.trial import Asked, TakenBack, Trial
from serving.server import model_views
from serving.server.linked_models import in_a_folder
from serving.server.running import Running

LOCK = "rollout.lock"


@dataclass(frozen=True)
class Result:
    """What a call did."""

    version: int
    before: int | None
    changed: bool
    proof: dict[str, Any]


class Rollout:
    """Changes which version of `model` the running `server` gives its clients; made by `rollout_on`.

    Every method raises ServingError where it cannot be done; then clients get what they got before.
    """

    def __init__(self, server: Running, control: Control, model: str, say: Callable[[str], None]) -> None:
        self._server, self._control, self._say = server, control, say
        self._models = Path(server.models)
        self._model = Path(server.repository) / model
        models = check_repository(Path(server.repository))
        if not versions(self._model):
            raise ServingError(f"{server.repository} has no version of {model!r}; it has: {', '.join(models)}")
        refuse_part(self._model, "conch rollout")

    def roll_out(self, version: int | None, why: str, trials: Sequence[Asked] = ()) -> Result:
        """Show on the server that `version` (the newest) is what was published, before clients too where `trials` are
        asked for, then make it live.

        Raises:
            NotShown: It is not, or that could not be shown.
        """
        there, live = versions(self._model), self._live()
        version = version or there[-1]
        self._check(version, there)
        if version == live:
            return self._already(version, "rollout", why)
        if trials:
            self._check_comparable(version, live, trials)
        name = model_views.view_candidate(self._models, self._model, version)
        try:
            self._say(f"loading version {version}")
            self._control.load(name)
            proof = prove(self._server, self._model, version, name, self._say)
            if trials:
                proof["trials"] = self._try(trials, version, live, name, why)
            self._switch(version, live)
            self._decide(Decision(version, live, "rollout", why, proof))
        finally:
            self._clear()
        return Result(version, live, True, proof)

    def _try(
        self, trials: Sequence[Asked], version: int, live: int | None, name: str, why: str
    ) -> list[dict[str, Any]]:
        """What clients saw in each of `trials`; the history says so, too, where it speaks against the version."""
        trial = Trial(self._server, self._control, self._model, version, name)
        shown: list[dict[str, Any]] = []
        try:
            for asked in trials:
                shown.append(trial.run(asked, self._say))
        except TakenBack as error:
            shown.append(error.figures)
            if live is not None:
                self._decide(Decision(live, live, "taken back", why, {"trials": shown}, tried=version))
            raise
        return shown

    def _check_comparable(self, version: int, live: int | None, trials: Sequence[Asked]) -> None:
        """Raise a `ServingError` where clients cannot send the one what they send the other."""
        if live is None:
            raise ServingError(f"{self._model.name}: no version is live that {version} could be held against")
        was, now = (
            contract_of(parse(config_file(self._model, each).read_text(encoding="utf-8")), {})
            for each in (live, version)
        )
        if found := differences(was, now):
            raise ServingError(
                f"{self._model.name}: version {version} cannot get requests that are for {live}: {'; '.join(found)}. "
                "Roll it out without --canary and --shadow"
            )
        if now.stateful and any(asked.kind == "shadow" for asked in trials):
            raise ServingError(f"{self._model.name} keeps states: its requests cannot be copied, --canary can be used")

    def roll_back(self, version: int | None, why: str) -> Result:
        """Make `version` live again; by default that which was live before the present one."""
        there, live = versions(self._model), self._live()
        if version is None:
            version = self._before(live, there)
        self._check(version, there)
        if version == live:
            return self._already(version, "rollback", why)
        self._switch(version, live)
        self._decide(Decision(version, live, "rollback", why))
        return Result(version, live, True, {})

    def _before(self, live: int | None, there: list[int]) -> int:
        """The version to go back to. Where the history has another one live than the server, a call was killed: of a
        rollout that is undone, and of a rollback its end."""
        history = read_history(self._model)
        recorded = live_version(self._model)
        if history and live and recorded and recorded != live:
            return min(live, recorded)
        changes = [decision for decision in history if decision.tried is None]
        decided = changes[-1].before if changes and changes[-1].version == live else None
        below = [version for version in there if live and version < live]
        if decided in there:
            return int(decided)
        if not below:
            raise ServingError(
                f"{self._model.name}: there is no version before {live} to go back to; published: "
                f"{', '.join(map(str, there))}"
            )
        return below[-1]

    def _check(self, version: int, there: list[int]) -> None:
        if version not in there:
            raise ServingError(
                f"{self._model.name} has no version {version}; it has: {', '.join(map(str, there))} ({self._model})"
            )

    def _live(self) -> int | None:
        """The version that clients get now."""
        return max(self._control.ready_versions(self._model.name), default=None)

    def _decide(self, decision: Decision) -> None:
        with locked(self._model.parent):
            decide(self._model, decision)

    def _already(self, version: int, how: How, why: str) -> Result:
        """Nothing is to be done on the server; a call that was killed may not have come to write it down."""
        if (recorded := live_version(self._model)) != version:
            self._decide(Decision(version, recorded, how, why))
        return Result(version, version, False, {})

    def _switch(self, version: int, live: int | None) -> None:
        """One load: the server drops what is above `version` when that is ready, and not before."""
        self._say(f"version {version} goes live")
        in_a_folder(self._models)
        before = self._parts(live)
        try:
            for part, number in self._parts(version).items():
                model_views.view_both(self._models, self._model.parent / part, number, before.get(part, number))
            model_views.view_versions(self._models, self._model, version)
            self._control.load(self._model.name)  # and those of its steps
            if self._live() != version:
                raise ServingError(f"the server did not make version {version} ready")
            self._settle(version)
        except BaseException:
            if live is not None:
                model_views.view_versions(self._models, self._model, live)
                with contextlib.suppress(ServingError):  # what is to be told is why it failed
                    self._control.load(self._model.name)
                    self._settle(live)
            raise

    def _parts(self, number: int | None) -> dict[str, int]:
        """The models of an ensemble's steps with the versions that this version of it names; none of another model."""
        found = parts_of(config_file(self._model, number)) if number else {}
        return {part: named for part, named in found.items() if named in versions(self._model.parent / part)}

    def _settle(self, version: int) -> None:
        """Let go of the parts' versions that nobody names any more."""
        for part, number in self._parts(version).items():
            model_views.view_versions(self._models, self._model.parent / part, number)
            self._control.load(part)

    def _clear(self) -> None:
        """Unload what was shown under another name, of killed calls too."""
        for name in model_views.on_trial(self._models, self._model.parent):
            with contextlib.suppress(ServingError):
                self._control.unload(name)
            model_views.remove_view(self._models / name)


@contextlib.contextmanager
def rollout_on(server: Running, model: str, say: Callable[[str], None]) -> Iterator[Rollout]:
    """Alone with the running `server` for the block; `say` is told each step in a few words.

    Raises:
        ServingError: The server lets no models be loaded, another rollout is under way on it, or there is no such
            model.
    """
    if not server.models:
        raise ServingError(
            f"the server at {server.http} takes no rollout: it is reached from other machines, and whoever reaches a "
            "server that loads models can run code on it. Serve on loopback, behind a proxy, or start it again"
        )
    with _alone(Path(server.models).parent / LOCK, server):
        control = Control(server.grpc)
        try:
            in_a_folder(Path(server.models))
            rollout = Rollout(server, control, model, say)
            rollout._clear()
            yield rollout
        finally:
            control.close()


@contextlib.contextmanager
def _alone(file: Path, server: Running) -> Iterator[None]:
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ServingError(
            f"the server at {server.http} has no folder any more ({error.strerror}: {file.parent})"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = os.pread(descriptor, 20, 0).decode(errors="replace") or "?"
            raise ServingError(
                f"another rollout is under way on the server at {server.http} (process {other}): wait for its end"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)
