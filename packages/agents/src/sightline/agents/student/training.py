"""A small causal language model trained from scratch on expert demonstrations, with a tokenizer of its own.

What it leaves is an ordinary Hugging Face folder, which `LanguageModelActor` loads like any other model.
This module knows nothing of pages or of how examples are made.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from sightline.agents.actors.candidate_scoring import (
    PackedPrompt,
    candidate_and_prompt_log_probabilities,
    candidate_log_probabilities,
    encode_actions,
    encode_prompts,
)
from sightline.agents.student.checkpoint import TrainingState, load_checkpoint, restore, save_checkpoint
from sightline.agents.student.config import AdapterTrainingConfig, StudentTrainingConfig
from sightline.agents.student.pretrained import model_card, save_pretrained
from sightline.agents.student.records import StudentExample, StudentReport
from sightline.agents.student.tokenizer import train_tokenizer

try:
    from tokenizers import Tokenizer
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
except ImportError as error:
    raise ImportError("the student needs an extra: pip install 'sightline-agents[language-model]'") from error

if TYPE_CHECKING:
    from sightline.agents.grammar import TaskGrammar

_TOKENIZER_EXAMPLES = 4000
# Batches are made of so many batches' worth of shuffled examples, sorted by length.
_POOL_BATCHES = 32
_TOKENIZER_FILE, _WEIGHTS_FILE = "tokenizer.json", "model.safetensors"
_REPORTED_LOSSES = 20


def train_student(
    examples: Sequence[StudentExample],
    grammar: TaskGrammar,
    config: StudentTrainingConfig,
    folder: Path,
    *,
    start_from: Path | None = None,
    checkpoint: Path | None = None,
    command: str | None = None,
    progress: Callable[[int, float], None] | None = None,
) -> StudentReport:
    """Train a Llama-style model (rotary positions, tied embeddings) to rank the expert's action first.

    The loss is the cross-entropy over a prompt's candidates, each scored by its log-probability as when the actor acts.
    Cross-entropy of the action's tokens alone would spend a small model on how to spell words that it never writes.
    `student_loss` adds the rest. On one machine equal examples and config give equal weights bit for bit, killed and
    started again or not.

    Args:
        examples: decisions to learn.
        grammar: what the task is called, and which pieces of text are worth a token each.
        config: size and training.
        folder: folder for the model, which appears there complete or not at all; must not exist or be empty.
        start_from: folder of a student to go on from, with its tokenizer; a new one when None.
        checkpoint: file of unfinished work, beside the folder by default; one of other examples or config is ignored.
        command: how the model was made, for its card.
        progress: function that is told the number of steps done and the last loss after each step.

    Raises:
        ValueError: there are no examples, an action is longer than half of the context, the vocabulary is too small for
            all bytes and markers, or the student to go on from is of another shape.
        FileExistsError: the folder is there and holds something.
        ArithmeticError: the loss is no longer a finite number.
    """
    checkpoint = unfinished_work(examples, folder, checkpoint)
    precision = choose_precision(config.precision)
    fingerprint = _fingerprint(examples, grammar.markers, config, precision, start_from)
    state = load_checkpoint(checkpoint, fingerprint)
    if state is None and start_from is not None:
        state = TrainingState(fingerprint, (start_from / _TOKENIZER_FILE).read_text(encoding="utf-8"))
    elif state is None:
        stride = max(len(examples) // _TOKENIZER_EXAMPLES, 1)
        texts = (text for example in examples[::stride] for text in (example.prompt, *example.actions))
        learnt = train_tokenizer(texts, grammar.markers, config.vocabulary_size, config.context)
        state = TrainingState(fingerprint, learnt.backend_tokenizer.to_str())
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(state.tokenizer), model_max_length=config.context
    )
    encoded = encode_examples(examples, tokenizer, config.context)
    model = make_student(config, len(tokenizer))
    if start_from is not None:
        _load_weights(model, start_from)
    report = fit(model, encoded, config, precision, state, checkpoint, progress)
    card = model_card(grammar.name, config, report, command, continued=start_from is not None)
    save_pretrained(folder, model, tokenizer, card, report)
    checkpoint.unlink(missing_ok=True)
    return report


def unfinished_work(examples: Sequence[StudentExample], folder: Path, checkpoint: Path | None) -> Path:
    """Return the file of a training's unfinished work, beside its folder unless another is given.

    Raises:
        ValueError: there is nothing to learn from.
        FileExistsError: the folder is there and holds something.
    """
    if not examples:
        raise ValueError("training needs at least one example")
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty; delete it or choose another folder")
    return checkpoint or folder.with_name(f".{folder.name}.checkpoint.safetensors")


def choose_precision(wanted: Literal["auto", "bfloat16", "float32"]) -> Literal["bfloat16", "float32"]:
    """Return the arithmetic of training on this processor; auto is bfloat16 where it has instructions for it."""
    if wanted != "auto":
        return wanted
    # Without such instructions bfloat16 is emulated and slower than float32.
    information = Path("/proc/cpuinfo")
    flags = information.read_text(encoding="utf-8") if information.exists() else ""
    return "bfloat16" if re.search(r"\b(?:amx_bf16|avx512_bf16)\b", flags) else "float32"


def _fingerprint(
    examples: Sequence[StudentExample],
    markers: Sequence[str],
    config: StudentTrainingConfig,
    precision: str,
    start_from: Path | None,
) -> str:
    digest = hashlib.blake2b(f"{config.model_dump_json()} {precision} {json.dumps(markers)}".encode())
    if start_from is not None:
        digest.update((start_from / _WEIGHTS_FILE).read_bytes())
    for example in examples:
        digest.update(json.dumps([example.prompt, example.actions, example.chosen, example.target]).encode())
    return digest.hexdigest()


def encode_examples(
    examples: Sequence[StudentExample], tokenizer: Any, context: int
) -> list[tuple[PackedPrompt, Tensor]]:
    """Return each example in tokens, with the distribution to learn: all on the expert's action unless it has one.

    Raises:
        ValueError: an action is too long, or a target is of another length.
    """
    distinct = list(dict.fromkeys(action for example in examples for action in example.actions))
    encoded = dict(zip(distinct, encode_actions(tokenizer, distinct), strict=True))
    longest = max(distinct, key=lambda action: len(encoded[action]))
    if len(encoded[longest]) > context // 2:
        raise ValueError(f"an action has {len(encoded[longest])} tokens of at most {context // 2}: {longest[:80]!r}...")
    rooms = [context - max(len(encoded[action]) for action in example.actions) for example in examples]
    prompts = encode_prompts(tokenizer, [example.prompt for example in examples], rooms)
    return [
        (PackedPrompt(prompt, [encoded[action] for action in example.actions]), _target(example))
        for example, prompt in zip(examples, prompts, strict=True)
    ]


def _target(example: StudentExample) -> Tensor:
    if example.target is None:
        return torch.eye(len(example.actions))[example.chosen]
    if len(example.target) != len(example.actions):
        raise ValueError(
            f"a target of {len(example.target)} probabilities cannot be for {len(example.actions)} actions"
        )
    return torch.tensor(example.target, dtype=torch.float32)


def make_student(config: StudentTrainingConfig, vocabulary_size: int) -> LlamaForCausalLM:
    """Return a student as it is before it has learnt anything; its first weights depend on the config's seed.

    Args:
        config: size and seed.
        vocabulary_size: tokens of its tokenizer.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return LlamaForCausalLM(
            LlamaConfig(
                vocab_size=vocabulary_size,
                hidden_size=config.width,
                intermediate_size=config.feed_forward,
                num_hidden_layers=config.layers,
                num_attention_heads=config.heads,
                max_position_embeddings=config.context,
                tie_word_embeddings=True,
                # The usual 0.02 suits models five times as wide and more; here it would delay learning.
                initializer_range=config.width**-0.5,
                bos_token_id=None,
                eos_token_id=None,
                pad_token_id=None,
            )
        )


