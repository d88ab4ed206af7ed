"""What lies in a downloaded folder: its configuration, its weights, and what keeps it from being used."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conch.contracts.errors import ConchError

WEIGHTS = "model.safetensors"
PICKLED = "pytorch_model.bin"
FOREIGN = {"tf_model.h5": "TensorFlow", "flax_model.msgpack": "Flax", "model.onnx": "ONNX"}
TOKENIZER_FILES = (
    "tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model",
    "spm.model",
)  # fmt: skip


@dataclass(frozen=True)
class Folder:
    """A folder whose configuration was read and whose files of weights are all there."""

    path: Path
    config: dict[str, Any]
    weights: tuple[Path, ...]
    """The index first, where the weights are in shards."""
    pickled: bool

    @property
    def architecture(self) -> str:
        """The class of the model; empty where the configuration names none."""
        named = self.config.get("architectures") or [""]
        return str(named[0])

    @property
    def has_tokenizer(self) -> bool:
        """Whether any tokenizer's vocabulary lies there."""
        return any((self.path / file).exists() for file in TOKENIZER_FILES)

    @property
    def files(self) -> dict[str, Path]:
        """All that decides what is exported, by name."""
        names = (
            "config.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt",
            "preprocessor_config.json", "processor_config.json", "generation_config.json", *TOKENIZER_FILES,
        )  # fmt: skip
        found = {name: self.path / name for name in names if (self.path / name).exists()}
        return found | {f"weights/{file.name}" if place else "weights": file for place, file in enumerate(self.weights)}


def read_folder(path: Path, pickles: bool) -> Folder:
    """Read `config.json` and find the weights.

    Args:
        path: a downloaded repository.
        pickles: whether weights may come from files of `torch.save`, read with `weights_only=True`.

    Raises:
        ConchError: a file is missing or cannot be read, or the model needs code of the folder.
    """
    if not path.is_dir():
        raise ConchError(f"{path} is no folder; give a downloaded repository with config.json and {WEIGHTS}")
    config = _read_json(path / "config.json", f"{path} has no config.json: is it a downloaded transformers repository?")
    weights, pickled = _weights(path, pickles)
    if "quantization_config" in config:
        method = config["quantization_config"].get("quant_method", "an unnamed method")
        raise ConchError(
            f"{path}: its weights are quantized ({method}); export that of the original weights, with --precision "
            "int8 of conch export onnx behind it"
        )
    return Folder(path, config, weights, pickled)


def _read_json(file: Path, missing: str) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConchError(missing) from error
    except (OSError, ValueError) as error:
        raise ConchError(f"{file} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise ConchError(f"{file} holds a {type(found).__name__}, it must be a JSON object")
    return found


def _weights(path: Path, pickles: bool) -> tuple[tuple[Path, ...], bool]:
    """The files of the weights, and whether they are pickles."""
    names = (WEIGHTS, PICKLED) if not pickles else (PICKLED, WEIGHTS)
    for name in names:
        index = path / f"{name}.index.json"
        if (path / name).exists():
            files: tuple[Path, ...] = (path / name,)
        elif index.exists():
            files = (index, *_shards(index))
        else:
            continue
        if name == PICKLED and not pickles:
            raise ConchError(
                f"{path} has its weights in {files[0].name} alone, a pickle, which can run code as it is read; "
                "--torch-weights reads it with weights_only=True, which refuses everything but tensors"
            )
        _refuse_pointers(files)
        return files, name == PICKLED
    other = [f"{file} ({kind})" for file, kind in FOREIGN.items() if (path / file).exists()]
    found = f"; {', '.join(other)} cannot be read here" if other else ""
    raise ConchError(f"{path} has no {WEIGHTS} and no {WEIGHTS}.index.json{found}")


def _shards(index: Path) -> tuple[Path, ...]:
    listed = _read_json(index, str(index)).get("weight_map")
    if not isinstance(listed, dict) or not listed:
        raise ConchError(f"{index} lists no weights: it needs weight_map, from tensors to files")
    names = sorted({str(name) for name in listed.values()})
    if outside := [name for name in names if Path(name).name != name]:
        raise ConchError(f"{index} names {outside[0]!r}, which does not lie beside it")
    if missing := [name for name in names if not (index.parent / name).exists()]:
        raise ConchError(f"{index.parent}: {len(missing)} of {len(names)} shards are missing, first {missing[0]}")
    return tuple(index.parent / name for name in names)


def _refuse_pointers(files: tuple[Path, ...]) -> None:
    """What git leaves in place of a large file that was not fetched."""
    for file in files:
        with file.open("rb") as opened:
            if opened.read(24) == b"version https://git-lfs.":
                raise ConchError(f"{file} is a pointer of git-lfs and holds no weights: git lfs pull, or download it")
