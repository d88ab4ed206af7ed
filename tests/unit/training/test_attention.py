"""What an attention decoder writes does not depend on what shares its batch, and a text not on its padding."""

from pathlib import Path

import numpy as np
import pytest
import torch

from export.proof.prove import convert_and_compare
from training.attention import NOTHING, AttentionDecoder, loss_of_written
from training.data.phrases import Phrases, in_words, phrases
from training.data.scenes import DIGITS, MOST, scenes
from training.recipe import Served, Tensor
from training.recipes.sequences.seq2seq import StepEndpoint, TextEncoder, Translator, steps_on_the_way

VOCABULARY, SEEN, WIDTH, PLACES = 7, 6, 8, 5


@pytest.fixture
def decoder() -> AttentionDecoder:
    torch.manual_seed(0)
    return AttentionDecoder(VOCABULARY, SEEN, WIDTH).eval()


class Writing(torch.nn.Module):
    """A memory in, a text out."""

    def __init__(self, decoder: AttentionDecoder, most: int) -> None:
        super().__init__()
        self.decoder, self.most = decoder, most

    def forward(self, memory: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """float32 [batch, PLACES, SEEN], of which all places count."""
        return self.decoder.write(memory, memory[:, :, 0] == memory[:, :, 0], self.most)


@torch.inference_mode()
def test_a_row_ends_by_itself_and_is_what_its_logits_say(decoder: AttentionDecoder) -> None:
    memory, there = torch.randn(24, PLACES, SEEN) * 3, torch.ones(24, PLACES, dtype=torch.bool)
    written, probabilities = decoder.write(memory, there, 9)
    ended = (written == NOTHING).any(1)
    assert 0 < ended.sum() < 24, "some end and some do not: both are proven"
    for row, (text, chances) in enumerate(zip(written, probabilities, strict=True)):
        alone, _ = decoder.write(memory[row : row + 1], there[:1], 9)
        assert torch.equal(alone[0], text)
        length = int((text != NOTHING).sum())
        assert (text[length:] == NOTHING).all()
        again = decoder(text.unsqueeze(0), memory[row : row + 1], there[:1])[0].softmax(1)
        torch.testing.assert_close(chances[: length + 1], again[: length + 1])
        assert not chances[length + 1 :].any()


@pytest.mark.slow
def test_the_graph_loops_until_all_have_ended(decoder: AttentionDecoder, tmp_path: Path) -> None:
    import onnx

    memory = np.random.default_rng(0).normal(0, 3, (16, PLACES, SEEN)).astype(np.float32)
    served = Served(
        "writing", Writing(decoder, 9).eval(), (Tensor("memory", "float32", ("batch", PLACES, SEEN), low=-3, high=3),),
        (Tensor("written", "int64", ("batch", 9)), Tensor("probabilities", "float32", ("batch", 9, VOCABULARY))),
        {"memory": memory}, largest_batch=3,
    )  # fmt: skip
    proof = convert_and_compare(served, tmp_path / "model.onnx", "dynamo")
    assert not proof.failures
    assert [node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node].count("Loop") == 1


def test_what_stands_behind_the_end_is_not_learnt() -> None:
    logits = torch.randn(1, 4, VOCABULARY)
    tokens = torch.tensor([[3, NOTHING, NOTHING, NOTHING]])
    wanted = -logits.log_softmax(2)[0, [0, 1], [3, NOTHING]].mean()
    torch.testing.assert_close(loss_of_written(logits, tokens), wanted)


@torch.inference_mode()
def test_padding_changes_nothing_of_a_text() -> None:
    encoder = TextEncoder(VOCABULARY, WIDTH).eval()
    text = torch.tensor([[2, 5, 1]])
    alone, _ = encoder(text)
    padded, there = encoder(torch.tensor([[2, 5, 1, 0, 0], [1, 1, 1, 1, 1]]))
    torch.testing.assert_close(padded[:1, :3], alone)
    assert there[0].tolist() == [True] * 3 + [False] * 2
    turned, _ = encoder(text.flip(1))
    assert not torch.allclose(turned.flip(1), alone), "it would read in one direction only"


@pytest.fixture(scope="module")
def texts() -> Phrases:
    return phrases(300)


@torch.inference_mode()
def test_the_examples_of_a_step_are_states_on_the_way(texts: Phrases) -> None:
    network = Translator(len(texts.vocabulary), WIDTH).eval()
    steps = {name: torch.from_numpy(array) for name, array in steps_on_the_way(network, texts).items()}
    probabilities, _, _ = StepEndpoint(network)(**steps)
    whole = network(*(torch.from_numpy(array[:64]) for array in (texts.held_out, texts.held_out_answers)))
    rows = torch.arange(64)
    torch.testing.assert_close(probabilities, whole.softmax(2)[rows, rows % 10])


def test_dates_and_numbers_are_written_as_they_are_meant(texts: Phrases) -> None:
    assert in_words(7042, True) == "seven thousand and forty-two"
    assert in_words(7342, True) == "seven thousand three hundred and forty-two"
    assert in_words(10, False) == "ten"
    assert in_words(900, False) == "nine hundred"
    learnt = {texts.text(row) for row in texts.train_answers}
    assert not learnt & {texts.text(row) for row in texts.held_out_answers}
    assert texts.sha256 == phrases(300).sha256 != phrases(299).sha256


def test_a_sentence_says_where_the_ink_is() -> None:
    made = scenes(40)
    assert made.held_out_sentences.shape[1] == MOST
    for picture, row in zip(made.held_out[:100, ..., 0], made.held_out_sentences[:100], strict=True):
        words = made.sentence(row).split()
        names = [word for word in words if word in DIGITS]
        across, down = (picture > 96).sum(0), (picture > 96).sum(1)
        if len(names) == 2:
            side_by_side = np.minimum(across[:20].sum(), across[-20:].sum()) > 20 and "left" in words
            one_above = np.minimum(down[:20].sum(), down[-20:].sum()) > 20 and "above" in words
            assert side_by_side != one_above
