"""Imports what the `torch` extra brings, or says how to install it."""

from __future__ import annotations

try:
    import safetensors.torch as safetensors_torch
    import torch
except ImportError as error:
    raise ImportError(
        f"{error.name} is not installed, and the state-conditioned retriever needs it; "
        "install it with: pip install 'sightline-retrieval[torch]'"
    ) from error

__all__ = ["safetensors_torch", "torch"]
