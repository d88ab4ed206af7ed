"""What the scores and graphs of generative networks rest on, by cases whose answers are known."""

import numpy as np
import pytest
import torch

from training.data.images import digits
from training.data.ratings import GAP, ratings
from training.disentanglement import mutual_information_gap
from training.recipes.generative.conditional_gan import ConditionalEndpoint, Generator, deviation
from training.recipes.generative.pix2pix import outlined
from training.recipes.generative.recommender import AutoRec, by_means, rmse

FACTORS = np.random.default_rng(0).integers(0, 4, (4000, 2)).astype(np.float32)


@pytest.mark.parametrize(
    ("codes", "gap"),
    [
        (FACTORS, 1),  # each factor a number of its own
        (np.concatenate([FACTORS, FACTORS], 1), 0),  # each said twice
        (FACTORS @ [[1.0, 1.0], [4.0, -4.0]], 0),  # both numbers say both
        (np.random.default_rng(1).standard_normal((4000, 2)), 0),
        (np.stack([FACTORS[:, 0], np.zeros(4000)], 1), 0.5),  # one known, one not
    ],
)
def test_the_gap_is_that_of_a_code_whose_meaning_is_known(codes: np.ndarray, gap: float) -> None:
    assert mutual_information_gap(codes, FACTORS) == pytest.approx(gap, abs=0.02)


def test_a_factor_without_steps_is_told_by_as_many_bins_as_others() -> None:
    factors = np.random.default_rng(0).uniform(9, 23, (4000, 2)).astype(np.float32)
    assert mutual_information_gap(factors, factors) > 0.95
    assert mutual_information_gap(factors[:, ::-1], factors) > 0.95


def test_a_gap_in_the_ratings_says_nothing_whether_it_is_0_or_no_number() -> None:
    network = AutoRec(torch.tensor([3.0, 2.0, 4.0]), code=8)
    zero, nan, low = network(torch.tensor([[0.0, 5.0, 1.0], [float("nan"), 5.0, 1.0], [1.0, 5.0, 1.0]]))
    assert torch.equal(zero, nan)
    assert not torch.allclose(zero, low)


def test_what_is_asked_was_not_shown_and_the_means_know_people_and_things() -> None:
    data = ratings(people=300, held_out=100, things=40)
    assert not ((data.shown != GAP) & (data.asked != GAP)).any()
    assert (data.asked != GAP).sum() > 100
    constant = np.full(data.asked.shape, data.train[data.train != GAP].mean())
    assert rmse(by_means(data), data.asked) < rmse(constant, data.asked)
    assert rmse(data.asked, data.asked) == 0


def test_an_outline_is_thin_and_closed_over_where_there_is_no_ink() -> None:
    image = np.zeros((1, 8, 8, 1), np.uint8)
    image[0, 2:7, 2:7] = 200
    expected = np.zeros((8, 8), np.uint8)
    expected[2:7, 2:7] = 255
    expected[3:6, 3:6] = 0
    np.testing.assert_array_equal(outlined(image)[0, ..., 0], expected)


def test_a_label_that_is_none_is_refused_on_either_end() -> None:
    endpoint = ConditionalEndpoint(Generator(4, 8, 8, 1, 2, labels=3), 3).eval()
    latent = torch.zeros(1, 4)
    assert endpoint(torch.tensor([[2]]), latent).shape == (1, 8, 8, 1)
    for label in (-1, 3):
        with pytest.raises(IndexError):
            endpoint(torch.tensor([[label]]), latent)


def test_drawing_the_same_again_and_again_is_no_variety() -> None:
    data = digits()
    same = data.held_out[[int(np.flatnonzero(data.held_out_labels == label)[0]) for label in data.held_out_labels]]
    assert deviation(same, data.held_out_labels) == pytest.approx(0, abs=1e-9)
    assert deviation(data.held_out, data.held_out_labels) > 0.1
