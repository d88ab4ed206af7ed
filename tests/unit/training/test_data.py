"""The embedded data sets."""

import numpy as np

from training.data.images import digits, every_nth_of_each_class
from training.data.text import manual, tokenize


def test_digits_are_uint8_images_with_every_class_held_out() -> None:
    data = digits()
    assert data.train.shape == (1442, 28, 28, 1)
    assert data.train.dtype == np.uint8
    assert data.train.max() == 255
    assert set(data.held_out_labels) == set(range(10))
    assert len(data.train) + len(data.held_out) == 1797


def test_the_split_is_the_same_each_time_and_shares_no_image() -> None:
    one, other = digits(), digits()
    assert one.sha256 == other.sha256
    trained = {image.tobytes() for image in one.train}
    assert sum(image.tobytes() in trained for image in one.held_out) == 0


def test_every_nth_takes_the_same_share_of_each_class() -> None:
    labels = np.array([0] * 10 + [1] * 5)
    chosen = every_nth_of_each_class(labels, 5)
    assert chosen.sum() == 3
    assert chosen[[4, 9, 14]].all()


def test_text_tokens_read_back_and_the_end_is_held_out() -> None:
    text = "abc " * 25
    data = tokenize("toy", text)
    read = "".join(data.vocabulary[token] for token in np.concatenate([data.train, data.held_out]))
    assert read == text
    assert len(data.held_out) == 10
    assert data.vocabulary == (" ", "a", "b", "c")


def test_the_manual_is_english_text() -> None:
    data = manual()
    assert len(data.train) > 300_000
    assert "e" in data.vocabulary
    assert data.train.max() < len(data.vocabulary)
