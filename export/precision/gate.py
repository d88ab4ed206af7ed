"""The gate: a variant passes when its judge says so; else the worst layers go back to fp32, one by one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from conch.contracts.errors import ConchError
from export.precision.files import size_of
from export.precision.judge import Judge, losses
from export.precision.original import Original
from export.precision.proof import VariantProof, prove_variant
from export.precision.quantizers import Quantizer
from export.precision.speed import speedup
from export.proof.runtime import onnx_predict
from serving.onnx_files.kernels import kernels_of
from serving.onnx_files.releases import ONNX_RUNTIME, Release
from training.score import Metric, Predict

# The speed of a variant is told as it is served: an operator has one thread.
THREADS = 1


NOT_PROVEN = VariantProof((), ())


@dataclass(frozen=True, kw_only=True)
class Try:
    """One variant and what the gate found."""

    method: str
    kept: tuple[str, ...]
    """Groups in fp32."""
    describes: Mapping[str, str]
    """What the manifest says of the quantizer."""
    layers: int
    """Groups that it has."""
    path: Path
    size: int
    """Bytes of the file."""
    size_ratio: float
    """Of the fp32 file's bytes."""
    proof: VariantProof = NOT_PROVEN
    score: tuple[Metric, ...] = ()
    cannot_tell: tuple[str, ...] = ()
    """What the judge has too few items for."""
    speedup: float = 0.0
    """fp32's time over the variant's, on the largest batch with one thread."""
    speedup_alone: float = 0.0
    """The same on one row."""
    failures: tuple[str, ...] = ()
    """What keeps it from passing, a sentence each."""
    mendable: bool = True
    """Whether more layers in fp32 may mend it: it lost too much, or overflowed, or did not load."""


class PrecisionRefused(ConchError):
    """No variant is worth publishing; nothing was published."""

    def __init__(self, message: str, tries: list[Try]) -> None:
        self.tries = tries
        super().__init__(message)


def none_passed(name: str, tries: list[Try]) -> PrecisionRefused:
    """Of these variants."""
    best = min(tries, key=lambda one: len(one.failures))
    return PrecisionRefused(
        f"{name}: nothing was published, none of {len(tries)} variants passed the gate; "
        f"nearest was {best.method!r} with {len(best.kept)} layers in fp32: {best.failures[0]}",
        tries,
    )


def slower(name: str, precision: str, chosen: Try, tries: list[Try]) -> PrecisionRefused:
    """The best of them is slower than fp32, and so is each with layers in fp32."""
    fastest = max((one for one in tries if not one.failures), key=lambda one: one.speedup)
    layers = f"{len(fastest.kept)} layer{'s' * (len(fastest.kept) > 1)}"
    mixed = f", {fastest.speedup:.2f} with {layers} in fp32" if len(fastest.kept) > len(chosen.kept) else ""
    return PrecisionRefused(
        f"{name}: nothing was published, {precision} passed the gate and runs {chosen.speedup:.2f} times as fast as "
        f"fp32 here (largest batch, {THREADS} thread; one row {chosen.speedup_alone:.2f}){mixed}; serve fp32, or "
        f"publish it for its {chosen.size_ratio:.2f} of the bytes: --even-if-slower",
        tries,
    )


