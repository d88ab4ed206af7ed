"""Attention encoder-decoder: dates and numbers as people write them, translated into figures character by character.

    conch train seq2seq
    conch train seq2seq --epochs 6 --width 160

Bahdanau, Cho and Bengio, Neural machine translation by jointly learning to align and translate, 2014. "the 3rd of May,
1997" becomes "1997-05-03": the decoder jumps in the text, and the picture shows where it looks. All of it is one graph,
with the decoder in a loop that stops when every text of the batch has ended. A client that decodes by itself calls
`seq2seq_encoder` once and `seq2seq_step` for each character.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from conch.contracts.errors import ConchError
from training.attention import NOTHING, AttentionDecoder, loss_of_written, share_exact
from training.checkpoints.drawing import draw_alignments
from training.data.batches import batches
from training.data.phrases import Phrases, phrases
from training.loop.trainee import Trainee, one_cycle
from training.recipe import AllowedLoss, Metric, Predict, Recipe, Served, Tensor

EXAMPLES = 64
MOST = 10  # characters of a translation


class TextEncoder(nn.Module):
    """Reads texts forwards and backwards; padding behind a text changes nothing of what it gives for the text."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.forwards = nn.GRU(width, width, batch_first=True)
        self.backwards = nn.GRU(width, width, batch_first=True)

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """int64 [batch, time] to a memory [batch, time, 2 * width], and which of its places are text [batch, time]."""
        embedded = self.embedding(tokens.where(tokens >= 0, self.embedding.num_embeddings))  # ONNX takes negative ones
        there = text_of(tokens)
        places, length = torch.arange(tokens.shape[1]), there.sum(1, keepdim=True)
        # Each text reversed in its own place, with what stands behind it left there.
        mirrored = torch.where(places < length, length - 1 - places, places).unsqueeze(2)
        forwards, _ = self.forwards(embedded)
        backwards, _ = self.backwards(embedded.gather(1, mirrored.expand(-1, -1, embedded.shape[2])))
        backwards = backwards.gather(1, mirrored.expand(-1, -1, backwards.shape[2]))
        return torch.cat([forwards, backwards], 2), there


def text_of(tokens: torch.Tensor) -> torch.Tensor:
    """Which of int64 [batch, time] are text; of an empty one the first place, for there has to be something to see."""
    return (tokens != NOTHING) | (torch.arange(tokens.shape[1]) == 0)


class Translator(nn.Module):
    """Encoder and decoder of one vocabulary."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.encoder = TextEncoder(vocabulary, width)
        self.decoder = AttentionDecoder(vocabulary, 2 * width, width)

    def forward(self, tokens: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
        """Logits [batch, time, vocabulary] of each character of the answers, given the text and those before it."""
        return self.decoder(answers, *self.encoder(tokens))


class TranslatingEndpoint(nn.Module):
    """A text in; its translation, and the probabilities that each character was chosen by, out."""

    def __init__(self, network: Translator) -> None:
        super().__init__()
        self.network = network

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """int64 [batch, time] to int64 [batch, MOST] and float32 [batch, MOST, vocabulary]."""
        memory, there = self.network.encoder(tokens)
        return self.network.decoder.write(memory, there, MOST)


class EncodingEndpoint(nn.Module):
    """A text in; what a client needs to write its translation out."""

    def __init__(self, network: Translator) -> None:
        super().__init__()
        self.network = network

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """int64 [batch, time] to float32 [batch, time, 2 * width] and the first state, float32 [batch, width]."""
        memory, there = self.network.encoder(tokens)
        return memory, self.network.decoder.begin(memory, there)


class StepEndpoint(nn.Module):
    """The last character and the decoder's state in; the next one's probabilities, the new state and attention out."""

    def __init__(self, network: Translator) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, tokens: torch.Tensor, memory: torch.Tensor, token: torch.Tensor, state: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The text, what the encoder made of it, int64 [batch, 1] and float32 [batch, width]."""
        decoder = self.network.decoder
        known = token.where(token >= 0, decoder.vocabulary).squeeze(1)
        logits, state, attention = decoder.step(known, state, memory, decoder.key(memory), text_of(tokens))
        return logits.softmax(1), state, attention


