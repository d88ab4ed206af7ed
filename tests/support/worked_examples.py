"""The modules of the lecture notes' worked examples, as a user would write them for `conch export module`."""

import torch
from torch import nn
from torch.nn import functional

KERNEL = ((1, 0, 1), (0, 1, 0), (1, 0, 1))


class Convolution(nn.Module):
    """An image float32 [batch, 6, 6] under `KERNEL`, without padding and with zeros around: [4, 4] and [6, 6]."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Conv2d(1, 1, 3, bias=False)
        self.padded = nn.Conv2d(1, 1, 3, padding=1, bias=False)
        for layer in (self.inside, self.padded):
            layer.weight.data = torch.tensor(KERNEL, dtype=torch.float32)[None, None]

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """float32 [batch, 6, 6] to [batch, 4, 4] and [batch, 6, 6]."""
        return self.inside(image[:, None])[:, 0], self.padded(image[:, None])[:, 0]


class Pooling(nn.Module):
    """The greatest of each 2x2 field."""

    def forward(self, map: torch.Tensor) -> torch.Tensor:
        """float32 [batch, 4, 4] to [batch, 2, 2]."""
        return functional.max_pool2d(map[:, None], 2)[:, 0]