class Gate:
    """Judges variants of one fp32 file, always in the same way."""

    def __init__(self, original: Original, judge: Judge, release: Release) -> None:
        """Args:
        original: the fp32 file.
        judge: gives the figures.
        release: the oldest Triton release that has to load a variant.
        """
        self.original, self.judge, self.release = original, judge, release
        self.fp32_size = size_of(original.fp32)
        self._reference = onnx_predict(original.fp32)
        self._timed = onnx_predict(original.fp32, THREADS)

    def try_out(self, path: Path, quantizer: Quantizer, method: str, kept: tuple[str, ...]) -> Try:
        """Prove, score and time one variant."""
        size = size_of(path)
        found = Try(
            method=method, kept=kept, describes=quantizer.describes, layers=len(quantizer.groups),
            path=path, size=size, size_ratio=size / self.fp32_size,
        )  # fmt: skip
        try:
            variant = onnx_predict(path)
        except ConchError as error:
            return replace(found, failures=(str(error),), proof=VariantProof((), (str(error),)))
        proof = prove_variant(self.original, path, self._reference, variant)
        found = replace(found, proof=proof)
        lasting = [*proof.lasting, *self._lacking(path)]
        if found.size_ratio >= 1:
            lasting.append(f"it is no smaller than the fp32 file: {size:,} bytes")
        found = replace(found, mendable=not lasting)
        if proof.failures and not all(np.isfinite(cell.difference) for cell in proof.cells):
            return replace(found, failures=(*proof.overflows, *lasting))
        judged = self.judge.judge(variant)
        failures = [*proof.overflows, *losses(self.judge, judged.score), *lasting]
        timed = onnx_predict(path, THREADS)
        return replace(
            found, score=judged.score, cannot_tell=judged.cannot_tell, failures=tuple(failures),
            speedup=self._speed(timed),
            speedup_alone=speedup(self._timed, timed, self.original.timed(1)),
        )  # fmt: skip

    def speed(self, path: Path) -> float:
        """fp32's time over that of the file at `path`, on the largest batch with one thread."""
        return self._speed(onnx_predict(path, THREADS))

    def _speed(self, timed: Predict) -> float:
        return speedup(self._timed, timed, self.original.timed(self.original.largest_batch))

    def departure(self, variant: Predict) -> float:
        """How far the answers on training inputs are from fp32's: noise over signal, summed over the outputs."""
        inputs = self.original.timed(self.original.largest_batch)
        got, total = variant(inputs), 0.0
        for name, expected in self._reference(inputs).items():
            if expected.dtype.kind != "f":
                total += float(np.mean(got[name] != expected))
                continue
            noise = got[name].astype(np.float64) - expected
            total += float(np.square(noise).sum() / max(np.square(expected.astype(np.float64)).sum(), 1e-30))
        return total

    def _lacking(self, path: Path) -> list[str]:
        """What the release has no kernel for: files for GPUs are other providers' matter, fp16 is made float."""
        lacking = kernels_of(self.release.onnx_runtime).lacking(onnx.load(path, load_external_data=False))
        if not lacking:
            return []
        later = list(ONNX_RUNTIME)[list(ONNX_RUNTIME).index(self.release.name) + 1 :]
        model = onnx.load(path, load_external_data=False)
        able = next((name for name in later if not kernels_of(ONNX_RUNTIME[name]).lacking(model)), None)
        return [
            f"{lacking[0].operator} is not computed by ONNX Runtime {self.release.onnx_runtime} of Triton "
            f"{self.release.name}" + (f"; where it is served by {able} or later: --triton {able}" if able else "")
        ]