def _load_weights(model: LlamaForCausalLM, folder: Path) -> None:
    """Give a model another student's weights.

    Raises:
        ValueError: that student is of another shape.
    """
    given = LlamaForCausalLM.from_pretrained(folder)
    for name in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"):
        there, here = getattr(given.config, name), getattr(model.config, name)
        if there != here:
            raise ValueError(f"the student in {folder} has {name} {there}, and the configuration asks for {here}")
    model.load_state_dict(given.state_dict())


def fit(
    model: Any,
    examples: Sequence[tuple[PackedPrompt, Tensor]],
    config: StudentTrainingConfig | AdapterTrainingConfig,
    precision: Literal["bfloat16", "float32"],
    state: TrainingState,
    checkpoint: Path,
    progress: Callable[[int, float], None] | None,
) -> StudentReport:
    """Bring what a model trains, and its state, from where the state stands to the last step; return what was done.

    Args:
        model: a causal language model; parameters that need no gradient stay as they are.
        examples: decisions in tokens, each with the distribution to learn.
        config: steps, rates and batches.
        precision: arithmetic of the passes.
        state: work done so far, which goes on.
        checkpoint: file of unfinished work.
        progress: function that is told the number of steps done and the last loss after each step.

    Raises:
        ArithmeticError: the loss is no longer a finite number.
    """
    parameters = {name: each for name, each in model.named_parameters() if each.requires_grad}
    place = model.device.type
    optimizer = make_optimizer(parameters.values(), config.weight_decay)
    done = len(state.losses)
    if done:
        restore(state.tensors, parameters, optimizer, done)
    batches = batches_by_length(
        [packed.length for packed, _ in examples], config.batch_size, np.random.default_rng(config.seed)
    )
    model.train()
    for step, batch in enumerate(islice(batches, done, config.steps), start=done):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * _schedule(step, config)
        chosen = [examples[index] for index in batch]
        with torch.autocast(place, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
            loss = student_loss(model, chosen, config.temperature, reading=config.reading)
        if not torch.isfinite(loss):
            raise ArithmeticError(f"the loss of step {step + 1} is {loss.item()}; train with a lower learning_rate")
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters.values(), config.clip)
        optimizer.step()
        optimizer.zero_grad()
        state.losses.append(loss.item())
        state.tokens += sum(packed.length for packed, _ in chosen)
        if (step + 1) % config.checkpoint_every == 0 or step + 1 == config.steps:
            save_checkpoint(checkpoint, state, parameters, optimizer)
        if progress:
            progress(step + 1, state.losses[-1])
    model.eval()
    parts = np.array_split(np.asarray(state.losses), min(_REPORTED_LOSSES, config.steps))
    return StudentReport(
        parameters=sum(parameter.numel() for parameter in parameters.values()),
        examples=len(examples),
        longest=max(packed.length for packed, _ in examples),
        steps=config.steps,
        tokens=state.tokens,
        precision=precision,
        losses=tuple(round(float(part.mean()), 4) for part in parts),
    )


