"""Outputs that are maps, sequences or optionals become tensors where their meaning is plain: Triton has nothing else.

| what an output is | what it becomes |
|---|---|
| the maps of a ZipMap, as of scikit-learn's classifiers | the tensor that went into it; its keys are the classes |
| a sequence of a number of tensors that the graph fixes | as many outputs, NAME_0, NAME_1, ... |
| another sequence | its tensors stacked in one, which needs them to be of one shape |
| an optional | what is in it, which needs something to be in it |

Source: onnx docs/Operators.md and docs/Operators-ml.md (ZipMap).
"""

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TypeProto, helper, numpy_helper

from serving.onnx_files.changes.change import Answers, Change, ChangeError, fresh_name, output_of
from serving.onnx_files.inspection import graphs_of

ML = "ai.onnx.ml"
MOST_TOLD = 10
"""Keys of a map that are told; labels.txt has them all."""
WITHOUT_MAPS = "export the model without maps (with skl2onnx: options={'zipmap': False})"


@dataclass(frozen=True)
class MapAsTensor(Change):
    """A ZipMap at an output is gone."""

    output: str
    keys: tuple[int | str, ...]

    def __str__(self) -> str:
        columns = ", ".join([*map(str, self.keys[:MOST_TOLD]), *(["..."] if len(self.keys) > MOST_TOLD else [])])
        return (
            f"output {self.output!r}: ZipMap removed, it is the tensor [batch, {len(self.keys)}] of its values, with "
            f"the columns {columns}"
        )

    def apply(self, model: onnx.ModelProto) -> None:
        """Let what went into the ZipMap be the output: a row a map, as it has it of a single row too."""
        zip_map = _maker(model, self.output)
        shape = fresh_name(model, f"{self.output}_shape")
        model.graph.initializer.append(numpy_helper.from_array(np.array([-1, len(self.keys)]), shape))
        columns = helper.make_node("Reshape", [zip_map.input[0], shape], [self.output], name=zip_map.name)
        zip_map.CopyFrom(columns)
        _ensure_opset(model)
        tensor = helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, (None, len(self.keys)))
        output_of(model, self.output).type.CopyFrom(tensor)

    def answers(self, before: Answers) -> Answers:
        """The values of the maps, a row a map."""
        rows = [[row[key] for key in self.keys] for row in before[self.output]]
        return {**before, self.output: np.array(rows, np.float32).reshape(len(rows), len(self.keys))}


@dataclass(frozen=True)
class SequenceAsOutputs(Change):
    """A sequence of so many tensors is as many outputs."""

    output: str
    names: tuple[str, ...]

    def __str__(self) -> str:
        return f"output {self.output!r}, a sequence of {len(self.names)}, is {', '.join(map(repr, self.names))}"

    def apply(self, model: onnx.ModelProto) -> None:
        """Give each of its tensors an output."""
        graph = model.graph
        maker = _maker(model, self.output)
        element = output_of(model, self.output).type.sequence_type.elem_type.tensor_type.elem_type
        outputs: list[onnx.ValueInfoProto] = []
        for value in graph.output:
            parts = self.names if value.name == self.output else ()
            outputs += [helper.make_tensor_value_info(name, element, None) for name in parts] or [value]
        for number, name in enumerate(self.names):
            if maker.op_type == "SequenceConstruct":
                graph.node.append(helper.make_node("Identity", [maker.input[number]], [name], name=name))
            else:
                index = fresh_name(model, f"{name}_index")
                graph.initializer.append(numpy_helper.from_array(np.array(number), index))
                graph.node.append(helper.make_node("SequenceAt", [self.output, index], [name], name=name))
        # Copied: what is taken out of the list of outputs is gone.
        outputs = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in outputs]
        del graph.output[:]
        graph.output.extend(outputs)

    def answers(self, before: Answers) -> Answers:
        """Each tensor under its own name."""
        parts = before[self.output]
        rest = {name: value for name, value in before.items() if name != self.output}
        return {**rest, **{name: np.asarray(part) for name, part in zip(self.names, parts, strict=True)}}


@dataclass(frozen=True)
class SequenceAsTensor(Change):
    """A sequence of tensors of one shape is one tensor."""

    output: str
    axis: int
    new_axis: bool

    def __str__(self) -> str:
        how = "stacked along a new" if self.new_axis else "joined along"
        return f"output {self.output!r}, a sequence, is one tensor: its tensors {how} axis {self.axis}"

    def apply(self, model: onnx.ModelProto) -> None:
        """Put a ConcatFromSequence behind it."""
        inner = fresh_name(model, f"{self.output}_sequence")
        _rename(model, self.output, inner)
        value = output_of(model, self.output)
        element = value.type.sequence_type.elem_type.tensor_type.elem_type
        value.type.CopyFrom(helper.make_tensor_type_proto(element, None))
        join = helper.make_node("ConcatFromSequence", [inner], [self.output], axis=self.axis, new_axis=self.new_axis)
        model.graph.node.append(join)

    def answers(self, before: Answers) -> Answers:
        """All tensors in one."""
        join = np.stack if self.new_axis else np.concatenate
        return {**before, self.output: join([np.asarray(part) for part in before[self.output]], self.axis)}


@dataclass(frozen=True)
class OptionalAsContent(Change):
    """An optional is what is in it."""

    output: str

    def __str__(self) -> str:
        return f"output {self.output!r}, an optional, is what is in it"

    def apply(self, model: onnx.ModelProto) -> None:
        """Take its content out."""
        maker = _maker(model, self.output)
        value = output_of(model, self.output)
        content = TypeProto.FromString(value.type.optional_type.elem_type.SerializeToString())
        if maker.op_type == "Optional":
            maker.CopyFrom(helper.make_node("Identity", list(maker.input), [self.output], name=maker.name))
        else:
            inner = fresh_name(model, f"{self.output}_optional")
            _rename(model, self.output, inner)
            model.graph.node.append(helper.make_node("OptionalGetElement", [inner], [self.output], name=self.output))
        value.type.CopyFrom(content)