def find_variant(
    gate: Gate,
    quantizers: Sequence[Quantizer],
    folder: Path,
    progress: Callable[[str], None] = lambda _: None,
    no_slower: bool = False,
) -> tuple[Try, list[Try]]:
    """Try every method of every quantizer; where none passes, keep the worst groups of the best one in fp32.

    With `no_slower`, where what passes is slower than fp32, keep in fp32 what makes it so.

    Returns:
        The fastest of the quantizers' best-scored variants that pass; and all that were tried.

    Raises:
        PrecisionRefused: none passed.
    """
    numbers = itertools.count()
    name = gate.original.name

    def attempt(quantizer: Quantizer, method: str, kept: tuple[str, ...]) -> Try:
        progress(f"{name}: {method}" + (f", {len(kept)} layers in fp32" if kept else ""))
        path = folder / f"variant-{next(numbers)}" / "model.onnx"
        path.parent.mkdir()
        try:
            quantizer.write(path, method, set(kept))
        except ConchError:
            raise
        except Exception as error:  # ONNX Runtime's tools raise what they stumble on
            return Try(
                method=method, kept=kept, describes=quantizer.describes, layers=len(quantizer.groups), path=path,
                size=0, size_ratio=0.0, failures=(_tool_failed(error),), mendable=False,
            )  # fmt: skip
        return gate.try_out(path, quantizer, method, kept)

    tried = [(quantizer, attempt(quantizer, method, ())) for quantizer in quantizers for method in quantizer.methods]
    tries = [one for _, one in tried]
    passed = [
        (quantizer, min(good, key=_badness))
        for quantizer in quantizers
        if (good := [one for owner, one in tried if owner is quantizer and not one.failures])
    ]
    if passed:
        quantizer, best = max(passed, key=lambda one: one[1].speedup)
        if no_slower and best.speedup < 1:
            ranked = slowest_first(gate, quantizer, best.method, folder, progress)
            best = sped_up(best, ranked, lambda kept: attempt(quantizer, best.method, kept), tries)
        return best, tries
    quantizer, best = min(tried, key=lambda one: (not one[1].mendable, len(one[1].failures), _badness(one[1])))
    ranked = worst_first(gate, quantizer, best.method, folder, progress) if best.mendable else []
    for count in counts(len(ranked)):
        tries.append(attempt(quantizer, best.method, tuple(ranked[:count])))
        if not tries[-1].failures:
            return tries[-1], tries
    raise none_passed(name, tries)


def sped_up(best: Try, ranked: Sequence[str], attempt: Callable[[tuple[str, ...]], Try], tries: list[Try]) -> Try:
    """The first variant that passes and is no slower than fp32, with ever more of the `ranked` groups kept in fp32.

    `best` where there is none, or where two in turn have made nothing faster. What is tried is added to `tries`.
    """
    fastest, in_vain = best.speedup, 0
    for count in counts(len(ranked)):
        tries.append(one := attempt(tuple(ranked[:count])))
        if not one.failures and one.speedup >= 1:
            return one
        fastest, in_vain = max(fastest, one.speedup), 0 if one.speedup > fastest else in_vain + 1
        if in_vain == 2:
            break
    return best


def slowest_first(
    gate: Gate, quantizer: Quantizer, method: str, folder: Path, progress: Callable[[str], None]
) -> list[str]:
    """The groups by how fast the variant is with each of them alone kept in fp32."""
    path = folder / "all-but-one" / "model.onnx"
    path.parent.mkdir()
    speeds = {}
    for group in quantizer.groups:
        progress(f"{gate.original.name}: how fast it is with {group} in fp32")
        quantizer.write(path, method, {group})
        speeds[group] = gate.speed(path)
    return sorted(speeds, key=lambda group: speeds[group], reverse=True)


def _tool_failed(error: Exception) -> str:
    return f"ONNX Runtime's tool fails on it: {type(error).__name__}: {' '.join(str(error).split())[:200]}"


def counts(layers: int) -> Iterator[int]:
    """How many of a model's layers are kept in fp32, try by try: never all of them, that would be the fp32 file.

    One more at a time; of many, an eighth more of what is kept already.
    """
    count = 1
    while count < layers:
        yield count
        count += max(1, count // 8)


def worst_first(
    gate: Gate, quantizer: Quantizer, method: str, folder: Path, progress: Callable[[str], None]
) -> list[str]:
    """The groups by how far each, alone in the lower precision, moves the answers on training inputs."""
    path = folder / "one-group" / "model.onnx"
    path.parent.mkdir()
    moved = {}
    for group in quantizer.groups:
        progress(f"{gate.original.name}: how much {group} alone changes")
        quantizer.write(path, method, set(quantizer.groups) - {group})
        moved[group] = gate.departure(onnx_predict(path))
    return sorted(moved, key=lambda group: moved[group], reverse=True)


def _badness(one: Try) -> float:
    """The first metric, turned so that less is better; the worst where there is no score."""
    if not one.score or not np.isfinite(one.score[0].value):
        return float("inf")
    return -one.score[0].value if one.score[0].higher_is_better else one.score[0].value
