"""Which process a region of shared memory belongs to, as its name tells it; and whether that process is gone."""

import itertools
import os
import secrets
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Self

PREFIX = "conch"
_NUMBERS = itertools.count()


@dataclass(frozen=True)
class Owner:
    """A process. Its number alone may be another's by now: `started` is when it was, in ticks since the machine was;
    `namespace` is the one that its number is of, as a container has its own."""

    namespace: int
    process: int
    started: int

    @classmethod
    def here(cls) -> Self:
        """This process."""
        return cls(*_of_this(os.getpid()))

    @classmethod
    def of(cls, name: str) -> Self | None:
        """Whose region `name` is; None where it is nobody's that is known here."""
        prefix, *numbers = name.split("-")
        if prefix != PREFIX or len(numbers) != 5 or not all(n.isascii() and n.isdigit() for n in numbers[:3]):
            return None
        return cls(*map(int, numbers[:3]))

    def new_name(self) -> str:
        """A name for another region, as nobody has had one before."""
        return f"{PREFIX}-{self.namespace}-{self.process}-{self.started}-{next(_NUMBERS)}-{secrets.token_hex(4)}"

    @property
    def gone(self) -> bool:
        """Whether it surely has ended. Of another namespace's processes nothing is known here."""
        if self.namespace != Owner.here().namespace:
            return False
        found = _started(self.process)
        return found is None or (found != 0 and found != self.started)


@lru_cache(1)
def _of_this(process: int) -> tuple[int, int, int]:
    return Path("/proc/self/ns/pid").stat().st_ino, process, _started(process) or 0


def _started(process: int) -> int | None:
    """When a process was started, None where there is none; 0 for one that this user may not look at."""
    try:
        # "NUMBER (NAME) STATE ...", where the name may hold anything: proc_pid_stat(5).
        state, *fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        try:
            os.kill(process, 0)
        except (ProcessLookupError, OverflowError):
            return None
        except PermissionError:
            pass
        return 0
    return None if state in "ZX" else int(fields[18])
