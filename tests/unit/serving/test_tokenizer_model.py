"""The model that tokenizes on a server, without one: what it answers, and what it refuses in a line."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from serving.backends.tokenizer.tokenization import Tokenization
from serving.repository.text_pipeline import CODE
from tests.support.text_ensembles import LIMIT, TEXTS, publish_text, write_tokenizer


class MockedUtilities(SimpleNamespace):
    """A mock of `triton_python_backend_utils`, which Triton's stub alone has."""

    class TritonModelException(Exception):
        """As the real one."""

    def __init__(self) -> None:
        super().__init__(
            TritonModelException=self.TritonModelException,
            TritonError=str,
            Tensor=lambda name, array: (name, array),
            InferenceResponse=lambda output_tensors=(), error=None: error or dict(output_tensors),
            get_input_tensor_by_name=lambda request, name: SimpleNamespace(as_numpy=lambda: request[name]),
        )


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, dict[str, str]]]:
    """The model, and what Triton tells it when it loads a published version."""
    publish_text(tmp_path / "models")
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", MockedUtilities())
    monkeypatch.syspath_prepend(str(CODE))
    monkeypatch.delitem(sys.modules, "tokenization", raising=False)
    monkeypatch.delitem(sys.modules, "model", raising=False)
    import model as loaded

    outputs = [{"name": name} for name in ("input_ids", "attention_mask")]
    config = {"output": outputs, "parameters": {"tokenizer": {"string_value": "tokenizer.json"}}}
    yield loaded.TritonPythonModel(), {
        "model_repository": str(tmp_path / "models" / "worth_tokenizer"), "model_version": "1",
        "model_name": "worth_tokenizer", "model_config": json.dumps(config),
    }  # fmt: skip
    sys.modules.pop("tokenization", None)
    sys.modules.pop("model", None)


def request(*texts: bytes) -> dict[str, np.ndarray]:
    return {"text": np.array(texts, dtype=object).reshape(-1, 1)}


def test_each_request_is_as_wide_as_its_own_longest_text(model: tuple[Any, dict[str, str]]) -> None:
    """One that fails leaves its neighbours alone."""
    loaded, args = model
    loaded.initialize(args)
    one, invalid, other, empty, none = loaded.execute(
        [request(b"good food", b"bad"), request(b"good", b"b\xffd"), request(b"food " * 9), request(b"a", b" "),
         request()]
    )  # fmt: skip
    assert one["input_ids"].tolist() == [[2, 4], [3, 0]]
    assert one["attention_mask"].tolist() == [[1, 1], [1, 0]]
    assert one["input_ids"].dtype == np.int64
    assert other["input_ids"].tolist() == [[4] * LIMIT]
    assert invalid == "model 'worth_tokenizer', input 'text': text 1 is not UTF-8: its byte 1 is 0xff"
    assert "text 1 has no tokens, and there is nothing to answer" in empty
    assert "there is no text" in none
    assert one.keys() == {"input_ids", "attention_mask"}, "the model behind takes no more"


def test_a_library_that_computes_otherwise_is_refused_with_the_right_one(
    model: tuple[Any, dict[str, str]], tmp_path: Path
) -> None:
    loaded, args = model
    write_tokenizer(tmp_path / "models" / "worth_tokenizer" / "1" / "tokenizer.json", limit=1)
    reason = (
        rf"golden answers: 'input_ids' of '{TEXTS[0]}' is \[2\], proven was \[2, 4\].*pip install 'tokenizers==0.1'"
    )
    with pytest.raises(MockedUtilities.TritonModelException, match=reason):
        loaded.initialize(args)


def test_a_server_without_the_library_is_told_which(
    model: tuple[Any, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, args = model
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(MockedUtilities.TritonModelException, match=r"has no tokenizers; pip install 'tokenizers==0.1'"):
        loaded.initialize(args)


def test_the_name_of_a_special_token_is_text(tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    file = write_tokenizer(tmp_path / "tokenizer.json")
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.add_special_tokens(["[PAD]", "[UNK]"])
    tokenizer.save(str(file))
    assert tokenizer.encode("[PAD] good").ids == [0, 2]
    assert Tokenization(file)(["[PAD] good"])["input_ids"].tolist() == [[1, 2]]
