"""A byte-level BPE tokenizer as a graph: text in, the model's tokens out.

Its operator is `GPT2Tokenizer` of onnxruntime-extensions, the one of its tokenizers that was seen to answer as the
Python one does on every text; around it, in ONNX's own operators, stand what the template adds, and the limit. The
operator could be told of special tokens, but then loses the last letter of a text such as `I <3` where one of them
begins with `<`: so their names in a text are text here, as with `split_special_tokens=True`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from conch.contracts.errors import ConchError
from export.pretrained.tokens import Tokens
from serving.onnx_files.custom_operators import DOMAIN, installed_library

TEXT = "text"
PREFIX = "tokenizer."
"""Of the names of all values in between."""


class NotInGraph(ConchError):
    """No graph answers as the tokenizer does; the reason, in a clause."""


def tokenizer_graph(tokens: Tokens, opset: int, ir_version: int) -> onnx.ModelProto:
    """A model from `text` string [batch] to the inputs of the tokens' model, int64 [batch, sequence].

    Raises:
        NotInGraph: the tokenizer is of a kind that the graph has no exact operator for.
        ConchError: the library of operators is not installed.
    """
    vocabulary, merges = _byte_level(tokens.tokenizer)
    if installed_library() is None:
        raise ConchError("--with-tokenizer needs onnxruntime-extensions: pip install 'conch[cpu,pretrained]'")
    before, after = _template(tokens.tokenizer)
    graph = _Graph()
    graph.add(
        "GPT2Tokenizer", [TEXT], ["words", "words_mask"], domain=DOMAIN, padding_length=-1,
        vocab=json.dumps(vocabulary), merges="\n".join(merges),
    )  # fmt: skip
    room = (tokens.limit or 2**31) - len(before) - len(after)
    for name in ("words", "words_mask"):
        graph.add("Slice", [name, graph.constant([0]), graph.constant([room]), graph.constant([1])], [f"{name}_cut"])
    graph.add("ReduceSum", ["words_mask_cut", graph.constant([1])], ["words_length"], keepdims=1)
    graph.add("Shape", ["words_cut"], ["rows"], start=0, end=1)
    parts = [_repeated(graph, before, "before"), "words_cut", _repeated(graph, [tokens.pad] * len(after), "after")]
    graph.add("Concat", [part for part in parts if part], ["row"], axis=1)
    graph.add("Shape", ["row"], ["width"], start=1, end=2)
    graph.add("Squeeze", ["width"], ["width_scalar"])
    graph.add("Range", [graph.constant(0), "width_scalar", graph.constant(1)], ["place"])
    current = "row"
    for offset, token in enumerate(after):
        graph.add("Add", ["words_length", graph.constant([len(before) + offset])], [f"place_{offset}"])
        graph.add("Equal", ["place", f"place_{offset}"], [f"is_{offset}"])
        graph.add("Where", [f"is_{offset}", graph.constant([token]), current], [f"row_{offset}"])
        current = f"row_{offset}"
    graph.add("Add", ["words_length", graph.constant([len(before) + len(after)])], ["length"])
    graph.add("Less", ["place", "length"], ["counts"])
    # The operator fills up with a token of its own.
    graph.add("Where", ["counts", current, graph.constant([tokens.pad])], ["input_ids"])
    graph.add("Cast", ["counts"], ["attention_mask"], to=TensorProto.INT64)
    graph.add("Sub", ["input_ids", "input_ids"], ["token_type_ids"])
    return graph.model(tokens.names, opset, ir_version)


class _Graph:
    """Nodes and constants, named with `PREFIX`."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def add(self, operator: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> None:
        names = [name if name == TEXT else f"{PREFIX}{name}" for name in inputs]
        self._nodes.append(helper.make_node(operator, names, [f"{PREFIX}{name}" for name in outputs], **attributes))

    def constant(self, value: int | list[int] | list[list[int]]) -> str:
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(value, np.int64), f"{PREFIX}{name}"))
        return name

    def model(self, names: Sequence[str], opset: int, ir_version: int) -> onnx.ModelProto:
        for name in names:
            self._nodes.append(helper.make_node("Identity", [f"{PREFIX}{name}"], [name]))
        outputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"]) for name in names]
        text = helper.make_tensor_value_info(TEXT, TensorProto.STRING, ["batch"])
        graph = helper.make_graph(self._nodes, "tokenizer", [text], outputs, self._constants)
        sets = [helper.make_opsetid("", opset), helper.make_opsetid(DOMAIN, 1)]
        return helper.make_model(graph, opset_imports=sets, ir_version=ir_version, producer_name="conch")


def _repeated(graph: _Graph, row: list[int], name: str) -> str:
    """`row` in each row of the batch; nothing of an empty one."""
    if not row:
        return ""
    graph.add("Concat", ["rows", graph.constant([len(row)])], [f"{name}_shape"], axis=0)
    graph.add("Expand", [graph.constant([row]), f"{name}_shape"], [name])
    return name


def _byte_level(tokenizer: Any) -> tuple[dict[str, int], list[str]]:
    """Vocabulary and merges.

    Raises:
        NotInGraph: it is no byte-level BPE, or finds more in a text than that.
    """
    found = json.loads(tokenizer.backend_tokenizer.to_str())
    kind = found["model"]["type"]
    if kind != "BPE" or "ByteLevel" not in json.dumps(found.get("pre_tokenizer")):
        raise NotInGraph(
            f"the tokenizer is {kind}, of which onnxruntime-extensions has no operator that answers as it does on "
            "every text"
        )
    if own := sorted(set(tokenizer.get_added_vocab()) - set(tokenizer.all_special_tokens)):
        raise NotInGraph(
            f"the tokenizer has tokens that were added to its vocabulary ({', '.join(own[:3])}), which the graph's "
            "operator does not find in every text"
        )
    model = found["model"]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    return model["vocab"], merges


def _template(tokenizer: Any) -> tuple[list[int], list[int]]:
    """What the tokenizer puts before and after the tokens of a text."""
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a")["input_ids"]
    start = next(place for place in range(len(whole)) if whole[place : place + len(plain)] == plain)
    return whole[:start], whole[start + len(plain) :]


def with_tokenizer(tokenizer: onnx.ModelProto, model: onnx.ModelProto) -> onnx.ModelProto:
    """Both as one model: `text` in, the model's answers out."""
    merged = onnx.compose.merge_models(
        tokenizer, model, [(value.name, value.name) for value in tokenizer.graph.output], name=model.graph.name
    )
    merged.producer_name = "conch"
    return merged
