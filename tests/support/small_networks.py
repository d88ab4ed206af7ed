"""The networks beyond the demo's five at a size that trains in a second or two: real weights that are not good."""

from collections.abc import Mapping
from typing import Any

from training.catalogue import find_recipe
from training.recipe import Recipe

SMALL: Mapping[str, Mapping[str, Any]] = {
    "alexnet": {"epochs": 1},
    "boltzmann": {"epochs": 1, "hidden": 1},
    "caption": {"epochs": 1, "pictures": 256, "maps": 4, "width": 16},
    "conditional_gan": {"epochs": 1, "maps": 4, "batch_size": 128},
    "dcign": {"epochs": 1, "width": 8, "batch_size": 64},
    "deconvolution": {"epochs": 1, "width": 8, "batch_size": 512},
    "deep_belief": {"epochs": 3, "unsupervised": 1, "width": 16},
    "densenet": {"epochs": 1, "growth": 2},
    "detector": {"epochs": 1, "maps": 2, "batch_size": 32},
    "echo_state": {"units": 16},
    "elm": {"width": 32},
    "embedding": {"epochs": 1},
    "googlenet": {"epochs": 1},
    "gru": {"epochs": 1, "width": 16, "batch_size": 512},
    "hopfield": {"turns": 2},
    "kohonen": {"epochs": 2, "side": 4},
    "liquid_state": {"neurons": 16},
    "markov_chain": {},
    "mlp": {"epochs": 1, "width": 32},
    "perceptron": {"epochs": 2},
    "pix2pix": {"epochs": 1, "maps": 4, "batch_size": 128},
    "rbf": {"epochs": 2, "centres": 16},
    "rbm": {"epochs": 1, "hidden": 16},
    "recommender": {"epochs": 1, "code": 4, "batch_size": 256},
    "rnn": {"epochs": 1, "width": 16, "batch_size": 512},
    "seq2seq": {"epochs": 1, "texts": 512, "width": 16},
    "sparse_autoencoder": {"epochs": 1},
    "style": {"epochs": 1, "maps": 2, "patches": 16},
    "superresolution": {"epochs": 1, "maps": 8, "patches": 64},
    "svm": {"epochs": 1, "random_features": 16},
    "taxi": {"epochs": 1, "steps": 100, "width": 16},
    "turing_machine": {"epochs": 1, "longest": 2, "slots": 5, "cell": 4, "hidden": 4},
    "unet": {"epochs": 1, "maps": 2, "batch_size": 32},
    "vae": {"epochs": 1, "code": 3, "batch_size": 256},
    "vgg": {"epochs": 1, "maps": 4},
}
"""By network the settings that make it small; the checkpoints that a network reads are named by READS."""

READS: Mapping[str, str] = {"conditional_gan": "cnn", "pix2pix": "cnn", "style": "vgg"}
"""By network the shipped recipe whose checkpoint it reads."""


def small_network(name: str) -> Recipe:
    """The recipe at its small size."""
    return find_recipe(name)(**SMALL[name])
