"""A JUnit XML file of what was checked, for what collects test results: a suite a model, a case a cell.

Written for the strictest of the schemas in use (windyroad's JUnit.xsd): its attributes, and its order of elements.
"""

from __future__ import annotations

import re
import socket
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from conch.contracts.errors import ConchError
from conch.contracts.whole import write_whole
from export.commands.checked import Checked
from export.proof.cells import Cell
from export.proof.verdict import NOT_EXPORTED, PROVEN, UNVERIFIABLE

# XML 1.0 has no other control characters, not even escaped; a message of PyTorch's may have any.
_NOT_IN_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_junit(path: Path, found: Sequence[Checked]) -> None:
    """Write the file, whole or not at all.

    Raises:
        ConchError: it cannot be written.
    """
    suites = ET.Element("testsuites")
    for number, one in enumerate(found):
        suites.append(_suite(one, number))
    ET.indent(suites)
    try:
        write_whole(path, ET.tostring(suites, encoding="utf-8", xml_declaration=True) + b"\n")
    except OSError as error:
        raise ConchError(f"--junit {path} cannot be written: {error.strerror or error}") from error


def _suite(one: Checked, number: int) -> ET.Element:
    cases = [_verdict(one), *_cells(one), *_left_out(one)]
    counted = {kind: sum(case.find(kind) is not None for case in cases) for kind in ("failure", "error", "skipped")}
    suite = ET.Element(
        "testsuite",
        {
            "id": str(number),
            "name": _clean(one.model),
            "package": "conch.check",
            "timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S"),
            "hostname": _clean(socket.gethostname()),
            "tests": str(len(cases)),
            "failures": str(counted["failure"]),
            "errors": str(counted["error"]),
            "skipped": str(counted["skipped"]),
            "time": f"{one.seconds:.3f}",
        },
    )
    properties = ET.SubElement(suite, "properties")
    told = {"verdict": one.verdict.word, "exit_code": one.verdict.code, "source": one.source}
    told |= {
        f"reference.{key}": value for key, value in (one.reference or {}).items() if value and isinstance(value, str)
    }
    for name, value in told.items():
        ET.SubElement(properties, "property", {"name": name, "value": _clean(str(value))})
    suite.extend(cases)
    ET.SubElement(suite, "system-out").text = _clean("\n".join(one.told))
    ET.SubElement(suite, "system-err")
    return suite


def _verdict(one: Checked) -> ET.Element:
    """The case of the proof as a whole: it fails with the command's exit code."""
    case = _case(one, "the whole proof", one.seconds)
    if one.verdict.code in (UNVERIFIABLE, NOT_EXPORTED):
        _say(case, "error", one.verdict.word, one.verdict.reason)
    elif one.verdict.code != PROVEN:
        details = "\n".join(one.grid.failures) if one.grid else ""
        _say(case, "failure", one.verdict.word, one.verdict.reason, details)
    return case


def _cells(one: Checked) -> list[ET.Element]:
    return [_cell(one, cell) for cell in one.grid.cells] if one.grid else []


def _cell(one: Checked, cell: Cell) -> ET.Element:
    case = _case(one, cell.where)
    if not cell.passed:
        _say(case, "failure", "wrong", cell.reason)
    elif cell.elements and cell.ambiguous == cell.elements:
        _say(case, "skipped", "", cell.left_out)
    return case


def _left_out(one: Checked) -> list[ET.Element]:
    """What was not judged, and must not look as if it had been."""
    if not one.grid:
        return []
    cases = []
    for number, sentence in enumerate((*one.grid.uncovered, *one.grid.refused)):
        case = _case(one, f"not judged {number}")
        _say(case, "skipped", "", sentence)
        cases.append(case)
    return cases


def _case(one: Checked, name: str, seconds: float = 0.0) -> ET.Element:
    return ET.Element(
        "testcase", {"classname": _clean(f"conch.check.{one.model}"), "name": _clean(name), "time": f"{seconds:.3f}"}
    )


def _say(case: ET.Element, tag: str, kind: str, message: str, text: str = "") -> None:
    said = ET.SubElement(case, tag, {"message": _clean(message), **({"type": kind} if kind else {})})
    said.text = _clean(text) or None


def _clean(text: str) -> str:
    return _NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", text)
