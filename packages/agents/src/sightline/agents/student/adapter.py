"""Any Hugging Face causal language model fine-tuned on the labels that the student learns from, by a LoRA adapter.

The loss is the student's, so what is learnt is how to rank candidates. What it leaves is a PEFT folder, which
`LanguageModelActor(model, adapter=folder)` loads. This module knows nothing of pages or of how examples are made.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from sightline.agents.actors.language_model import load_language_model
from sightline.agents.student.checkpoint import TrainingState, load_checkpoint
from sightline.agents.student.config import AdapterTrainingConfig
from sightline.agents.student.pretrained import adapter_card, save_pretrained
from sightline.agents.student.records import StudentExample, StudentReport
from sightline.agents.student.training import choose_precision, encode_examples, fit, unfinished_work

try:
    import peft
except ImportError as error:
    raise ImportError("adapters need an extra: pip install 'sightline-agents[adapters]'") from error

if TYPE_CHECKING:
    from sightline.agents.grammar import TaskGrammar


def train_adapter(
    examples: Sequence[StudentExample],
    grammar: TaskGrammar,
    model: str | Path,
    config: AdapterTrainingConfig,
    folder: Path,
    *,
    checkpoint: Path | None = None,
    command: str | None = None,
    progress: Callable[[int, float], None] | None = None,
) -> StudentReport:
    """Train an adapter that makes a pretrained model rank the expert's action first.

    It trains on CUDA where there is one. A training that was killed goes on from its checkpoint, with the same result.

    Args:
        examples: decisions to learn.
        grammar: what the task is called.
        model: a Hugging Face model id, a folder or a GGUF file.
        config: size and training.
        folder: folder for the adapter, which appears there complete or not at all; must not exist or be empty.
        checkpoint: file of unfinished work, beside the folder by default; one of other examples or config is ignored.
        command: how the adapter was made, for its card.
        progress: function that is told the number of steps done and the last loss after each step.

    Raises:
        ValueError: there are no examples, or an action is longer than half of the context.
        FileExistsError: the folder is there and holds something.
        ArithmeticError: the loss is no longer a finite number.
    """
    checkpoint = unfinished_work(examples, folder, checkpoint)
    place = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = _precision(config, place)
    fingerprint = _fingerprint(examples, model, config, precision)
    state = load_checkpoint(checkpoint, fingerprint) or TrainingState(fingerprint, "")
    loaded, tokenizer = load_language_model(model, dtype=torch.float32)
    adapted = _adapt(loaded, config).to(place)
    encoded = encode_examples(examples, tokenizer, config.context)
    report = fit(adapted, encoded, config, precision, state, checkpoint, progress)
    card = adapter_card(grammar.name, Path(model).name, config, report, command)
    # The embeddings are the model's own, and to find that out PEFT would ask the hub.
    save_pretrained(folder, adapted, tokenizer, card, report, save_embedding_layers=False)
    checkpoint.unlink(missing_ok=True)
    return report


def _precision(config: AdapterTrainingConfig, place: torch.device) -> Literal["bfloat16", "float32"]:
    if config.precision == "auto" and place.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return choose_precision(config.precision)


def _fingerprint(
    examples: Sequence[StudentExample], model: str | Path, config: AdapterTrainingConfig, precision: str
) -> str:
    digest = hashlib.blake2b(f"{config.model_dump_json()} {precision} {model}".encode())
    for example in examples:
        digest.update(json.dumps([example.prompt, example.actions, example.chosen, example.target]).encode())
    return digest.hexdigest()


def _adapt(model: Any, config: AdapterTrainingConfig) -> Any:
    settings = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,  # ty: ignore[invalid-argument-type] - PEFT divides it, and takes fractions
        target_modules=None if config.targets is None else list(config.targets),
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # PEFT reads a property that transformers has renamed.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        torch.manual_seed(config.seed)
        return peft.get_peft_model(model, settings)
