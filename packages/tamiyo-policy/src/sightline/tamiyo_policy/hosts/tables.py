"""Tables of numbers as growth problems: rows become a few tokens of four numbers each.

Knows nothing about hosts, seeds or rewards.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sightline.tamiyo_policy.hosts.digits import ClassificationData, Split

TABLES = ("wine", "breast_cancer")
TOKEN = 4
_TRAIN_SHARE, _VALIDATION_SHARE = 0.5, 0.2


def table_tokens(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cut rows into tokens of `TOKEN` numbers, the last filled up with zeros.

    Args:
        rows: [N, F] float32.

    Returns:
        [N, TOKEN, S] float32, columns in their order.
    """
    padded = np.pad(rows, ((0, 0), (0, -rows.shape[1] % TOKEN)))
    return np.ascontiguousarray(padded.reshape(len(rows), -1, TOKEN).transpose(0, 2, 1))


def split_table(features: NDArray[np.float64], labels: NDArray[np.int64], *, seed: int) -> ClassificationData:
    """Shuffle, split and tokenise a table, every column scaled by the training part: 50, 20 and 30 percent of the rows.

    Args:
        features: [N, F] float64.
        labels: [N] int64.
        seed: seed of the shuffle.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    cuts = [round(_TRAIN_SHARE * len(labels)), round((_TRAIN_SHARE + _VALIDATION_SHARE) * len(labels))]
    train = features[order[: cuts[0]]]
    deviation = train.std(0)
    scaled = (features - train.mean(0)) / np.where(deviation > 0, deviation, 1.0)
    tokens = table_tokens(scaled.astype(np.float32))
    parts = [Split(tokens[part], labels[part]) for part in np.split(order, cuts)]
    return ClassificationData(*parts, num_classes=int(labels.max()) + 1)


def table_data(name: str, seed: int = 0) -> ClassificationData:
    """Return a table that comes with scikit-learn.

    Args:
        name: "wine" (178 rows, 13 columns, 3 classes) or "breast_cancer" (569 rows, 30 columns, 2 classes).
        seed: seed of the split; runs that are compared must share it.

    Returns:
        The data; nothing is downloaded.

    Raises:
        ValueError: for another name.
        ImportError: if scikit-learn is missing.
    """
    if name not in TABLES:
        raise ValueError(f"unknown table {name[:40]!r}; it is one of {TABLES}")
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ImportError(
            "the tables come with scikit-learn: pip install 'sightline-tamiyo-policy[digits]', or pass your own data"
        ) from error
    load = datasets.load_wine if name == "wine" else datasets.load_breast_cancer
    features, labels = load(return_X_y=True)
    return split_table(np.asarray(features, np.float64), np.asarray(labels, np.int64), seed=seed)
