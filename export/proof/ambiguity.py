"""Where PyTorch itself has more than one answer: there a graph cannot be wrong, and nothing is proven.

Equal scores may be sorted in any order, and scores that rounding alone tells apart are equal. So the module is run
again and again with every such freedom used otherwise; a value that jumps has no single answer:

- sums and products are rounded at random (Monte Carlo arithmetic, Parker 1997): what is exact in float32 stays exact;
- what is sorted is shuffled before, unless the module asks for a stable sort;
- on made-up inputs, attention over nothing is the NaN that `softmax` gives and not the 0 that PyTorch's fused attention
  gives, and a NaN of PyTorch's is no answer.

A jump is more than rounding: beyond the tolerance, and beyond twice the error that the budget allows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from conch.contracts.comparison import differences
from export.proof.budget import FACTOR
from export.proof.float64 import widen
from training.predict import torch_predict
from training.score import Predict
from training.served import Served

RUNS = 16
"""A tie of two is found with a chance of 1 - 2^-16."""
REPEATS = 3

# Their indices follow one axis, `dim`, of the tensor that is permuted; which of equal values is meant they do not say.
# max, min, argmax and argmin do: the first.
_SORTS = (
    "aten::sort", "aten::argsort", "aten::topk", "aten::kthvalue", "aten::median", "aten::nanmedian", "aten::mode",
)  # fmt: skip


class Answers:
    """All answers that PyTorch was seen to give for one output of one run."""

    def __init__(self, expected: np.ndarray, jump: float, made_up: bool) -> None:
        """Begin with `expected`; `jump` is the least difference of another answer, in the output's own unit."""
        self.expected = expected
        self.jumps = np.isnan(expected) if made_up and expected.dtype.kind == "f" else np.zeros(expected.shape, bool)
        """The elements without a single answer."""
        self.shapes_vary = False
        self._jump = jump
        self._low = self._high = expected

    def add(self, answer: np.ndarray) -> None:
        """Another one; one of another shape leaves no element with a single answer."""
        if answer.shape != self.expected.shape:
            self.shapes_vary, self.jumps = True, np.ones(self.expected.shape, bool)
            return
        if answer.dtype.kind != "f":
            self.jumps = self.jumps | (answer != self.expected)
            return
        self.jumps = self.jumps | ~(differences(answer, self.expected) <= self._jump)
        self._low, self._high = np.minimum(self._low, answer), np.maximum(self._high, answer)  # NaN stays NaN

    def settled(self, answer: np.ndarray) -> np.ndarray:
        """The first rows as `answer` has them, with PyTorch's answer in place of one that is among several.

        A float has to lie between PyTorch's answers, or as far off as they are from each other.
        """
        rows = len(answer)
        if answer.shape != self.expected[:rows].shape:
            return answer
        among = self.jumps[:rows]
        if answer.dtype.kind == "f":
            low, high = self._low[:rows].astype(np.float64), self._high[:rows].astype(np.float64)
            with np.errstate(invalid="ignore"):
                among = among & ~((answer < low - (high - low)) | (answer > high + (high - low)))
        return np.where(among, self.expected[:rows], answer)


def find_answers(
    served: Served,
    inputs: Mapping[str, np.ndarray],
    known: Mapping[str, Answers],
    enough: Callable[[], bool],
    made_up: bool,
) -> None:
    """Add PyTorch's other answers to `known` until there is `enough`; none where the module draws random numbers.

    Args:
        served: the module.
        inputs: of one run, by tensor name.
        known: the answers by output name.
        enough: asked before each of at most `RUNS` runs.
        made_up: whether nobody would send such inputs.
    """
    predict = torch_predict(served)
    if _draws_random_numbers(predict, inputs, known):
        return
    for seed in range(RUNS):
        if enough():
            return
        try:
            with OtherAnswers(seed, made_up):
                answers = predict(inputs)
        except Exception:  # an operator may not run so; then what is known is known
            return
        for name, answer in answers.items():
            known[name].add(answer)


