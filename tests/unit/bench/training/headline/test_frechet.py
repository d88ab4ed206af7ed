"""The Frechet distance against its closed form, and the features it is taken in."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from conch.contracts.errors import ConchError
from tests.bench.training.headline.frechet import features, frechet_distance
from training.classifier import to_unit_range
from training.data.images import digits
from training.recipes.autoencoder import Autoencoder
from training.recipes.cnn import CNN, LeNet5


def gaussian(mean: NDArray[np.float64], covariance: NDArray[np.float64], seed: int) -> NDArray[np.float32]:
    """400 points whose mean and covariance are just these."""
    points = np.random.default_rng(seed).standard_normal((400, len(mean)))
    points -= points.mean(0)
    white = points @ np.linalg.inv(np.linalg.cholesky(np.cov(points.T))).T
    return (white @ np.linalg.cholesky(covariance).T + mean).astype(np.float32)


def test_equal_covariances_leave_the_means() -> None:
    covariance = np.array([[2.0, 0.5], [0.5, 1.0]])
    one, other = gaussian(np.zeros(2), covariance, 1), gaussian(np.array([3.0, -4.0]), covariance, 2)
    assert frechet_distance(one, other) == pytest.approx(25, abs=1e-3)


def test_diagonal_covariances_leave_the_deviations() -> None:
    one = gaussian(np.ones(3), np.diag([1.0, 4.0, 9.0]), 1)
    other = gaussian(np.ones(3), np.diag([9.0, 4.0, 1.0]), 2)
    assert frechet_distance(one, other) == pytest.approx(2**2 + 0 + 2**2, abs=1e-3)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-5)


def test_a_dead_feature_does_no_harm() -> None:
    points = np.pad(gaussian(np.zeros(2), np.eye(2), 1), ((0, 0), (0, 3)))
    assert frechet_distance(points, points) == pytest.approx(0, abs=1e-5)


def test_features_are_what_the_last_layer_sees() -> None:
    data = digits()
    trained = CNN().trainee(data).eval()
    found = features(trained, data.held_out[:7])
    network = trained.network
    assert isinstance(network, LeNet5)
    with torch.inference_mode():
        hidden = network.classifier[:-1](network.features(to_unit_range(torch.from_numpy(data.held_out[:7]))))
    assert found.shape == (7, 84)
    assert np.allclose(found, hidden.numpy(), atol=1e-6)


def test_features_of_no_classifier_are_refused() -> None:
    data = digits()
    with pytest.raises(ConchError, match="features need a classifier, this is a AutoencoderTrainee"):
        features(Autoencoder().trainee(data), data.held_out[:1])
