"""The images a growth experiment trains on, cut into tokens and split into training, validation and test parts.

Knows nothing about hosts, seeds or rewards. Any classification data in the same form can take its place.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TRAIN_SIZE = 1000
VALIDATION_SIZE = 300
PATCH = 2


@dataclass(frozen=True)
class Split:
    """One part of a data set."""

    inputs: NDArray[np.float32]
    """[N, C, S] float32, C channels of each of S tokens."""
    labels: NDArray[np.int64]
    """[N] int64 class indices."""

    def __post_init__(self) -> None:
        if self.inputs.ndim != 3 or self.inputs.dtype != np.float32:
            raise ValueError(f"inputs must be float32 [N, C, S], got {self.inputs.dtype} {self.inputs.shape}")
        if self.labels.shape != self.inputs.shape[:1] or self.labels.dtype != np.int64:
            raise ValueError(
                f"labels must be int64 [{self.inputs.shape[0]}], got {self.labels.dtype} {self.labels.shape}"
            )
        if len(self.labels) == 0:
            raise ValueError("a split needs at least one sample")

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class ClassificationData:
    """Tokenised samples in three parts."""

    train: Split
    """What hosts and seeds are fitted to."""
    validation: Split
    """What rewards and counterfactuals are measured on."""
    test: Split
    """Read by final reports only."""
    num_classes: int
    """Number of classes; labels lie in [0, num_classes)."""

    def __post_init__(self) -> None:
        for name in ("train", "validation", "test"):
            split: Split = getattr(self, name)
            if split.inputs.shape[1:] != self.train.inputs.shape[1:]:
                raise ValueError(f"{name} tokens are {split.inputs.shape[1:]}, train's {self.train.inputs.shape[1:]}")
            if split.labels.min() < 0 or split.labels.max() >= self.num_classes:
                raise ValueError(f"{name} labels must lie in [0, {self.num_classes})")

    @property
    def channels(self) -> int:
        """C, the channels of one token."""
        return self.train.inputs.shape[1]

    @property
    def tokens(self) -> int:
        """S, the tokens of one sample."""
        return self.train.inputs.shape[2]


def patches(images: NDArray[np.float32], patch: int = PATCH) -> NDArray[np.float32]:
    """Cut square images into non-overlapping square patches.

    Args:
        images: [N, side, side] float32.
        patch: side of a patch in pixels; it must divide the side of the image.

    Returns:
        [N, patch * patch, tokens] float32, tokens in reading order.

    Raises:
        ValueError: if the patch does not divide the image.
    """
    count, height, width = images.shape
    if height % patch or width % patch:
        raise ValueError(f"patches of {patch} do not divide images of {height} x {width}")
    grid = images.reshape(count, height // patch, patch, width // patch, patch)
    return np.ascontiguousarray(grid.transpose(0, 2, 4, 1, 3).reshape(count, patch * patch, -1))


def split_images(
    images: NDArray[np.float32], labels: NDArray[np.int64], *, train: int, validation: int, seed: int
) -> ClassificationData:
    """Shuffle, split and tokenise images, scaled by the mean and standard deviation of the training part.

    Args:
        images: [N, side, side] float32.
        labels: [N] int64.
        train: samples of the training part.
        validation: samples of the validation part; the remainder is the test part.
        seed: seed of the shuffle.

    Returns:
        The three parts, each token 2 x 2 pixels.

    Raises:
        ValueError: if no sample is left for the test part.
    """
    if train + validation >= len(labels):
        raise ValueError(f"{train} + {validation} samples leave none of {len(labels)} for the test part")
    order = np.random.default_rng(seed).permutation(len(labels))
    mean = images[order[:train]].mean()
    deviation = images[order[:train]].std()
    tokens = patches(((images - mean) / deviation).astype(np.float32))
    parts = [Split(tokens[part], labels[part]) for part in np.split(order, [train, train + validation])]
    return ClassificationData(*parts, num_classes=int(labels.max()) + 1)


def digits_data(seed: int = 0) -> ClassificationData:
    """Return the 1,797 handwritten 8 x 8 digits that come with scikit-learn: 1,000 / 300 / 497 samples of 16 tokens.

    Args:
        seed: seed of the split; runs that are compared must share it.

    Returns:
        The data; nothing is downloaded.

    Raises:
        ImportError: if scikit-learn is missing.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            "the digits come with scikit-learn: pip install 'sightline-tamiyo-policy[digits]', or pass your own data"
        ) from error
    pixels, labels = load_digits(return_X_y=True)
    images = np.asarray(pixels, np.float32).reshape(-1, 8, 8)
    return split_images(images, np.asarray(labels, np.int64), train=TRAIN_SIZE, validation=VALIDATION_SIZE, seed=seed)
