"""An ONNX file and the changes that were made to it, written where ONNX Runtime can open it."""

import copy
import shutil
from pathlib import Path

import onnxruntime

from serving.errors import ServingError
from serving.onnx_files.changes.change import Answers, Arrays, Change
from serving.onnx_files.inspection import Inspected
from serving.onnx_files.runtime_reason import runtime_reason
from serving.onnx_files.signature import Signature, open_session, session_signature


class ChangedFile:
    """The file as it came until a change is applied; from then on a file of its own in `folder`.

    Args:
        original: The file as it came, which is never written to.
        inspected: What was read of it.
        folder: For what is written; it need not be there.
        where: Model and file, for messages.
    """

    def __init__(self, original: Path, inspected: Inspected, folder: Path, where: str) -> None:
        self.original = original
        self.where = where
        self.changes: list[Change] = []
        self.model = inspected.model
        self._external = inspected.external
        self._folder = folder
        self._written = 0
        self._session: onnxruntime.InferenceSession | None = None

    @property
    def path(self) -> Path:
        """Where it is now, with its external data beside it."""
        if not self.changes:
            return self.original
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._folder / "model.onnx"
        if self._written != len(self.changes):
            self._copy_external_data()
            file.write_bytes(self.model.SerializeToString())
            self._written = len(self.changes)
        return file

    def apply(self, change: Change) -> None:
        """Make a change. Raises ChangeError, and the file is then of no use."""
        if not self.changes:
            self.model = copy.deepcopy(self.model)  # what was inspected stays what it is
        change.apply(self.model)
        self.changes.append(change)
        self._session = None

    def session(self) -> onnxruntime.InferenceSession:
        """Of the file as it is now. Raises ServingError where ONNX Runtime does not load it."""
        if self._session is None:
            self._session = open_session(self.path, self.where)
        return self._session

    def signature(self) -> Signature:
        """What that session says of inputs and outputs."""
        return session_signature(self.session(), self.model)

    def inputs_before(self, inputs: Arrays) -> Arrays:
        """What the file as it came takes where this one takes `inputs`."""
        for change in reversed(self.changes):
            inputs = change.inputs_before(inputs)
        return inputs

    def inputs_after(self, inputs: Arrays) -> Arrays:
        """What this file takes where the file as it came takes `inputs`."""
        for change in self.changes:
            inputs = change.inputs_after(inputs)
        return inputs

    def answers(self, before: Answers) -> Answers:
        """What this file has to answer where the file as it came answers so."""
        for change in self.changes:
            before = change.answers(before)
        return before

    def _copy_external_data(self) -> None:
        for location in self._external:
            beside = self._folder / location
            if not beside.exists():
                beside.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(self.original.parent / location, beside)


def raw_answers(session: onnxruntime.InferenceSession, feeds: Arrays, where: str) -> Answers:
    """The outputs by name, as ONNX Runtime gives them. Raises ServingError where it does not run; `where` begins it."""
    names = [output.name for output in session.get_outputs()]
    try:
        return dict(zip(names, session.run(names, feeds), strict=True))
    except Exception as error:  # its exceptions share no base class
        raise ServingError(f"{where}: it does not run on what it was tried on: {runtime_reason(error)}") from error
