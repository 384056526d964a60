from __future__ import annotations

import pytest
import torch

from sightline.tamiyo_policy.policy.images import ImageEncoder
from sightline.tamiyo_policy.policy.records import ImageColumns, InputShape


def encoder(image: ImageColumns, features: int) -> ImageEncoder:
    return ImageEncoder(InputShape(features, images=(image,)), 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("height", "width", "channels"), [(8, 8, 1), (8, 30, 3), (84, 84, 4), (210, 160, 3)])
def test_images_of_any_size_become_as_many_features(height: int, width: int, channels: int) -> None:
    pixels = height * width * channels
    image = ImageColumns(2, height=height, width=width, channels=channels, channels_last=True)
    module = encoder(image, pixels + 5)
    rows = torch.arange(2.0 * (pixels + 5)).reshape(2, 1, -1) % 256
    encoded = module(rows)
    assert encoded.shape == (2, 1, module.size) == (2, 1, 2 + 6 + 3)
    assert torch.equal(encoded[..., :2], rows[..., :2])
    assert torch.equal(encoded[..., -3:], rows[..., -3:])


def test_both_orders_of_channels_show_the_same_picture() -> None:
    picture = torch.randint(0, 256, (8, 10, 3), generator=torch.Generator().manual_seed(1)).float()
    last, first = (ImageColumns(0, height=8, width=10, channels=3, channels_last=order) for order in (True, False))
    seen = encoder(last, 240)(picture.reshape(1, -1)), encoder(first, 240)(picture.movedim(-1, 0).reshape(1, -1))
    torch.testing.assert_close(*seen)
