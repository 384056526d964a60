"""The folder of a trained student: an ordinary Hugging Face model with a card and a report."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from sightline.agents.student.config import AdapterTrainingConfig, StudentTrainingConfig
from sightline.agents.student.records import StudentReport
from sightline.retrieval.files import sync_folder

try:
    from huggingface_hub import ModelCard, ModelCardData
except ImportError as error:
    raise ImportError("the student needs an extra: pip install 'sightline-agents[language-model]'") from error

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_TEMPLATE = Path(__file__).with_name("model_card.md.jinja")
_ADAPTER_TEMPLATE = Path(__file__).with_name("adapter_card.md.jinja")


def save_pretrained(
    folder: Path, model: Any, tokenizer: PreTrainedTokenizerBase, card: str, report: StudentReport, **options: Any
) -> None:
    """Write the folder, complete or not at all.

    Args:
        folder: folder to make; must not exist or be empty.
        model: the trained model, or its adapter.
        tokenizer: its tokenizer.
        card: its model card (`model_card`).
        report: what its training did.
        **options: options of the model's own `save_pretrained`.
    """
    unfinished = folder.with_name(f".{folder.name}.{uuid4().hex}.tmp")
    try:
        model.save_pretrained(unfinished, **options)
        tokenizer.save_pretrained(unfinished)
        (unfinished / "README.md").write_text(card, encoding="utf-8")
        (unfinished / "report.json").write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
        mode = stat.S_IMODE((unfinished / "README.md").stat().st_mode)
        for file in (path for path in unfinished.rglob("*") if path.is_file()):  # several chat templates have a folder
            file.chmod(mode)  # the library makes weights that their owner alone may read, whatever the umask
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
        sync_folder(unfinished)
        unfinished.replace(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    sync_folder(folder.parent)


def model_card(
    task: str, config: StudentTrainingConfig, report: StudentReport, command: str | None, *, continued: bool = False
) -> str:
    """Return Markdown with the metadata of the Hugging Face Hub before it.

    Args:
        task: name of the task's grammar.
        config: size and training.
        report: what the training did.
        command: how the model was made; None where nobody said.
        continued: whether it went on from another student.
    """
    metadata = ModelCardData(
        library_name="transformers", pipeline_tag="text-generation", tags=["sightline", "web-agent", task]
    )
    card = ModelCard.from_template(
        metadata,
        template_path=str(_TEMPLATE),
        task=task,
        config=config,
        report=report,
        command=command,
        continued=continued,
    )
    return str(card)


def adapter_card(
    task: str, base: str, config: AdapterTrainingConfig, report: StudentReport, command: str | None
) -> str:
    """Return the card of an adapter: Markdown with the metadata of the Hugging Face Hub before it.

    Args:
        task: name of the task's grammar.
        base: name of the model that it belongs to.
        config: size and training.
        report: what the training did.
        command: how the adapter was made; None where nobody said.
    """
    metadata = ModelCardData(library_name="peft", pipeline_tag="text-generation", tags=["sightline", "web-agent", task])
    return str(
        ModelCard.from_template(
            metadata,
            template_path=str(_ADAPTER_TEMPLATE),
            task=task,
            base=base,
            config=config,
            report=report,
            command=command,
        )
    )
