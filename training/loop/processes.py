"""One process a device: start them, and end all of them when one ends badly or the person at the keyboard says so.

Lightning trains in each of them (its "external" launching, as with torchrun); this only watches, so that a process that
hangs in a collective operation after another was lost is ended too. On Kubernetes, Slurm and the like torchrun does the
same, and this stands aside.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from conch.command_line import program
from conch.contracts.errors import ConchError

GRACE_SECONDS = 10.0
LOST_A_PEER = 75
"""Exit code of a process that ended because another did."""
_SUPERVISOR = "CONCH_SUPERVISOR"
_LOST = re.compile(
    r"gloo|nccl|connection (was )?(closed|reset|refused)|broken pipe|tcpstore|process group", re.IGNORECASE
)


class PeerLost(ConchError):
    """Another process of the run ended; why is what that one said."""


def is_torchrun() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def is_supervised() -> bool:
    """Whether `run_processes` started this process."""
    return _SUPERVISOR in os.environ


def rank() -> int:
    """The number of this process among all that train together; 0 writes what the run leaves."""
    return int(os.environ["RANK"]) if is_torchrun() or is_supervised() else 0


def lost_a_peer(error: RuntimeError) -> bool:
    """Whether an error is that of a collective operation that lost a process; gloo has no exception of its own."""
    return _LOST.search(str(error)) is not None


def run_processes(command: Sequence[str], devices: int, nodes: int) -> int:
    """Run `command` once for each of this node's devices until all are done; the exit code.

    The processes find each other by MASTER_ADDR, MASTER_PORT and NODE_RANK, which have to be set where there are
    several nodes.

    Returns:
        0; or that of the process that ended first with another code, once all are ended; 128 + number after SIGINT or
        SIGTERM, which all processes get.

    Raises:
        ConchError: there are several nodes and the environment does not say where they are, or a process was killed.
    """
    environment = (
        os.environ | _meeting_point(nodes) | {"WORLD_SIZE": str(devices * nodes), _SUPERVISOR: str(os.getpid())}
    )
    first = int(environment["NODE_RANK"]) * devices
    processes: list[subprocess.Popen[bytes]] = []
    with _remembered_signals() as asked:
        try:
            for local in range(devices):
                numbers = {"LOCAL_RANK": str(local), "RANK": str(first + local)}
                # A process group each, so that Ctrl-C reaches this process alone, which hands it on once.
                processes.append(
                    subprocess.Popen(command, env=environment | numbers, stdin=subprocess.DEVNULL, process_group=0)
                )
            _wait(processes, asked)
        finally:
            _end(processes)
    if asked:
        return 128 + asked[0]
    return _verdict([process.returncode for process in processes], first)


def watch_supervisor() -> None:
    """End this process when the one that started it is gone: nobody would be left to stop it."""
    supervisor = int(os.environ[_SUPERVISOR])

    def watch() -> None:
        while os.getppid() == supervisor:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def _meeting_point(nodes: int) -> Mapping[str, str]:
    if nodes == 1:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        here = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0"}
        # gloo would bind the address of the host's name.
        return here | ({"GLOO_SOCKET_IFNAME": "lo"} if Path("/sys/class/net/lo").exists() else {})
    names = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK")
    if missing := [name for name in names if not os.environ.get(name)]:
        raise ConchError(
            f"--nodes {nodes}: {', '.join(missing)} not set; on every node set the address and a free port of the "
            "first node and the node's own number from 0, or start the command with torchrun"
        )
    number = os.environ["NODE_RANK"]
    if not number.isdecimal() or int(number) >= nodes:
        raise ConchError(f"NODE_RANK is {number!r}; with --nodes {nodes} it is a number from 0 to {nodes - 1}")
    return {name: os.environ[name] for name in names}


def _wait(processes: list[subprocess.Popen[bytes]], asked: list[signal.Signals]) -> None:
    """Until all are done, one failed, or a signal came."""
    while not asked:
        codes = [process.poll() for process in processes]
        if all(code == 0 for code in codes) or any(codes):
            return
        time.sleep(0.1)


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    """Ask those that still run to stop, then make them."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        running = [process for process in processes if process.poll() is None]
        for process in running:
            process.send_signal(number)
        deadline = time.monotonic() + GRACE_SECONDS
        while time.monotonic() < deadline and any(process.poll() is None for process in running):
            time.sleep(0.05)


def _verdict(codes: list[int], first: int) -> int:
    guilty = [
        (number, code) for number, code in enumerate(codes, first) if code not in (0, LOST_A_PEER, -signal.SIGTERM)
    ]
    told = [code for _, code in guilty if 0 < code != 128 + signal.SIGTERM]
    if told:
        return told[0]
    for number, code in guilty:
        if code < 0:
            raise ConchError(
                f"process {number} of the run was ended by {signal.Signals(-code).name}, the others with it; "
                "--resume goes on after the last whole epoch"
            )
    return 1 if any(codes) else 0


@contextmanager
def _remembered_signals() -> Iterator[list[signal.Signals]]:
    """Those of SIGINT and SIGTERM that came while the block runs."""
    asked: list[signal.Signals] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda found, _: asked.append(signal.Signals(found))) for number in numbers}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def command_line_of(recipe: str, settings: Sequence[str]) -> list[str]:
    """This command for one recipe, as a process of the run gets it."""
    return program("training", recipe, *settings)
