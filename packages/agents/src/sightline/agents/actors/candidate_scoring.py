"""Scores all candidate actions after a prompt in one forward pass of a causal language model.

A prompt and its candidates share one sequence: a tree attention mask lets every candidate see the prompt and itself
only, so the prompt is computed once (SpecInfer, Miao et al. 2023, uses the same mask to verify speculated tokens).
Acting and training score by the same function. This module knows nothing of pages, tasks or how scores are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from sightline.agents.actors.prefix_cache import PrefixCache, RecalledPrefixes


_PLACE = "\ue000"  # of Unicode's private use, so that no template holds it


def encode_prompts(
    tokenizer: Any, prompts: Sequence[str], rooms: Sequence[int], *, chat_template: bool = True
) -> list[list[int]]:
    """Return the tokens of each prompt, at most as many as its room (at least 1).

    Where the tokenizer has a chat template, the prompt becomes the user's turn, and its last line (`action:`) the
    beginning of the assistant's. A prompt that is longer than its room keeps its first line (the task; at most half of
    the room) and its end. An end-of-sequence token that the tokenizer appends is left out: an action follows.

    Args:
        tokenizer: a Hugging Face tokenizer.
        prompts: texts that actions follow.
        rooms: most tokens of each.
        chat_template: whether a chat template is applied where there is one.
    """
    if not (chat_template and getattr(tokenizer, "chat_template", None)):
        return [_cut(tokenizer, prompt, room, special=True) for prompt, room in zip(prompts, rooms, strict=True)]
    before, after = _turns(tokenizer)
    found = []
    for prompt, room in zip(prompts, rooms, strict=True):
        said, _, begun = prompt.rpartition("\n")
        reply = [*after, *_tokens(tokenizer, begun, special=False)]
        turn = _cut(tokenizer, said, max(room - len(before) - len(reply), 1), special=False)
        found.append([*before, *turn, *reply])
    return found


def _cut(tokenizer: Any, text: str, room: int, *, special: bool) -> list[int]:
    tokens = _tokens(tokenizer, text, special=special)
    if len(tokens) <= room:
        return tokens
    head = min(len(_tokens(tokenizer, text.partition("\n")[0], special=special)), room // 2)
    return tokens[:head] + tokens[len(tokens) - (room - head) :]


def _tokens(tokenizer: Any, text: str, *, special: bool) -> list[int]:
    """Return the tokens of a text, without those that a tokenizer appends to say that the text is over."""
    tokens = tokenizer(text, add_special_tokens=special)["input_ids"]
    ends = {tokenizer.eos_token_id, getattr(tokenizer, "sep_token_id", None)} - {None} if special else ()
    kept = len(tokens)
    while kept > 1 and tokens[kept - 1] in ends:
        kept -= 1
    return tokens[:kept]


def _turns(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Return the tokens that a chat template puts before a user's turn, and those from its end to the assistant's.

    Raises:
        ValueError: the template does not show the turn once, as it is.
    """
    turn = [{"role": "user", "content": _PLACE}]
    # Models that can think before they answer begin at once where their template knows this name.
    text = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True, enable_thinking=False)
    before, *after = text.split(_PLACE)
    if len(after) != 1:
        raise ValueError(f"the chat template shows a turn {len(after)} times, not once; use chat_template=False")
    return _tokens(tokenizer, before, special=False), _tokens(tokenizer, after[0], special=False)


def encode_actions(tokenizer: Any, actions: Sequence[str]) -> list[list[int]]:
    """Return the tokens of each action as it follows a prompt: a space, the action, the end of its line.

    The end of the line is predicted after the whole action has been read, so a trained model can use it to say
    whether that action fits: judging an option is easier than thinking of it.
    """
    return tokenizer([f" {action}\n" for action in actions], add_special_tokens=False)["input_ids"]


