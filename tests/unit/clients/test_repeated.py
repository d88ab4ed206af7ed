"""A repeated flag takes a list, and nothing else of a command line changes."""

import pytest
import tyro

from clients.commands import Command
from clients.commands.infer import Infer
from clients.repeated import repeated
from export.commands.module import Choices
from serving.repository.proofs import ReferenceChoices

MODULE = "net.py:Net --input a:float32[batch] --input b:float32[batch] --output p --output q --name n --json"
INFER = "infer mine --input a=1.npy --input b=2.npy --output p=3.npy --url box:1"


@pytest.mark.parametrize(
    "line",
    [
        MODULE,
        "net.py:Net --input a:float32[batch] b:float32[batch] --output p q --name n --json",
        "net.py:Net --input=a:float32[batch] b:float32[batch] --output p --output q --name n --json",
        "net.py:Net --name n --output p q --json --input a:float32[batch] b:float32[batch]",
    ],
)
def test_a_list_is_a_flag_each(line: str) -> None:
    read = [tyro.cli(Choices, args=repeated(words.split(), Choices, 1)) for words in (MODULE, line)]
    assert read[0] == read[1]
    assert read[0].outputs == ("p", "q")


def test_the_client_takes_lists_too() -> None:
    listed = INFER.replace(" --input b", " b")
    read = [tyro.cli(Command, args=repeated(line.split(), Infer, 2)) for line in (INFER, listed)]
    assert read[0] == read[1]


def test_publish_takes_lists_of_its_proof() -> None:
    words = repeated(["m.onnx", "--name", "n", "--input", "x:float32[batch]", "y:float32[batch]"], ReferenceChoices, 1)
    assert words[-4:] == ["--input", "x:float32[batch]", "--input", "y:float32[batch]"]


@pytest.mark.parametrize("line", ["--input a:float32[batch] net.py:Net --name n", "", "net.py:Net --help", MODULE])
def test_a_positional_behind_a_flag_stays_one(line: str) -> None:
    assert repeated(line.split(), Choices, 1) == line.split()
