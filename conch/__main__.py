"""conch: weights to a proven endpoint, a verb a step.

  conch train cnn                     a recipe to weights; also: conch train list
  conch export cnn                    weights to a proven ONNX file, published; also: module, explain
  conch check FILE.onnx               the proof alone, for CI: a module, a recipe or an ONNX file against its reference
  conch publish FILE --name NAME      an existing ONNX file, published as it came, or proven against a --reference
  conch serve                         a real Triton over what is published; conch serve -- COMMAND: while it runs
  conch guard                         what stands in front of a Triton that somebody else has started
  conch status | down                 what a server serves; stop the one that serve started
  conch rollout MODEL | rollback      another version on the running server, without a gap
  conch history MODEL                 which version was live when, and why
  conch push | pull URL               proven versions into a store and out of it: a folder, S3, Google Cloud, Azure
  conch deploy kubernetes             manifests from the repository and deploy.yaml; also: kserve, init, check
  conch lint                          configurations against ONNX files and a Triton release, offline
  conch tune MODEL                    the settings that serve the most within a promise, measured
  conch call classify digit.png       requests from the command line; also: infer, complete, generate, ...
  conch load run cnn                  Locust, every answer compared, promises held; also: mix, capacity, ...
  conch size cnn                      how many servers keep a promise at a rate, from the profile of one
  conch report                        all proofs on one page; also: score, samples
  conch page                          a page on which people try the models, and get the code to call them
  conch completion bash               what makes a shell complete all this; also: zsh, fish

Each has --help with examples. Exit code 0 only for success.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from conch import PROJECT

VERBS = {
    "train": "training.__main__",
    "export": "export.__main__",
    "check": "export.commands.check",
    "publish": "export.commands.publish",
    "serve": "serving.commands.serve",
    "guard": "serving.commands.guard",
    "status": "serving.commands.status",
    "down": "serving.commands.down",
    "rollout": "serving.commands.rollout",
    "rollback": "serving.commands.rollback",
    "history": "serving.commands.history",
    "push": "serving.commands.push",
    "pull": "serving.commands.pull",
    "deploy": "serving.commands.deploy",
    "lint": "serving.commands.lint",
    "tune": "serving.commands.tune",
    "call": "clients.__main__",
    "load": "loadtest.__main__",
    "size": "loadtest.sizing.command",
    "report": "conch.report.__main__",
    "page": "conch.page.__main__",
    "completion": "conch.completion.__main__",
}
"""The module of each verb; its `main` takes the words behind the verb and gives the exit code."""


CLOSED_PIPE = 141
"""128 + SIGPIPE, as of a program that the signal ends."""


def main(words: Sequence[str] | None = None) -> int:
    """Run one verb; the exit code, 2 for a command line that says nothing."""
    verb, *rest = (sys.argv[1:] if words is None else list(words)) or [""]
    if verb in ("-h", "--help", "help"):
        sys.stdout.write(str(__doc__))
        return 0
    if verb == "--version":
        from importlib.metadata import version

        sys.stdout.write(f"conch {version('conch')}\n")
        return 0
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, 1)
        meant = f"did you mean {near[0]}? " if near else ""
        text = f"error: no verb {verb!r}; {meant}there are {', '.join(VERBS)}\n"
        sys.stderr.write(text if verb else str(__doc__))
        return 2
    try:
        try:
            return _run(VERBS[verb], verb, rest)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # who reads has enough, as `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes when it ends
        return CLOSED_PIPE


def _run(module: str, verb: str, words: list[str]) -> int:
    _prefer_own(module.partition(".")[0])
    try:
        return int(importlib.import_module(module).main(words))
    except ModuleNotFoundError as error:
        if not _is_asked_by_the_kit(error):
            raise
        extra = "'conch[page]'" if verb == "page" else "'conch[cpu]', or 'conch[gpu]' with an NVIDIA GPU"
        sys.stderr.write(f"error: conch {verb} needs {error.name}, which is not installed: pip install {extra}\n")
        return 1


def _is_asked_by_the_kit(error: ModuleNotFoundError) -> bool:
    """Whether the kit's own code imports what is missing, and not a file of the user's."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    files = [Path(frame.f_code.co_filename) for frame in frames if "importlib" not in frame.f_code.co_filename]
    packages = {module.partition(".")[0] for module in VERBS.values()}
    asked_by = files[-1] if files else PROJECT
    own = any(asked_by.is_relative_to(PROJECT / package) for package in packages)
    return own and (error.name or "").partition(".")[0] not in packages


def _prefer_own(package: str) -> None:
    """Let `package` be the kit's, even where `python -m conch` is run beside a folder of that name."""
    spec = importlib.util.find_spec(package)
    places = [Path(place).resolve().parent for place in (spec.submodule_search_locations or [])] if spec else []
    if PROJECT not in places[:1]:
        sys.path.insert(0, str(PROJECT))


if __name__ == "__main__":
    sys.exit(main())
