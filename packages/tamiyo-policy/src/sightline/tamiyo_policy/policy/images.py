"""Convolutions for the parts of an observation that are images.

Knows nothing about what is learned from them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sightline.tamiyo_policy.policy.records import ImageColumns, InputShape
from sightline.tamiyo_policy.policy.recurrence import initialise_linear

_CHANNELS = (16, 32, 64, 64)
_SMALLEST_SIDE = 5  # images are halved until a side has fewer pixels, or channels run out


class ImageEncoder(nn.Module):
    """Puts a vector of features in the place of each image, [..., D] to [..., `size`]; other columns stay.

    Each image has convolutions of its own, 3 x 3 with stride 2 and ReLU, as many as it takes to make it small, and a
    linear layer. One rule serves all sizes: 84 x 84 pixels take four convolutions, 8 x 8 take one.

    Args:
        inputs: which columns are images.
        width: features of each image.
        generator: draws the weights, orthogonal; None is torch's default.

    Attributes:
        size: columns that come out.
    """

    def __init__(self, inputs: InputShape, width: int, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self._images = inputs.images
        self._features = inputs.features
        self.towers = nn.ModuleList(_tower(image, width, generator) for image in inputs.images)
        pixels = sum(image.stop - image.start for image in inputs.images)
        self.size = inputs.features - pixels + width * len(inputs.images)

    def forward(self, state: Tensor) -> Tensor:
        """Return [..., `size`] for observations [..., D]: what lies between the images, and their features."""
        parts, at = [], 0
        for image, tower in zip(self._images, self.towers, strict=True):
            parts.append(state[..., at : image.start])
            pixels = state[..., image.start : image.stop].reshape(-1, image.stop - image.start) / 255.0
            if image.channels_last:
                batch = pixels.unflatten(1, (image.height, image.width, image.channels)).movedim(-1, 1)
            else:
                batch = pixels.unflatten(1, (image.channels, image.height, image.width))
            parts.append(tower(batch).reshape(*state.shape[:-1], -1))
            at = image.stop
        parts.append(state[..., at : self._features])
        return torch.cat(parts, dim=-1)


def _tower(image: ImageColumns, width: int, generator: torch.Generator | None) -> nn.Sequential:
    layers: list[nn.Module] = []
    height, broad, before = image.height, image.width, image.channels
    for channels in _CHANNELS:
        layer = nn.Conv2d(before, channels, kernel_size=3, stride=2, padding=1)
        nn.init.orthogonal_(layer.weight, 2**0.5, generator=generator)
        assert layer.bias is not None
        nn.init.zeros_(layer.bias)
        layers += [layer, nn.ReLU()]
        height, broad, before = (height + 1) // 2, (broad + 1) // 2, channels
        if min(height, broad) < _SMALLEST_SIDE:
            break
    last = nn.Linear(height * broad * before, width)
    initialise_linear(last, 2**0.5, generator)
    return nn.Sequential(*layers, nn.Flatten(), last, nn.ReLU())
