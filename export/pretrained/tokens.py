"""Text to tokens as the folder's tokenizer makes them, cut where tokenizer or model ends."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from conch.contracts.errors import ConchError
from export.pretrained.folder import TOKENIZER_FILES, Folder
from export.pretrained.offline import load_transformers
from export.pretrained.subject import Arrays
from training.tensors import Tensor

NO_LIMIT = 1_000_000
"""A tokenizer without a limit says 10^30."""
LONGEST = 2048
"""Tokens of the longest text of a proof, for models that take more: attention over it grows with its square."""


@dataclass(frozen=True)
class Tokens:
    """A tokenizer, and what the model takes of it."""

    tokenizer: Any
    names: tuple[str, ...]
    """Of the model's inputs, in their order."""
    limit: int | None
    """The most tokens that the model and its tokenizer take."""
    vocabulary: int
    types: int

    def item(self, *texts: str, cut: bool | str = True) -> dict[str, np.ndarray]:
        """One text, or a pair, as int64 [tokens] by input name.

        Raises:
            ConchError: the tokenizer gives tokens that the model does not have.
        """
        found = self.tokenizer(*texts, truncation=cut, max_length=self.proven, return_token_type_ids=self.typed)
        if (largest := max(found["input_ids"], default=0)) >= self.vocabulary:
            raise ConchError(
                f"token {largest} of {texts[0][:40]!r} is none of the model's {self.vocabulary}: the tokenizer is "
                "another's"
            )
        return {name: np.asarray(found[name], np.int64) for name in self.names}

    @property
    def proven(self) -> int:
        """The most tokens of a text in the proof."""
        return min(self.limit or LONGEST, LONGEST)

    @property
    def typed(self) -> bool:
        """Whether the model takes token types."""
        return "token_type_ids" in self.names

    @property
    def padding(self) -> dict[str, float]:
        """What fills up each input."""
        padding = {"input_ids": self.pad, "attention_mask": 0, "token_type_ids": self.tokenizer.pad_token_type_id}
        return {name: float(padding[name]) for name in self.names}

    @property
    def pad(self) -> int:
        """The token that fills up; where the tokenizer has none, any: the mask says what counts."""
        found = self.tokenizer.pad_token_id
        return int(found if found is not None else self.tokenizer.eos_token_id or 0)

    def tensors(self) -> tuple[Tensor, ...]:
        """The model's inputs. A mask of nothing but zeros is no text, so the proof feeds none."""
        bounds = {
            "input_ids": (0, self.vocabulary - 1),
            "attention_mask": (1, 1),
            "token_type_ids": (0, max(0, self.types - 1)),
        }
        return tuple(Tensor(name, "int64", ("batch", "sequence"), *bounds[name]) for name in self.names)

    def told(self) -> str:
        """In words."""
        kind = type(self.tokenizer).__name__
        return f"{kind}, texts are cut at {self.limit} tokens" if self.limit else f"{kind}, texts of any length"


def load_tokens(folder: Folder, model: Any, tokenizer: Path | None = None) -> Tokens:
    """The tokenizer beside the weights, or of another folder.

    Raises:
        ConchError: there is none, or it cannot be loaded without running code.
    """
    place = tokenizer or folder.path
    if not any((place / file).exists() for file in TOKENIZER_FILES):
        raise ConchError(
            f"{place} has no tokenizer (none of {', '.join(TOKENIZER_FILES)}); download its files too, or give the "
            "folder that has them: --tokenizer FOLDER"
        )
    transformers = load_transformers()
    try:
        found = transformers.AutoTokenizer.from_pretrained(place, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # whatever a file of somebody else's makes it raise
        raise ConchError(f"{place}: the tokenizer cannot be loaded: {' '.join(str(error).split())[:300]}") from error
    known = inspect.signature(model.forward).parameters
    names = [name for name in ("input_ids", "attention_mask", "token_type_ids") if name in known]
    if "token_type_ids" in names and "token_type_ids" not in found.model_input_names:
        names.remove("token_type_ids")
    vocabulary = model.get_input_embeddings().num_embeddings
    types = getattr(model.config, "type_vocab_size", 0) or 0
    limits = [int(limit) for limit in (found.model_max_length, position_limit(model)) if limit and limit < NO_LIMIT]
    return Tokens(found, tuple(names), min(limits, default=None), vocabulary, types)


def clients_tokenizer(place: Path, tokens: Tokens, texts: Sequence[str]) -> tuple[str, ...]:
    """What has to be told of `tokenizer.json`, which clients read without transformers."""
    from tokenizers import Tokenizer

    file = place / "tokenizer.json"
    anew = "write it anew for clients: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
    if not file.exists():
        return (f"there is no tokenizer.json; {anew}",)
    alone = Tokenizer.from_file(str(file))
    wrong = sum(alone.encode(text).ids != tokens.tokenizer(text)["input_ids"] for text in texts)
    told = f"tokenizer.json alone makes other tokens than transformers of {wrong} of {len(texts)} texts; {anew}"
    return (told,) if wrong else ()


def position_limit(model: torch.nn.Module) -> int | None:
    """The most tokens that the model has positions for; None where they are relative, or nobody says.

    RoBERTa and its kin count positions from behind the padding's index: of 514 there are 512 to be had.
    """
    for name, part in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(part, torch.nn.Embedding):
            return part.num_embeddings - (0 if part.padding_idx is None else part.padding_idx + 1)
    limit = getattr(model.config, "max_position_embeddings", None) or getattr(model.config, "n_positions", None)
    return int(limit) if limit and limit > 0 else None


def short_sizes(items: Sequence[Arrays], cuttable: bool) -> tuple[int, ...]:
    """Lengths of the grid: that of the longest item, and where a text may end anywhere a short one."""
    longest = max(item["input_ids"].shape[-1] for item in items)
    return (min(5, longest), longest) if cuttable and longest > 5 else (longest,)
