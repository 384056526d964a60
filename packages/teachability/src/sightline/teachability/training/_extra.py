"""The libraries of the extra `training`, or the error that says how to install them."""

from __future__ import annotations

try:
    import peft
    import safetensors
    import torch
    import transformers
except ImportError as error:
    raise ImportError("training needs an extra: pip install 'sightline-teachability[training]'") from error

__all__ = ["peft", "safetensors", "torch", "transformers"]