class TranslatorTrainee(Trainee):
    """Cross-entropy of the next character of the translation, given the right ones before it."""

    def __init__(self, network: Translator, recipe: Seq2Seq) -> None:
        super().__init__()
        self.network = network
        self.recipe = recipe

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        """Loss of texts int64 [batch, time] and their translations int64 [batch, MOST]."""
        tokens, answers = batch
        tokens = tokens[:, : int((tokens != NOTHING).sum(1).max())]
        loss = loss_of_written(self.network(tokens, answers), answers)
        self.log_mean({"train loss": loss})
        return loss

    def configure_optimizers(self) -> Any:
        """Stepped once a batch."""
        return one_cycle(self, torch.optim.Adam(self.parameters(), self.recipe.learning_rate))

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Exploding gradients are cut (Pascanu et al., 2013)."""
        nn.utils.clip_grad_norm_(self.parameters(), 1.0)


@dataclass(frozen=True)
class Seq2Seq(Recipe):
    """Attention encoder-decoder for written dates and numbers."""

    data: str = "phrases"
    """phrases: dates and numbers, by a seeded generator."""
    epochs: int = 3
    """Passes over the training split."""
    batch_size: int = 64
    """Texts of one optimizer step."""
    learning_rate: float = 4e-3
    """Peak of the one-cycle schedule."""
    texts: int = 24000
    """Texts to learn from."""
    width: int = 96
    """Size of the embeddings and of the states of encoder and decoder."""

    serves: ClassVar[tuple[str, ...]] = (
        "tokens -> written, probabilities",
        "seq2seq_encoder: tokens -> memory, first_state",
        "seq2seq_step: tokens, memory, token, state -> probabilities, next_state, attention",
    )
    floors: ClassVar[Mapping[str, Mapping[str, float]]] = {"phrases": {"exact": 99.0}}
    allowed_loss: ClassVar[Mapping[str, AllowedLoss]] = {"exact": AllowedLoss(0.3)}

    def dataset(self) -> Phrases:
        """Texts and their translations."""
        if self.data != "phrases":
            raise ConchError(f"--data {self.data}: no such pairs of texts; known are phrases")
        return phrases(self.texts)

    def trainee(self, data: Phrases) -> TranslatorTrainee:
        """The network with its loss and optimizer."""
        return TranslatorTrainee(Translator(len(data.vocabulary), self.width), self)

    def loaders(self, data: Phrases) -> tuple[DataLoader[Any], None]:
        """Texts int64 [batch, time] and translations int64 [batch, MOST]."""
        return batches(data.train, data.train_answers, size=self.batch_size, shuffle_seed=self.seed), None

    def served(self, trained: TranslatorTrainee, data: Phrases) -> list[Served]:
        """A text to its translation; and its two halves, for a client that decodes."""
        network, vocabulary, seen = trained.network, len(data.vocabulary), 2 * self.width
        length = data.held_out.shape[1]
        tokens = Tensor("tokens", "int64", ("batch", "time"), high=vocabulary - 1)
        memory = ("batch", "time", seen)
        labels = {"probabilities": tuple(json.dumps(character)[1:-1] for character in data.vocabulary)}
        sizes = {"time": (1, 7, length)}
        texts = {"tokens": data.held_out[:EXAMPLES]}
        return [
            Served(
                name=self.name(), module=TranslatingEndpoint(network).eval(), inputs=(tokens,),
                outputs=(
                    Tensor("written", "int64", ("batch", MOST)),
                    Tensor("probabilities", "float32", ("batch", MOST, vocabulary)),
                ),
                examples=texts, labels=labels, sizes=sizes,
            ),
            Served(
                name=f"{self.name()}_encoder", module=EncodingEndpoint(network).eval(), inputs=(tokens,),
                outputs=(Tensor("memory", "float32", memory), Tensor("first_state", "float32", ("batch", self.width))),
                examples=texts, sizes=sizes,
            ),
            Served(
                name=f"{self.name()}_step", module=StepEndpoint(network).eval(),
                inputs=(
                    tokens, Tensor("memory", "float32", memory, low=-1, high=1),
                    Tensor("token", "int64", ("batch", 1), high=vocabulary - 1),
                    Tensor("state", "float32", ("batch", self.width), low=-1, high=1),
                ),
                outputs=(
                    Tensor("probabilities", "float32", ("batch", vocabulary)),
                    Tensor("next_state", "float32", ("batch", self.width)),
                    Tensor("attention", "float32", ("batch", "time")),
                ),
                examples=steps_on_the_way(network, data), labels=labels, sizes=sizes,
            ),
        ]  # fmt: skip

    def score(self, predict: Predict, data: Phrases) -> list[Metric]:
        """Share of held-out texts whose translation is right to the last character."""
        return [share_exact(predict({"tokens": data.held_out})["written"], data.held_out_answers)]

    def picture(self, trained: TranslatorTrainee, predict: Predict, data: Phrases, path: Path) -> None:
        """Where the decoder looks in a few held-out texts, character by character."""
        drawn = []
        for row in range(6):
            tokens = data.held_out[row : row + 1]
            answer = predict({"tokens": tokens})["written"]
            text, translation = data.text(tokens[0]), data.text(answer[0])
            with torch.inference_mode():
                looked = trained.network.decoder.attend(
                    torch.from_numpy(answer), *trained.network.encoder(torch.from_numpy(tokens))
                )
            drawn.append((text, translation, looked[0, : len(translation), : len(text)].numpy()))
        draw_alignments(drawn, path)


def steps_on_the_way(network: Translator, data: Phrases) -> dict[str, np.ndarray]:
    """Inputs of `StepEndpoint`: row i after i of the characters of its translation, begun again where it has ended."""
    texts, answers = (torch.from_numpy(array[:EXAMPLES]) for array in (data.held_out, data.held_out_answers))
    with torch.inference_mode():
        memory, there = network.encoder(texts)
        state, keys, token = network.decoder.begin(memory, there), network.decoder.key(memory), answers[:, 0] * NOTHING
        states, tokens = [], []
        for place in range(MOST):
            states.append(state)
            tokens.append(token)
            _, state, _ = network.decoder.step(token, state, memory, keys, there)
            token = answers[:, place]
    rows = torch.arange(len(texts))
    taken = rows % MOST
    return {
        "tokens": texts.numpy(),
        "memory": memory.numpy(),
        "token": torch.stack(tokens)[taken, rows].unsqueeze(1).numpy(),
        "state": torch.stack(states)[taken, rows].numpy(),
    }
