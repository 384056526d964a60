from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    GPT2Config,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

from sightline.agents.language_model import LanguageModelActor
from sightline.agents.student_tokenizer import train_tokenizer

PAGE = "[button] Back to Search [button_]\n[button] B0AAAAAAAA [button_]\nRed chair, ünïque\n$12.50\n"
TEXTS = [PAGE, "click[b0aaaaaaaa]", "task: find me a red chair\npage:\naction:"] * 3

SMALL: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
LLAMA_LIKE: dict[str, Any] = {
    **SMALL,
    "intermediate_size": 48,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
ARCHITECTURES: dict[str, Callable[[int], PreTrainedConfig]] = {
    "llama": lambda size: LlamaConfig(vocab_size=size, **LLAMA_LIKE),
    "qwen2": lambda size: Qwen2Config(vocab_size=size, **LLAMA_LIKE),
    "qwen3": lambda size: Qwen3Config(vocab_size=size, head_dim=8, **LLAMA_LIKE),
    "gpt2": lambda size: GPT2Config(vocab_size=size, n_embd=32, n_layer=2, n_head=4, n_positions=256),
    "mistral": lambda size: MistralConfig(vocab_size=size, sliding_window=24, **LLAMA_LIKE),
    "bloom": lambda size: BloomConfig(vocab_size=size, hidden_size=32, n_layer=2, n_head=4),
    "mamba": lambda size: MambaConfig(vocab_size=size, hidden_size=32, state_size=4, num_hidden_layers=2),
}
ACTIONS = ["click[b0aaaaaaaa]", "click[back to search]", "search[red chair]", "click[b0aaaaaaaa]", "x"]
PROMPTS = [f"task: find me a red chair\npage:\n{PAGE}action:", "action:", f"task: ünïque\npage:\n{PAGE * 2}action:"]


@pytest.fixture(scope="module")
def make_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Saves a tiny model of an architecture with random weights, large enough to make its predictions differ."""
    folders: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp(name)
            tokenizer = train_tokenizer(TEXTS, 330, 1024)
            tokenizer.save_pretrained(folders[name])
            torch.manual_seed(0)
            config = ARCHITECTURES[name](len(tokenizer))
            config.bos_token_id = config.eos_token_id = config.pad_token_id = None
            model = AutoModelForCausalLM.from_config(config)
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.ndim == 2:
                        parameter.mul_(8)
            model.save_pretrained(folders[name])
        return folders[name]

    return make


def one_by_one(actor: LanguageModelActor, prompt: list[int], actions: list[str]) -> list[float]:
    """The truth: each action's log-probability from a plain causal pass over the prompt and this action alone."""
    scores = []
    for action in actions:
        end = actor.tokenizer(f" {action}\n", add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logs = actor.model(torch.tensor([prompt + end])).logits[0].log_softmax(-1)
        scores.append(sum(float(logs[len(prompt) + offset - 1, token]) for offset, token in enumerate(end)))
    return scores


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("llama", "tree"),
        ("qwen2", "tree"),
        ("qwen3", "tree"),
        ("gpt2", "tree"),
        ("mistral", "tree"),
        ("bloom", "plain"),
        ("mamba", "plain"),
    ],
)
def test_packed_scores_equal_those_of_one_pass_per_action(
    make_model: Callable[[str], Path], name: str, path: str
) -> None:
    actor = LanguageModelActor(make_model(name), batch_size=2)
    assert actor.path == path
    candidates = [ACTIONS, ACTIONS[:2], ACTIONS[::-1]]
    for prompt, actions, found in zip(PROMPTS, candidates, actor.score(PROMPTS, candidates), strict=True):
        tokens = actor.tokenizer(prompt)["input_ids"]
        truth = one_by_one(actor, tokens, actions)
        logs = np.log(found.probabilities)
        assert logs - logs[0] == pytest.approx(np.array(truth) - truth[0], abs=1e-4)
        assert found.prompt_tokens == len(tokens)
        best = actions[int(np.argmax(truth))]
        assert found.completion_tokens == len(actor.tokenizer(f" {best}\n")["input_ids"])


def test_a_batch_changes_no_score(make_model: Callable[[str], Path]) -> None:
    folder = make_model("llama")
    candidates = [ACTIONS, ACTIONS[:1], ACTIONS[1:4]]
    together = LanguageModelActor(folder, batch_size=3).score(PROMPTS, candidates)
    for prompt, actions, found in zip(PROMPTS, candidates, together, strict=True):
        (alone,) = LanguageModelActor(folder, batch_size=1).score([prompt], [actions])
        assert found.probabilities == pytest.approx(alone.probabilities, abs=1e-5)
        assert found.prompt_tokens == alone.prompt_tokens


def test_half_precision_keeps_the_tree(make_model: Callable[[str], Path]) -> None:
    actor = LanguageModelActor(make_model("llama"), dtype="bfloat16")
    assert actor.path == "tree"
    (found,) = actor.score(PROMPTS[:1], [ACTIONS])
    assert sum(found.probabilities) == pytest.approx(1)


def test_length_normalisation_compares_means_and_temperature_flattens(make_model: Callable[[str], Path]) -> None:
    actor = LanguageModelActor(make_model("llama"), length_normalised=True, temperature=2.0)
    (found,) = actor.score(PROMPTS[:1], [ACTIONS])
    sums = one_by_one(actor, actor.tokenizer(PROMPTS[0])["input_ids"], ACTIONS)
    means = np.divide(sums, [len(actor.tokenizer(f" {action}\n")["input_ids"]) for action in ACTIONS])
    weights = np.exp(means / 2)
    assert found.probabilities == pytest.approx(weights / weights.sum(), abs=1e-5)


def test_a_prompt_beyond_the_context_keeps_the_task_and_the_end(make_model: Callable[[str], Path]) -> None:
    actor = LanguageModelActor(make_model("llama"))
    tokenize = actor.tokenizer
    ending = "page:\n[button] red [button_]\naction:"
    long = "task: a red chair\n" + "blue sofa\n" * 300 + ending
    (found,) = actor.score([long], [ACTIONS])
    longest = max(len(tokenize(f" {action}\n")["input_ids"]) for action in ACTIONS)
    assert found.prompt_tokens == 256 - longest
    middle = tokenize("blue sofa\n" * 300)["input_ids"]
    head, tail = tokenize("task: a red chair")["input_ids"], tokenize(ending)["input_ids"]
    kept = middle[len(middle) - (found.prompt_tokens - len(head) - len(tail)) :]
    truth = one_by_one(actor, head + kept + tail, ACTIONS[:2])
    assert math.log(found.probabilities[1] / found.probabilities[0]) == pytest.approx(truth[1] - truth[0], abs=1e-4)


def test_an_action_longer_than_the_context_is_refused_by_name(make_model: Callable[[str], Path]) -> None:
    actor = LanguageModelActor(make_model("llama"))
    with pytest.raises(ValueError, match=r"256 tokens: 'click\[x x"):
        actor.score(["action:"], [["click[" + "x " * 300 + "]"]])


def test_no_actions_is_an_error(make_model: Callable[[str], Path]) -> None:
    with pytest.raises(ValueError, match="no actions"):
        LanguageModelActor(make_model("llama")).score(["action:"], [[]])
