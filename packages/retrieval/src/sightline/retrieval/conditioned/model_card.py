"""The model card that is saved with a `StateConditionedRetriever`.

It knows a retriever's configuration and the record of its training, not its weights.
"""

from __future__ import annotations

from pathlib import Path

from sightline.retrieval.conditioned.records import RetrieverConfig, TrainingResult

_TEMPLATE = Path(__file__).with_name("model_card.md.jinja")


def model_card(config: RetrieverConfig, training: TrainingResult | None) -> str:
    """Return Markdown with the metadata of the Hugging Face Hub before it.

    Args:
        config: shape of the retriever.
        training: record of its training; None leaves the figures of training out.

    Raises:
        ImportError: the extra `torch`, which brings the Hub's client, is not installed.
    """
    try:
        from huggingface_hub import ModelCard, ModelCardData
    except ImportError as error:
        raise ImportError(
            f"{error.name} is not installed, and a model card needs it; "
            "install it with: pip install 'sightline-retrieval[torch]'"
        ) from error
    metadata = ModelCardData(library_name="sightline-retrieval", tags=["retrieval", "web-agents"])
    return str(ModelCard.from_template(metadata, template_path=str(_TEMPLATE), config=config, training=training))
