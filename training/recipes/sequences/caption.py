"""Image captioning: a convolutional encoder and a recurrent decoder that looks at the picture for each word.

    conch train caption
    conch train caption --epochs 20 --width 128

Xu and others, Show, attend and tell: neural image caption generation with visual attention, 2015. Pictures of one to
three digits become "a three above a seven and a one to the left": what is where, in words whose order the picture does
not have. Both networks and the loop over the words are one graph; the labels of its probabilities are the words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn
from torch.utils.data import DataLoader

from conch.contracts.errors import ConchError
from training.attention import AttentionDecoder, loss_of_written, share_exact
from training.checkpoints.drawing import draw_captioned
from training.convolution import convolution
from training.data.batches import batches
from training.data.images import spread
from training.data.scenes import MOST, SIDE, Scenes, scenes
from training.loop.trainee import Trainee, one_cycle
from training.recipe import AllowedLoss, Metric, Predict, Recipe, Served, Tensor

EXAMPLES = 64
END_LABEL = "(end)"  # the label of the token that ends a sentence: an empty one would be no label


class PictureEncoder(nn.Module):
    """Pictures [batch, 1, SIDE, SIDE] in 0..1 to what is seen at each of 6x6 places, [batch, 36, seen]."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            convolution(1, maps, 5, stride=2),
            convolution(maps, 2 * maps, stride=2),
            convolution(2 * maps, 4 * maps),
            convolution(4 * maps, 4 * maps, stride=2),
        )
        self.place = nn.Parameter(torch.randn(1, (SIDE // 8) ** 2, 4 * maps) / 10)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """With each place marked as itself."""
        return self.features(pictures).flatten(2).transpose(1, 2) + self.place


class Captioner(nn.Module):
    """Encoder and decoder."""

    def __init__(self, words: int, maps: int, width: int) -> None:
        super().__init__()
        self.encoder = PictureEncoder(maps)
        self.decoder = AttentionDecoder(words, 4 * maps, width)

    def seen(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """uint8 [batch, SIDE, SIDE, 1] to a memory [batch, 36, seen], of which every place counts."""
        memory = self.encoder(image.permute(0, 3, 1, 2).float() / 255)
        return memory, memory[:, :, 0] == memory[:, :, 0]

    def forward(self, image: torch.Tensor, sentences: torch.Tensor) -> torch.Tensor:
        """Logits [batch, time, words] of each word of the sentences, given the picture and those before it."""
        return self.decoder(sentences, *self.seen(image))


class CaptionEndpoint(nn.Module):
    """A picture in; the words of its sentence, and the probabilities that each was chosen by, out."""

    def __init__(self, network: Captioner) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """uint8 [batch, SIDE, SIDE, 1] to int64 [batch, MOST] and float32 [batch, MOST, words]."""
        return self.network.decoder.write(*self.network.seen(image), MOST)


class CaptionTrainee(Trainee):
    """Cross-entropy of the next word, given the right ones before it."""

    def __init__(self, network: Captioner, recipe: Caption) -> None:
        super().__init__()
        self.network = network
        self.recipe = recipe

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        """Loss of pictures uint8 [batch, SIDE, SIDE, 1] and sentences int64 [batch, MOST]."""
        image, sentences = batch
        loss = loss_of_written(self.network(image, sentences), sentences)
        self.log_mean({"train loss": loss})
        return loss

    def configure_optimizers(self) -> Any:
        """Stepped once a batch."""
        return one_cycle(self, torch.optim.AdamW(self.parameters(), self.recipe.learning_rate, weight_decay=0.05))

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Exploding gradients are cut (Pascanu et al., 2013)."""
        nn.utils.clip_grad_norm_(self.parameters(), 1.0)


@dataclass(frozen=True)
class Caption(Recipe):
    """Sentences that say what is where on a picture."""

    data: str = "scenes"
    """scenes: one to three digits each, by a seeded generator."""
    epochs: int = 10
    """Passes over the training split."""
    batch_size: int = 64
    """Pictures of one optimizer step."""
    learning_rate: float = 4e-3
    """Peak of the one-cycle schedule."""
    pictures: int = 8000
    """Pictures to learn from."""
    maps: int = 16
    """Feature maps of the first convolution; the last has four times as many."""
    width: int = 96
    """Size of the words' embeddings and of the decoder's state."""

    serves: ClassVar[tuple[str, ...]] = ("image -> written, probabilities",)
    floors: ClassVar[Mapping[str, Mapping[str, float]]] = {"scenes": {"exact": 95.0}}
    allowed_loss: ClassVar[Mapping[str, AllowedLoss]] = {"exact": AllowedLoss(0.5)}

    def dataset(self) -> Scenes:
        """Pictures and their sentences."""
        if self.data != "scenes":
            raise ConchError(f"--data {self.data}: no such captioned pictures; known are scenes")
        return scenes(self.pictures)

    def trainee(self, data: Scenes) -> CaptionTrainee:
        """The network with its loss and optimizer."""
        return CaptionTrainee(Captioner(len(data.words), self.maps, self.width), self)

    def loaders(self, data: Scenes) -> tuple[DataLoader[Any], None]:
        """Pictures uint8 [batch, SIDE, SIDE, 1] and sentences int64 [batch, MOST]."""
        return batches(data.train, data.train_sentences, size=self.batch_size, shuffle_seed=self.seed), None

    def served(self, trained: CaptionTrainee, data: Scenes) -> list[Served]:
        """One endpoint: a picture to its sentence."""
        words = len(data.words)
        return [
            Served(
                name=self.name(),
                module=CaptionEndpoint(trained.network).eval(),
                inputs=(Tensor("image", "uint8", ("batch", SIDE, SIDE, 1)),),
                outputs=(
                    Tensor("written", "int64", ("batch", MOST)),
                    Tensor("probabilities", "float32", ("batch", MOST, words)),
                ),
                examples={"image": data.held_out[:EXAMPLES]},
                calibration={"image": spread(data.train, EXAMPLES)},
                labels={"probabilities": tuple(word or END_LABEL for word in data.words)},
                preparation=data.preparation,
            )
        ]

    def score(self, predict: Predict, data: Scenes) -> list[Metric]:
        """Share of held-out pictures whose sentence is right to the last word."""
        return [share_exact(predict({"image": data.held_out})["written"], data.held_out_sentences)]

    def samples(self, predict: Predict, data: Scenes, path: Path) -> None:
        """Held-out pictures, and what is said of them."""
        written = predict({"image": data.held_out[:12]})["written"]
        draw_captioned(data.held_out[:12], [data.sentence(row) for row in written], path)