@dataclass(frozen=True, slots=True)
class PackedPrompt:
    """A prompt and its candidates in tokens, which share one sequence.

    The last token of a candidate is predicted but never read, so it has no place in the sequence.
    """

    prompt: list[int]
    candidates: list[list[int]]

    @property
    def lengths(self) -> Tensor:
        """Tokens of each candidate, int64 `[candidates]`."""
        return torch.tensor([len(candidate) for candidate in self.candidates])

    @property
    def length(self) -> int:
        """Tokens of the packed sequence."""
        return len(self.prompt) + sum(len(candidate) - 1 for candidate in self.candidates)


def candidate_log_probabilities(
    model: Any, packed_prompts: Sequence[PackedPrompt], prefixes: PrefixCache | None = None
) -> list[Tensor]:
    """Return the log-probability of every candidate of every prompt, in one forward pass.

    Sequences are aligned at their ends, so that the positions which predict candidates are the last ones. Without a
    prefix cache, gradients flow.

    Args:
        model: a Hugging Face causal language model that takes a four-dimensional attention mask.
        packed_prompts: B prompts with their candidates.
        prefixes: cache of what the model has read before; it reads only what is not there, and adds it. The model must
            fill a `DynamicCache` as usual.

    Returns:
        One float32 tensor `[candidates]` per prompt, on the model's device: sums over the candidate's tokens.
    """
    prompts = [packed.prompt for packed in packed_prompts]
    recalled = prefixes.recall(prompts) if prefixes else None
    held = recalled.lengths if recalled else [0] * len(packed_prompts)
    sequences = _align(packed_prompts, held)
    logits = _logits(model, sequences, sequences.tail, recalled)
    if prefixes and recalled:
        prefixes.remember(prompts, recalled, sequences.padding)
    return [_candidate_sums(own, packed) for own, packed in zip(logits.unbind(), packed_prompts, strict=True)]


def candidate_and_prompt_log_probabilities(
    model: Any, packed_prompts: Sequence[PackedPrompt]
) -> tuple[list[Tensor], Tensor]:
    """Return what `candidate_log_probabilities` does, and how well the model foresees the prompts, for training.

    Returns:
        The sums of every candidate, and float32 `[B]`: the mean log-probability of a prompt's tokens after its first, 0
        where there are none.
    """
    sequences = _align(packed_prompts, [0] * len(packed_prompts))
    logits = _logits(model, sequences, sequences.tokens.shape[1], None)
    sums, read = [], []
    # One `unbind`, since the gradient of each `logits[row]` would be as large as all of them.
    for own, padding, packed in zip(logits.unbind(), sequences.padding, packed_prompts, strict=True):
        tokens = torch.tensor(packed.prompt[1:], dtype=torch.long, device=logits.device)
        foreseen = own[padding : padding + len(tokens)].float()
        read.append(-torch.nn.functional.cross_entropy(foreseen, tokens, reduction="sum") / max(len(tokens), 1))
        sums.append(_candidate_sums(own[-sequences.tail :], packed))
    return sums, torch.stack(read)


@dataclass(frozen=True, slots=True)
class _Sequences:
    """Packed prompts side by side, aligned at their ends; int64 [B, T] each."""

    tokens: Tensor
    positions: Tensor
    owners: Tensor
    """0 the prompt's, n the n-th candidate's, -1 padding."""
    held: list[int]
    """Tokens of each prompt that come before these."""
    padding: list[int]
    """Places of each row before its first token."""
    tail: int
    """Last places that hold all which predict candidates."""