def next_container(model: onnx.ModelProto) -> Change | None:
    """The change that takes the outermost container off the first output that is one; None where all are tensors.

    Raises:
        ChangeError: An input is none, or an output whose meaning as a tensor is not plain; what to do is said.
    """
    initialized = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        if _kind(value) != "tensor" and value.name not in initialized:
            raise ChangeError(
                f"input {value.name!r} is {_article(value)}, requests carry tensors; export it with those"
            )
    for value in model.graph.output:
        match _kind(value):
            case "sequence" if value.type.sequence_type.elem_type.WhichOneof("value") == "map_type":
                return _map(model, value.name)
            case "sequence" if value.type.sequence_type.elem_type.WhichOneof("value") == "tensor_type":
                return _sequence(model, value.name)
            case "optional":
                return _optional(model, value.name)
            case "sequence" | "map":
                raise ChangeError(f"output {value.name!r} is {_article(value)}; export the model with tensors for it")
    return None


def _map(model: onnx.ModelProto, output: str) -> MapAsTensor:
    maker = _maker(model, output)
    if (maker.domain, maker.op_type) != (ML, "ZipMap"):
        raise ChangeError(
            f"output {output!r} is a sequence of maps, made by {maker.op_type}; only those of ZipMap are turned into a "
            f"tensor; {WITHOUT_MAPS}"
        )
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in maker.attribute}
    keys = attributes.get("classlabels_int64s") or [k.decode() for k in attributes.get("classlabels_strings", ())]
    if len(set(keys)) != len(keys) or not keys:
        raise ChangeError(f"output {output!r}: its ZipMap has the keys {list(keys)}, not one a column; {WITHOUT_MAPS}")
    return MapAsTensor(output, tuple(keys))


def _sequence(model: onnx.ModelProto, output: str) -> Change:
    length = _length(model, output)
    if length is not None:
        if length == 0:
            raise ChangeError(f"output {output!r} is a sequence that is always empty; export the model without it")
        return SequenceAsOutputs(output, tuple(fresh_name(model, f"{output}_{number}") for number in range(length)))
    maker = _maker(model, output)
    if maker.op_type == "SplitToSequence" and len(maker.input) == 1:  # parts of length 1: what was split, again
        attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in maker.attribute}
        return SequenceAsTensor(output, attributes.get("axis", 0), new_axis=not attributes.get("keepdims", 1))
    return SequenceAsTensor(output, 0, new_axis=True)


def _optional(model: onnx.ModelProto, output: str) -> OptionalAsContent:
    maker = _maker(model, output)
    if maker.op_type == "Optional" and not any(maker.input):
        raise ChangeError(f"output {output!r} is an optional that is always empty; export the model without it")
    return OptionalAsContent(output)


def _length(model: onnx.ModelProto, name: str) -> int | None:
    """How many tensors the sequence `name` has, where the graph fixes that."""
    try:
        maker = _maker(model, name)
    except ChangeError:
        return None
    match maker.op_type:
        case "SequenceConstruct":
            return len(maker.input)
        case "SequenceEmpty":
            return 0
        case "SequenceInsert" | "SequenceErase" | "Identity":
            before = _length(model, maker.input[0])
            more = {"SequenceInsert": 1, "SequenceErase": -1}.get(maker.op_type, 0)
            return None if before is None else before + more
        case "SplitToSequence" if len(maker.input) == 2:
            sizes = _constant(model, maker.input[1])
            return len(sizes) if sizes is not None and sizes.ndim == 1 else None
    return None


def _constant(model: onnx.ModelProto, name: str) -> np.ndarray | None:
    """The value of a tensor that the graph fixes, where it is in the file itself."""
    for tensor in model.graph.initializer:
        if tensor.name == name and tensor.data_location != onnx.TensorProto.EXTERNAL:
            return numpy_helper.to_array(tensor)
    for node in model.graph.node:
        if node.op_type == "Constant" and name in node.output:
            value = helper.get_attribute_value(node.attribute[0])
            return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.array(value)
    return None


def _maker(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    """The node of the main graph that makes a tensor."""
    for node in model.graph.node:
        if name in node.output:
            return node
    raise ChangeError(f"output {name!r} is no tensor, and comes as it went in; export the model with tensors")


def _rename(model: onnx.ModelProto, name: str, inner: str) -> None:
    """Give what the main graph makes under `name` another one, where it is made and where it is used."""
    for node in model.graph.node:
        for place, made in enumerate(node.output):
            node.output[place] = inner if made == name else made
    for graph in graphs_of(model.graph):  # not in functions, which see nothing of it
        for node in graph.node:
            for place, used in enumerate(node.input):
                node.input[place] = inner if used == name else used


def _ensure_opset(model: onnx.ModelProto) -> None:
    """Operators of ONNX's own are used from now on; a file of others alone does not say of which version."""
    if not any(entry.domain in ("", "ai.onnx") for entry in model.opset_import):
        model.opset_import.append(helper.make_opsetid("", 13))


def _kind(value: onnx.ValueInfoProto) -> str:
    return (value.type.WhichOneof("value") or "tensor_type").removesuffix("_type")


def _article(value: onnx.ValueInfoProto) -> str:
    return {"optional": "an optional", "sparse_tensor": "a sparse tensor"}.get(_kind(value), f"a {_kind(value)}")
