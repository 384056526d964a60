"""The model card that is saved with a model: what it is for, what it was made with, and what it achieved."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from huggingface_hub import ModelCard, ModelCardData

from sightline.jepa.config import JEPAConfig

_TEMPLATE: Final = Path(__file__).with_name("model_card.md.jinja")


def model_card(config: JEPAConfig, encoder: str, subspaces: int, validation: Mapping[str, float] | None) -> str:
    """Return Markdown with the metadata of the Hugging Face Hub before it.

    Args:
        config: configuration that the model was trained with.
        encoder: name of the frozen encoder of its inputs.
        subspaces: number of subspaces.
        validation: validation MRR under each steering mode; None leaves the figures out.
    """
    metadata = ModelCardData(library_name="sightline-jepa", tags=["retrieval", "steering", config.model])
    sections = {name: section for name, section in config.model_dump().items() if isinstance(section, dict)}
    return str(
        ModelCard.from_template(
            metadata,
            template_path=str(_TEMPLATE),
            config=config,
            encoder=encoder,
            subspaces=subspaces,
            validation=validation or {},
            settings={f"{name}.{key}": value for name, section in sections.items() for key, value in section.items()},
        )
    )