def make_optimizer(parameters: Iterable[torch.nn.Parameter], weight_decay: float) -> torch.optim.AdamW:
    """Return the optimiser of a student; decay is for matrices alone, and rates are set before every step."""
    chosen = list(parameters)
    matrices, vectors = ([p for p in chosen if (p.ndim > 1) == wanted] for wanted in (True, False))
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, betas=(0.9, 0.95))


def _schedule(step: int, config: StudentTrainingConfig | AdapterTrainingConfig) -> float:
    """Return the share of the peak learning rate: a linear rise over `warmup` steps, then a linear fall to zero."""
    warmup = min(config.warmup, config.steps - 1)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return (config.steps - step) / (config.steps - warmup)


def batches_by_length(lengths: Sequence[int], batch_size: int, rng: np.random.Generator) -> Iterator[list[int]]:
    """Yield endless batches of indices: every epoch in a new order, examples of like length together."""
    while True:
        order = rng.permutation(len(lengths))
        for start in range(0, len(order), batch_size * _POOL_BATCHES):
            pool = sorted(order[start : start + batch_size * _POOL_BATCHES].tolist(), key=lengths.__getitem__)
            groups = [pool[first : first + batch_size] for first in range(0, len(pool), batch_size)]
            for number in rng.permutation(len(groups)):
                yield groups[number]


def student_loss(
    model: Any, examples: Sequence[tuple[PackedPrompt, Tensor]], temperature: float, *, reading: float = 0.0
) -> Tensor:
    """Return the mean over the examples of two cross-entropies, or three, in nats.

    The first is of the target (the expert's action) among the candidates, scored as the actor scores them; the second
    of the tokens of the target's actions. Ranking is what the student is for, but writing the action out is what makes
    a small model learn early to copy words from the task and the page. The third is that of the prompt's own tokens.

    Args:
        model: a causal language model.
        examples: decisions in tokens, each with the distribution to learn.
        temperature: divisor of a candidate's mean log-probability per token.
        reading: weight of the third.
    """
    packed_prompts = [packed for packed, _ in examples]
    if reading:
        found, read = candidate_and_prompt_log_probabilities(model, packed_prompts)
    else:
        found, read = candidate_log_probabilities(model, packed_prompts), torch.zeros(())
    losses = []
    for sums, (packed, target) in zip(found, examples, strict=True):
        means = sums / packed.lengths.to(sums.device)
        learnt = (target.to(means.device) * means).sum()
        losses.append(torch.logsumexp(means / temperature, dim=0) - learnt / temperature - learnt)
    return torch.stack(losses).mean() - reading * read.mean()