def _align(packed_prompts: Sequence[PackedPrompt], held: list[int]) -> _Sequences:
    unread = [packed.length - length for packed, length in zip(packed_prompts, held, strict=True)]
    width = max(unread)
    tokens = torch.zeros(len(packed_prompts), width, dtype=torch.long)
    positions = torch.zeros_like(tokens)
    owners = torch.full_like(tokens, -1)
    for row, (packed, length) in enumerate(zip(packed_prompts, held, strict=True)):
        read = [packed.prompt[length:], *(candidate[:-1] for candidate in packed.candidates)]
        starts = [length, *[len(packed.prompt)] * len(packed.candidates)]
        begin = width - unread[row]
        tokens[row, begin:] = torch.tensor([token for part in read for token in part])
        positions[row, begin:] = torch.cat(
            [torch.arange(start, start + len(part)) for start, part in zip(starts, read, strict=True)]
        )
        owners[row, begin:] = torch.repeat_interleave(torch.tensor([len(part) for part in read]))
    tail = max(packed.length - len(packed.prompt) for packed in packed_prompts) + 1
    return _Sequences(tokens, positions, owners, held, [width - length for length in unread], tail)


def _logits(model: Any, sequences: _Sequences, kept: int, recalled: RecalledPrefixes | None) -> Tensor:
    """Return the logits of the last `kept` places, [B, kept, vocabulary]."""
    held = torch.tensor(sequences.held, device=model.device)
    return model(
        input_ids=sequences.tokens.to(model.device),
        attention_mask=_tree_mask(sequences.owners.to(model.device), held, model.dtype),
        position_ids=sequences.positions.to(model.device),
        logits_to_keep=kept,
        past_key_values=recalled.states if recalled else None,
        use_cache=recalled is not None,
    ).logits[:, -kept:]


def plain_log_probabilities(model: Any, packed: PackedPrompt) -> Tensor:
    """Return the same for one prompt, each candidate by a pass of its own: slower, and right for any causal model.

    Returns:
        float32 `[candidates]`.
    """
    sums = []
    for candidate in packed.candidates:
        tokens = torch.tensor([packed.prompt + candidate[:-1]], device=model.device)
        logits = model(input_ids=tokens, use_cache=False).logits[0, -len(candidate) :]
        sums.append(_candidate_sums(logits, PackedPrompt([], [candidate])))
    return torch.cat(sums)


def _tree_mask(owners: Tensor, held: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the additive attention mask [B, 1, T, H + T], H the largest number of held tokens.

    A token sees what came before in the prompt and in its own candidate.

    Args:
        owners: [B, T] whose token it is: 0 the prompt's, n the n-th candidate's, -1 padding.
        held: [B] tokens of the prompt that come before those, at the beginning of the H positions.
        dtype: that of the model.
    """
    width = owners.shape[1]
    query, key = owners[:, :, None], owners[:, None, :]
    causal = torch.ones(width, width, dtype=torch.bool, device=owners.device).tril()
    # Padding sees itself: a row of the mask that allows nothing would make the softmax undefined.
    allowed = (causal & ((key == 0) | (key == query)) & (query >= 0)) | causal.logical_and(causal.T)
    before = torch.arange(int(held.max()), device=owners.device) < held[:, None]
    allowed = torch.cat([before[:, None, :] & (query >= 0), allowed], dim=-1)
    mask = torch.zeros(allowed.shape, dtype=dtype, device=owners.device)
    return mask.masked_fill_(~allowed, torch.finfo(dtype).min)[:, None]


def _candidate_sums(logits: Tensor, packed: PackedPrompt) -> Tensor:
    """Return the sum of log-probabilities of each candidate's tokens, `[candidates]`.

    Args:
        logits: [N, vocabulary], whose last rows are those of the prompt's last token and of the candidates' tokens but
            their last.
        packed: prompt and candidates that were scored.
    """
    first = len(logits) - 1 - sum(len(candidate) - 1 for candidate in packed.candidates)
    rows, targets, lengths, position = [], [], [], first + 1
    for candidate in packed.candidates:
        rows += [first, *range(position, position + len(candidate) - 1)]
        targets += candidate
        lengths.append(len(candidate))
        position += len(candidate) - 1
    chosen = logits[torch.tensor(rows, device=logits.device)].float().log_softmax(-1)
    values = chosen.gather(1, torch.tensor(targets, device=logits.device)[:, None])[:, 0]
    return torch.stack([part.sum() for part in values.split(lengths)])
