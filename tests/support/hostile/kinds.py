"""All kinds, mixed."""

import random

from tests.support.hostile import over_grpc, over_http
from tests.support.hostile.attack import Attack, Maker
from tests.support.hostile.drawn import attacks as drawn

MAKERS: tuple[Maker, ...] = (*over_http.MAKERS, *over_grpc.MAKERS)


def mixed(of_each: int, seed: int) -> list[Attack]:
    """So many of each kind, those of hypothesis among them, in an order that the seed decides."""
    rng = random.Random(seed)
    found = [make(rng) for make in MAKERS for _ in range(of_each)] + drawn(of_each, seed)
    rng.shuffle(found)
    return found
