"""The same training by TRL's `SFTTrainer`, for models and machines where its features pay. Token loss only.

Rows go in tokenised, with labels: what is supervised is the action, whatever a tokenizer would make of the joint text,
and a tokenizer without padding needs none of it.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from typing import Any

from sightline.teachability.training._extra import torch
from sightline.teachability.training.adapters import adapter_digest
from sightline.teachability.training.loop import FittedAdapter, LoRALearner, supervised_share
from sightline.teachability.training_records import Example, LearnerConfig, TrainingReport

try:
    import datasets
    import tokenizers
    import transformers
    import trl
except ImportError as error:
    raise ImportError("TRL needs an extra: pip install 'sightline-teachability[trl]'") from error

IGNORED = -100
"""Label of a token that is read and not learnt."""


class SFTLearner(LoRALearner):
    """`Learner` that trains low-rank adapters with TRL; everything but the loop is `LoRALearner`'s."""

    def fit(self, examples: Sequence[Example], *, seed: int, config: LearnerConfig | None = None) -> FittedAdapter:
        """Train a new adapter.

        Raises:
            ValueError: there are no examples, or one cannot be learnt from its action's tokens alone.
        """
        settings = config or self.config
        rows = sft_rows(examples)
        adapter = self.slot.draw(seed)
        before = adapter_digest(adapter)
        self.slot.put(adapter, before)
        self.slot.touched()
        first = self._first_loss(rows[: settings.batch_size])
        paddings = [(one, one.pad_token_id) for one in (self.slot.model.config, self.slot.model.generation_config)]
        with tempfile.TemporaryDirectory() as folder:
            trainer = trl.SFTTrainer(
                model=self.slot.model,
                args=_arguments(settings, seed, folder),
                train_dataset=datasets.Dataset.from_list(rows),
                data_collator=pad_rows,
                processing_class=_no_tokenizer(),
            )
            trainer.remove_callback(transformers.PrinterCallback)
            result = trainer.train()
        self.slot.model.eval()
        for settings_of_model, padding in paddings:  # the trainer writes its tokenizer's into the model
            settings_of_model.pad_token_id = padding
        after = self.slot.take()
        losses = tuple(float(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry)
        read = sum(example.tokens for example in examples) * settings.epochs
        self.ledger.tokens += read
        report = TrainingReport(
            seed=seed,
            examples=dict(Counter(example.source for example in examples)),
            steps=result.global_step,
            tokens=read,
            supervised_share=supervised_share(examples),
            first_loss=first,
            losses=losses,
            adapter_before=before,
            adapter_after=adapter_digest(after),
            base=self.slot.base,
        )
        return FittedAdapter(self.slot, after, self.policy(after, f"{self._name}+{report.adapter_after[:6]}"), report)

    def _first_loss(self, rows: Sequence[dict[str, list[int]]]) -> float:
        batch = {name: tensor.to(self.slot.model.device) for name, tensor in pad_rows(rows).items()}
        with torch.inference_mode():
            return float(self.slot.model(**batch).loss)


def sft_rows(examples: Sequence[Example]) -> list[dict[str, list[int]]]:
    """Return rows of input_ids and labels; the labels are the chosen action's tokens, all else is ignored.

    Raises:
        ValueError: there are no examples, or one is taught in a way that needs more than the action's tokens.
    """
    if not examples:
        raise ValueError("there is nothing to learn: no examples")
    for example in examples:
        if example.source == "correction" and example.format != "demo":
            raise ValueError(
                f"snapshot {example.snapshot_id} is taught by {example.format!r}, which needs the candidate loss of "
                "LoRALearner; TRL learns 'demo' only"
            )
    return [
        {
            "input_ids": [*example.prompt_ids, *example.completion_ids],
            "labels": [*[IGNORED] * len(example.prompt_ids), *example.completion_ids],
        }
        for example in examples
    ]


def pad_rows(rows: Sequence[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """Return rows as one batch, padded at the end with token 0, which is neither attended to nor learnt."""
    width = max(len(row["input_ids"]) for row in rows)

    def padded(values: list[int], filler: int) -> list[int]:
        return [*values, *[filler] * (width - len(values))]

    return {
        "input_ids": torch.tensor([padded(row["input_ids"], 0) for row in rows]),
        "attention_mask": torch.tensor([padded([1] * len(row["input_ids"]), 0) for row in rows]),
        "labels": torch.tensor([padded(row["labels"], IGNORED) for row in rows]),
    }


def _arguments(config: LearnerConfig, seed: int, folder: str) -> Any:
    # Transformers has renamed the option, and the old name warns.
    fields = trl.SFTConfig.__dataclass_fields__
    checkpointing = "activation_checkpointing" if "activation_checkpointing" in fields else "gradient_checkpointing"
    options: dict[str, Any] = {
        "output_dir": folder,
        "num_train_epochs": config.epochs,
        "per_device_train_batch_size": config.batch_size,
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": "constant",
        "warmup_steps": 0,
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.clip,
        "seed": seed,
        "data_seed": seed,
        "logging_strategy": "epoch",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "bf16": False,
        checkpointing: False,
        "max_length": None,
        "packing": False,
        "dataset_kwargs": {"skip_prepare_dataset": True},
        "remove_unused_columns": False,
        "use_cpu": not torch.cuda.is_available(),
        "dataloader_pin_memory": torch.cuda.is_available(),
    }
    return trl.SFTConfig(**options)


def _no_tokenizer() -> Any:
    """Something that the trainer accepts as a tokenizer and has no use for, since rows come tokenised and padded."""
    vocabulary = tokenizers.models.WordLevel({"[PAD]": 0}, unk_token="[PAD]")
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizers.Tokenizer(vocabulary), pad_token="[PAD]")
