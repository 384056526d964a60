from __future__ import annotations

import os

import pytest

from sightline.retrieval import HashingEncoder, SentenceTransformerEncoder

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports the Hub's client


@pytest.fixture
def hashing() -> HashingEncoder:
    return HashingEncoder(64)


@pytest.fixture(scope="session")
def minilm() -> SentenceTransformerEncoder:
    return SentenceTransformerEncoder(precision="float32")