def _draws_random_numbers(predict: Predict, inputs: Mapping[str, np.ndarray], known: Mapping[str, Answers]) -> bool:
    """Whether PyTorch answers otherwise without any freedom: an active dropout is a fault and no ambiguity."""
    for _ in range(REPEATS):
        again = predict(inputs)
        for name, array in again.items():
            if not np.array_equal(array, known[name].expected, equal_nan=array.dtype.kind == "f"):
                return True
    return False


class OtherAnswers(TorchDispatchMode):
    """Every operator that runs inside uses the freedom that PyTorch has, by the random numbers of `seed`."""

    def __init__(self, seed: int, made_up: bool) -> None:
        super().__init__()
        self._random = torch.Generator().manual_seed(seed)
        self._made_up = made_up

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        schema = func._schema
        if schema.name in _SORTS:
            return self._shuffled(func, args, kwargs)
        if self._made_up and schema.name == "aten::scaled_dot_product_attention":
            return _attention(*args, **kwargs)
        if self._made_up and schema.name == "aten::_safe_softmax":
            return torch.softmax(*args, **kwargs)
        result = func(*args, **kwargs)
        # A view and what is written in place have to stay the tensors that they are.
        if any(entry.alias_info is not None for entry in (*schema.arguments, *schema.returns)):
            return result
        if torch.Tag.nondeterministic_seeded in func.tags or not _has_float32(result):
            return result
        return tree_map(self._rounded, result, func(*tree_map(widen, args), **tree_map(widen, kwargs)))

    def _rounded(self, result: Any, wide: Any) -> Any:
        """`result` moved by a random share of what float32 may be off; exact values as they are."""
        if not isinstance(result, torch.Tensor) or result.dtype != torch.float32 or wide.shape != result.shape:
            return result
        off = (result.double() - wide).abs().nan_to_num(0, 0, 0)
        if not off.numel() or not bool(off.any()):
            return result
        furthest = FACTOR * off.max() + torch.finfo(torch.float32).eps * wide.abs()
        noise = 2 * torch.rand(result.shape, generator=self._random, dtype=torch.float64) - 1
        return torch.where((off == 0) | ~wide.isfinite(), result.double(), wide + noise * furthest).float()

    def _shuffled(self, func: Any, args: Any, kwargs: Any) -> Any:
        """The operator's answer to its first argument in another order, with indices of the given order."""
        known = [argument.name for argument in func._schema.arguments]
        given = dict(zip(known, args, strict=False)) | kwargs
        tensor, dim = given["self"], given.get("dim", -1)
        if "dim" not in known or given.get("stable") or not tensor.ndim:
            return func(*args, **kwargs)
        order = torch.randperm(tensor.shape[dim], generator=self._random)
        result = func(tensor.index_select(dim, order), *args[1:], **kwargs)
        return order[result] if isinstance(result, torch.Tensor) else (result[0], order[result[1]])


def _has_float32(result: Any) -> bool:
    leaves = result if isinstance(result, tuple | list) else (result,)
    return any(isinstance(leaf, torch.Tensor) and leaf.dtype == torch.float32 for leaf in leaves)


def _attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attn_mask: torch.Tensor | None = None,
               dropout_p: float = 0.0, is_causal: bool = False, *, scale: float | None = None, enable_gqa: bool = False,
               ) -> torch.Tensor:  # fmt: skip
    """As the documentation of `scaled_dot_product_attention` writes it, with the plain softmax."""
    if enable_gqa:
        repeats = query.shape[-3] // key.shape[-3]
        key, value = key.repeat_interleave(repeats, -3), value.repeat_interleave(repeats, -3)
    scores = query @ key.transpose(-2, -1) * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, -math.inf) if attn_mask.dtype == torch.bool else scores + attn_mask
    return torch.softmax(scores, -1) @ value
