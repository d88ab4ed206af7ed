"""Rules about classes: label files, and outputs that have none."""

from collections.abc import Iterator
from pathlib import Path

from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig

from serving.lint.findings import Change, Found, rule
from serving.lint.model_folder import ModelFolder
from serving.repository.configuration import WITHOUT_CLASSES


@rule("labels-missing", "error")
def labels_missing(model: ModelFolder) -> Iterator[Found]:
    """A label file is not there: the model does not load."""
    for output in model.config.output:
        if output.label_filename and not (model.path / output.label_filename).is_file():
            yield Found(
                f"output {output.name!r}.label_filename",
                f"{output.label_filename!r}, not there",
                "a text file beside config.pbtxt",
                "write the file, or remove the field",
            )


@rule("labels-count", "error", loads=True)
def labels_count(model: ModelFolder) -> Iterator[Found]:
    """A label file has more or fewer lines than the class axis has classes."""
    for output in model.config.output:
        file = model.path / output.label_filename
        if not output.label_filename or not file.is_file() or not output.dims or output.dims[-1] == -1:
            continue
        lines = len(_lines(file))
        if lines != output.dims[-1]:
            yield Found(
                output.label_filename,
                f"{lines} labels",
                f"{output.dims[-1]}, one a line, for the last axis of output {output.name!r}",
                "correct the file, or publish again",
            )


@rule("labels-text", "warning")
def labels_text(model: ModelFolder) -> Iterator[Found]:
    """A label file is not UTF-8, or has empty labels or line ends of CR and LF: that is what clients get."""
    for name in sorted({output.label_filename for output in model.config.output if output.label_filename}):
        file = model.path / name
        if not file.is_file():
            continue
        for number, line in enumerate(_lines(file), 1):
            if wrong := _wrong(line):
                yield Found(name, f"line {number} {wrong}", "labels in UTF-8, ended by LF alone", "correct the file")
                break


@rule("labels-without-classes", "warning")
def labels_without_classes(model: ModelFolder) -> Iterator[Found]:
    """A label file of an output whose classes Triton refuses to find, or of text, by which it dies."""
    for output in model.config.output:
        if output.label_filename and output.data_type in WITHOUT_CLASSES:
            yield Found(
                f"output {output.name!r}.label_filename",
                f"{output.label_filename!r} for {DataType.Name(output.data_type)}",
                "labels only for outputs of integers, FP32 or FP64",
                change=_without_labels(output.name),
            )


@rule("classes-of-text", "note")
def classes_of_text(model: ModelFolder) -> Iterator[Found]:
    """A request for the classes (`class_count`) of a text output ends the server, whatever its backend."""
    if text := [output.name for output in model.config.output if output.data_type == DataType.TYPE_STRING]:
        yield Found(
            f"output {text[0]!r}",
            "text, for which Triton divides by zero when it is asked for classes",
            "callers that ask for none: Conch's clients refuse to",
            "let no stranger send requests to this server",
        )


def _lines(file: Path) -> list[bytes]:
    """As Triton reads them: ended by LF, and by nothing else (core src/label_provider.cc)."""
    lines = file.read_bytes().split(b"\n")
    return lines[:-1] if lines[-1] == b"" else lines


def _wrong(line: bytes) -> str:
    try:
        line.decode()
    except UnicodeDecodeError:
        return f"is no UTF-8: {line!r}"
    return f"ends in CR: {line!r}" if line.endswith(b"\r") else "" if line else "is empty"


def _without_labels(name: str) -> Change:
    def change(config: ModelConfig) -> dict[str, bytes]:
        for output in config.output:
            if output.name == name:
                output.ClearField("label_filename")
        return {}

    return change
