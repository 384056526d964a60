"""A retriever that ranks chunks of text by what an agent knows rather than by what a user typed.

It maps a condition vector (an agent's recurrent state, an instruction's embedding, or both side by side) to a query in
the space of the chunk embeddings. It does not know where either of them comes from.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sightline.retrieval._torch import safetensors_torch, torch
from sightline.retrieval.conditioned.model_card import model_card
from sightline.retrieval.conditioned.page_attention import PageAttention
from sightline.retrieval.conditioned.records import RetrieverConfig, TrainingResult
from sightline.retrieval.files import atomic_file
from sightline.retrieval.jsonl import parse_record

if TYPE_CHECKING:
    from sightline.retrieval.text.protocol import TextEncoder

_CONFIG_FILE = "config.json"
_WEIGHTS_FILE = "model.safetensors"
_CARD_FILE = "README.md"


class StateConditionedRetriever(torch.nn.Module):
    """Scores chunks by `cosine(project(condition), chunk) + importance(chunk)`, and attention over the page if wanted.

    The importance head starts at zero, so that an untrained retriever ranks by its query alone. Weights are drawn from
    a generator of their own: the same seed gives the same retriever, and the global random state is left as it was.

    Args:
        condition_dim: C, length of a condition vector.
        chunk_dim: D, length of a chunk embedding.
        hidden_dim: width of the hidden layer of the query projection; None for a linear projection.
        importance: True for an importance head.
        page_width: width of `PageAttention` over the chunks of a page; None for judging every chunk alone.
        text_encoder: name of the encoder of the chunks, see `check_encoder`; None for any.
        seed: seed of the initial weights.

    Raises:
        pydantic.ValidationError: a dimension is not positive.
    """

    def __init__(
        self,
        condition_dim: int,
        chunk_dim: int = 384,
        *,
        hidden_dim: int | None = None,
        importance: bool = True,
        page_width: int | None = None,
        text_encoder: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.config = RetrieverConfig(
            condition_dim=condition_dim,
            chunk_dim=chunk_dim,
            hidden_dim=hidden_dim,
            importance=importance,
            page_width=page_width,
            text_encoder=text_encoder,
        )
        generator = torch.Generator().manual_seed(seed)
        if hidden_dim is None:
            self.query_proj: torch.nn.Module = _linear(condition_dim, chunk_dim, generator)
        else:
            self.query_proj = torch.nn.Sequential(
                _linear(condition_dim, hidden_dim, generator),
                torch.nn.GELU(),
                _linear(hidden_dim, chunk_dim, generator),
            )
        self.importance_head: torch.nn.Linear | None = None
        if importance:
            self.importance_head = _linear(chunk_dim, 1, generator)
            torch.nn.init.zeros_(self.importance_head.weight)
        self.page_attention: PageAttention | None = None
        if page_width is not None:
            self.page_attention = PageAttention(condition_dim, chunk_dim, page_width, seed=seed)

    def check_encoder(self, encoder: TextEncoder) -> None:
        """Make sure that the retriever can rank the vectors of an encoder.

        Raises:
            ValueError: it was made for those of another one.
        """
        wanted = self.config.text_encoder or encoder.name, self.config.chunk_dim
        if (encoder.name, encoder.dimension) != wanted:
            raise ValueError(
                f"the retriever was made for text encoder {wanted[0]!r} with {wanted[1]} dimensions and cannot rank "
                f"the vectors of {encoder.name!r} with {encoder.dimension}; use the former, or train another retriever"
            )

    def query(self, condition: torch.Tensor) -> torch.Tensor:
        """Map conditions `[B, C]` to unit queries `[B, D]`.

        Raises:
            ValueError: the shape of the conditions is another one.
        """
        if condition.ndim != 2 or condition.shape[1] != self.config.condition_dim:
            raise ValueError(
                f"conditions must have shape [B, {self.config.condition_dim}], not {list(condition.shape)}; "
                "the retriever was made with that condition_dim"
            )
        return torch.nn.functional.normalize(self.query_proj(condition), dim=-1)

    def scores(self, condition: torch.Tensor, chunks: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Score every candidate chunk of every example.

        Args:
            condition: `[B, C]` float.
            chunks: `[B, n, D]` float embeddings; rows need not have unit length.
            mask: `[B, n]` bool, True where there is a chunk and False where there is padding.

        Returns:
            `[B, n]` float; -inf where masked out. Without importance head and page attention these are cosines.

        Raises:
            ValueError: shapes do not fit together.
        """
        query = self.query(condition)
        if chunks.ndim != 3 or chunks.shape[0] != query.shape[0] or chunks.shape[2] != self.config.chunk_dim:
            raise ValueError(
                f"chunks must have shape [{query.shape[0]}, n, {self.config.chunk_dim}], not {list(chunks.shape)}"
            )
        if mask.shape != chunks.shape[:2] or mask.dtype != torch.bool:
            raise ValueError(
                f"mask must be bool of shape {list(chunks.shape[:2])}, not {mask.dtype} of shape {list(mask.shape)}"
            )
        unit = torch.nn.functional.normalize(chunks, dim=-1)
        scores = torch.einsum("bd,bnd->bn", query, unit) + self._importance(unit)
        if self.page_attention is not None:
            scores = scores + self.page_attention(condition, unit, scores, mask)
        return scores.masked_fill(~mask, -torch.inf)

    def shared_scores(self, condition: torch.Tensor, chunks: torch.Tensor) -> torch.Tensor:
        """Score the same chunks for every example, as `scores` does for chunks of its own but each of them alone.

        Args:
            condition: `[B, C]` float.
            chunks: `[m, D]` float embeddings.

        Returns:
            `[B, m]` float.

        Raises:
            ValueError: shapes do not fit together.
        """
        query = self.query(condition)
        if chunks.ndim != 2 or chunks.shape[1] != self.config.chunk_dim:
            raise ValueError(f"chunks must have shape [m, {self.config.chunk_dim}], not {list(chunks.shape)}")
        unit = torch.nn.functional.normalize(chunks, dim=-1)
        return query @ unit.T + self._importance(unit)

    def importance(self, chunks: torch.Tensor) -> torch.Tensor:
        """Return what a chunk's score gains whatever the condition is; 0 without an importance head.

        Args:
            chunks: `[..., D]` float embeddings.

        Returns:
            `[...]` float, in units of the cosine.
        """
        return self._importance(torch.nn.functional.normalize(chunks, dim=-1))

    def _importance(self, unit: torch.Tensor) -> torch.Tensor:
        if self.importance_head is None:
            return unit.new_zeros(unit.shape[:-1])
        return self.importance_head(unit).squeeze(-1)

    @torch.no_grad()
    def select(self, condition: torch.Tensor, chunks: torch.Tensor, k: int) -> list[int]:
        """Choose the k best chunks of one page.

        Args:
            condition: `[C]` float.
            chunks: `[n, D]` float.
            k: number of chunks; fewer come back where the page has fewer.

        Returns:
            Indices into `chunks`, best first; equal scores go to the earlier chunk.

        Raises:
            ValueError: k is not positive, or shapes do not fit together.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k!r}")
        if condition.ndim != 1 or chunks.ndim != 2:
            raise ValueError(
                f"select takes one condition [C] and one page of chunks [n, D], not shapes {list(condition.shape)} and "
                f"{list(chunks.shape)}"
            )
        mask = torch.ones(1, len(chunks), dtype=torch.bool, device=chunks.device)
        scores = self.scores(condition[None], chunks[None], mask)[0]
        return torch.sort(scores, descending=True, stable=True).indices[:k].tolist()

    def save_pretrained(self, folder: str | Path, training: TrainingResult | None = None) -> None:
        """Write `model.safetensors`, `config.json` and a model card into a folder, each of them atomically.

        Args:
            folder: folder to write into, made if need be.
            training: record that `train_retriever` returned, for the model card.

        The weights alone determine the configuration, so a folder in which a crash left a new file beside an old one
        either loads as the new retriever or is refused by `from_pretrained`.
        """
        folder = Path(folder)
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        unknown_before = {"page_width"} if self.config.page_width is None else None  # so that older versions read it
        contents = {
            _WEIGHTS_FILE: safetensors_torch.save(weights),
            _CONFIG_FILE: self.config.model_dump_json(indent=2, exclude=unknown_before).encode() + b"\n",
            _CARD_FILE: model_card(self.config, training).encode(),
        }
        for name, content in contents.items():
            with atomic_file(folder / name) as file:
                file.write(content)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> StateConditionedRetriever:
        """Load a retriever that `save_pretrained` wrote, on the CPU and in evaluation mode.

        Raises:
            FileNotFoundError: the folder does not hold a saved retriever.
            ValueError: the configuration is wrong, the weights are damaged, or the two do not belong together.
        """
        config_path, weights_path = Path(folder) / _CONFIG_FILE, Path(folder) / _WEIGHTS_FILE
        for path in (config_path, weights_path):
            if not path.is_file():
                raise FileNotFoundError(
                    f"{path} is missing; save a retriever there with save_pretrained({str(folder)!r})"
                )
        config = parse_record(RetrieverConfig, config_path.read_bytes(), where=str(config_path))
        retriever = cls(**config.model_dump(exclude={"schema_version"}))
        try:
            retriever.load_state_dict(safetensors_torch.load(weights_path.read_bytes()))
        except Exception as error:  # safetensors raises a type of its own for damage, torch RuntimeError for a misfit
            raise ValueError(
                f"{weights_path} is damaged or does not fit {_CONFIG_FILE} beside it; save the retriever again: {error}"
            ) from error
        return retriever.eval()


def _linear(inputs: int, outputs: int, generator: torch.Generator) -> torch.nn.Linear:
    """Return a linear layer with Glorot-uniform weights from `generator` and zero bias."""
    layer = torch.nn.utils.skip_init(torch.nn.Linear, inputs, outputs)
    torch.nn.init.xavier_uniform_(layer.weight, generator=generator)
    torch.nn.init.zeros_(layer.bias)
    return layer
