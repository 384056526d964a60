from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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

from sightline.agents.actors.language_model import LanguageModelActor, _choose_dtype
from sightline.agents.grammar import webshop_grammar
from sightline.agents.records import ActionDistribution
from sightline.agents.student.tokenizer import train_tokenizer

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
    "longrope": lambda size: LlamaConfig(
        vocab_size=size,
        rope_parameters={
            "rope_type": "longrope",
            "rope_theta": 10000.0,
            "factor": 4.0,
            "short_factor": [1.0] * 4,
            "long_factor": [3.0] * 4,
            "original_max_position_embeddings": 64,
        },
        **LLAMA_LIKE,
    ),
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
            tokenizer = train_tokenizer(TEXTS, webshop_grammar.markers, 330, 1024)
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
        ("longrope", "tree"),
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
        offered = sum(len(actor.tokenizer(f" {action}\n")["input_ids"]) for action in actions)
        assert found.prompt_tokens == len(tokens) + offered
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
    lengths = [len(tokenize(f" {action}\n")["input_ids"]) for action in ACTIONS]
    shown = found.prompt_tokens - sum(lengths)
    assert shown == 256 - max(lengths)
    middle = tokenize("blue sofa\n" * 300)["input_ids"]
    head, tail = tokenize("task: a red chair")["input_ids"], tokenize(ending)["input_ids"]
    kept = middle[len(middle) - (shown - len(head) - len(tail)) :]
    truth = one_by_one(actor, head + kept + tail, ACTIONS[:2])
    assert math.log(found.probabilities[1] / found.probabilities[0]) == pytest.approx(truth[1] - truth[0], abs=1e-4)


def test_an_action_longer_than_the_context_is_refused_by_name(make_model: Callable[[str], Path]) -> None:
    actor = LanguageModelActor(make_model("llama"))
    with pytest.raises(ValueError, match=r"256 tokens: 'click\[x x"):
        actor.score(["action:"], [["click[" + "x " * 300 + "]"]])


def test_no_actions_is_an_error(make_model: Callable[[str], Path]) -> None:
    with pytest.raises(ValueError, match="no actions"):
        LanguageModelActor(make_model("llama")).score(["action:"], [[]])


def chat(turns: int) -> str:
    """A prompt that grows at its end."""
    return f"task: find me a red chair\n{PAGE}" + "".join(
        f"action: click[{turn}]\npage:\n[button] {turn} [button_]\n" for turn in range(turns)
    )


def assert_alike(found: list[ActionDistribution], expected: list[ActionDistribution]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-4)
        assert (one.prompt_tokens, one.completion_tokens) == (other.prompt_tokens, other.completion_tokens)


@pytest.mark.parametrize(
    ("name", "reuses"), [("llama", True), ("gpt2", True), ("mistral", False), ("longrope", True), ("bloom", False)]
)
def test_prompts_that_grow_score_as_if_each_were_read_in_full(
    make_model: Callable[[str], Path], name: str, reuses: bool
) -> None:
    plain = LanguageModelActor(make_model(name))
    cached = LanguageModelActor(make_model(name), prefix_cache_bytes=2**20)
    for turns in range(4):
        prompts = [chat(turns), "action:", chat(turns).replace("red", "blue")]
        candidates = [ACTIONS, ACTIONS[:2], ["x"]]
        assert_alike(cached.score(prompts, candidates), plain.score(prompts, candidates))
    assert (cached.reused_tokens > 0) == reuses


def test_a_prompt_that_is_cut_scores_the_same_from_the_prefix_cache(make_model: Callable[[str], Path]) -> None:
    plain = LanguageModelActor(make_model("llama"))
    cached = LanguageModelActor(make_model("llama"), prefix_cache_bytes=2**20)
    for turns in (29, 30, 31):
        expected = plain.score([chat(turns)], [ACTIONS[:2]])
        assert_alike(cached.score([chat(turns)], [ACTIONS[:2]]), expected)
        assert expected[0].prompt_tokens > 200


def test_a_known_prompt_with_the_same_actions_is_answered_without_the_model(make_model: Callable[[str], Path]) -> None:
    actor = LanguageModelActor(make_model("llama"), distribution_cache_bytes=2**20)
    twice = actor.score([*PROMPTS, PROMPTS[0]], [ACTIONS] * 4)
    assert twice[0] is twice[3]
    passes: list[int] = []
    actor.model.register_forward_pre_hook(lambda *_: passes.append(1))
    assert actor.score(PROMPTS[::-1], [ACTIONS] * 3) == twice[2::-1]
    assert not passes
    assert actor.distribution_hits == 4
    actor.score([PROMPTS[0]], [ACTIONS[:2]])
    assert len(passes) == 1
    actor.forget()
    actor.score([PROMPTS[0]], [ACTIONS])
    assert len(passes) == 2
    assert actor.distribution_hits == 4


def test_an_answer_under_other_options_is_not_reused(make_model: Callable[[str], Path]) -> None:
    actor = LanguageModelActor(make_model("llama"), distribution_cache_bytes=2**20)
    (sharp,) = actor.score(PROMPTS[:1], [ACTIONS])
    actor.temperature = 3.0
    (flat,) = actor.score(PROMPTS[:1], [ACTIONS])
    actor.length_normalised = True
    (mean,) = actor.score(PROMPTS[:1], [ACTIONS])
    assert len({sharp.probabilities, flat.probabilities, mean.probabilities}) == 3
    assert actor.distribution_hits == 0


def test_text_is_not_confused_with_how_it_is_divided_into_prompt_and_actions(make_model: Callable[[str], Path]) -> None:
    actor = LanguageModelActor(make_model("llama"), distribution_cache_bytes=2**20)
    actor.score(["a", "a", 'a", ["b'], [["b", "c"], ['b", "c'], ["c"]])
    assert actor.distribution_hits == 0


def test_the_caches_stay_within_their_bytes(make_model: Callable[[str], Path]) -> None:
    actor = LanguageModelActor(make_model("llama"), prefix_cache_bytes=20_000, distribution_cache_bytes=2_000)
    held = []
    for number in range(12):
        actor.score([f"{number} {PAGE}"], [ACTIONS])
        held.append(actor.cached_bytes)
    assert max(held) <= 22_000
    assert held[-1] > 10_000


def test_actors_of_different_models_share_nothing(make_model: Callable[[str], Path]) -> None:
    for name in ("llama", "qwen2"):
        expected = LanguageModelActor(make_model(name)).score(PROMPTS, [ACTIONS] * 3)
        actor = LanguageModelActor(make_model(name), prefix_cache_bytes=2**20, distribution_cache_bytes=2**20)
        assert_alike(actor.score(PROMPTS, [ACTIONS] * 3), expected)
        assert (actor.distribution_hits, actor.reused_tokens) == (0, 0)


def test_threads_may_share_an_actor(make_model: Callable[[str], Path]) -> None:
    prompts = [chat(turns) for turns in range(4)]
    expected = LanguageModelActor(make_model("llama")).score(prompts, [ACTIONS] * 4)
    actor = LanguageModelActor(make_model("llama"), prefix_cache_bytes=20_000, distribution_cache_bytes=1_000)
    with ThreadPoolExecutor(4) as threads:
        for found in threads.map(lambda turn: actor.score(prompts[turn:], [ACTIONS] * (4 - turn)), [0, 1, 2, 3] * 2):
            assert_alike(found, expected[4 - len(found) :])


def test_auto_is_the_checkpoints_own_precision_on_a_cpu(make_model: Callable[[str], Path], tmp_path: Path) -> None:
    folder = make_model("llama")
    assert LanguageModelActor(folder, device="cpu").model.dtype == torch.float32
    half = LanguageModelActor(folder, device="cpu", dtype="bfloat16")
    half.model.save_pretrained(tmp_path)
    half.tokenizer.save_pretrained(tmp_path)
    assert LanguageModelActor(tmp_path, device="cpu").model.dtype == torch.bfloat16


@pytest.mark.parametrize("supported", [True, False])
def test_auto_is_bfloat16_on_a_cuda_device_that_computes_in_it(
    monkeypatch: pytest.MonkeyPatch, supported: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: supported)
    assert _choose_dtype("auto", torch.device("cuda")) == (torch.bfloat16 if supported else "auto")
    assert _choose_dtype("float32", torch.device("cuda")) == "float32"
    assert _choose_dtype("auto", torch.device("cpu")) == "auto"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature"),
        ({"temperature": math.nan}, "temperature"),
        ({"batch_size": 0}, "batch_size"),
        ({"prefix_cache_bytes": -1}, "max_bytes"),
        ({"distribution_cache_bytes": -1}, "max_bytes"),
    ],
)
def test_an_option_out_of_range_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LanguageModelActor("no such model", **options)


def test_an_actor_of_a_model_in_memory_answers_like_one_that_loads_it(make_model: Callable[[str], Path]) -> None:
    loading = LanguageModelActor(make_model("llama"), device="cpu", temperature=0.5, length_normalised=True)
    model = AutoModelForCausalLM.from_pretrained(make_model("llama"))
    actor = LanguageModelActor.from_model(model.train(), loading.tokenizer, temperature=0.5, length_normalised=True)
    assert actor.score(PROMPTS, [ACTIONS] * 3) == loading.score(PROMPTS, [ACTIONS] * 3)
    assert (actor.path, actor.device, model.training) == (loading.path, loading.device, False)
    with pytest.raises(ValueError, match="batch_size"):
        LanguageModelActor.from_model(model, loading.tokenizer, batch_size=0)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_an_adapter_is_loaded_onto_the_model_it_was_trained_on(
    make_model: Callable[[str], Path], tmp_path: Path
) -> None:
    from peft import LoraConfig, get_peft_model

    tuned = get_peft_model(
        AutoModelForCausalLM.from_pretrained(make_model("llama")), LoraConfig(r=4, target_modules=["q_proj", "v_proj"])
    )
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.3)
    tuned.save_pretrained(str(tmp_path / "adapter"))
    plain = LanguageModelActor(make_model("llama"), device="cpu")
    adapted = LanguageModelActor(make_model("llama"), adapter=tmp_path / "adapter", device="cpu")
    in_memory = LanguageModelActor.from_model(tuned, plain.tokenizer)
    found, expected = (one.score(PROMPTS, [ACTIONS] * 3) for one in (adapted, in_memory))
    assert_alike(found, expected)
    assert adapted.path == "tree"
    assert found[0].probabilities != pytest.approx(plain.score(PROMPTS[:1], [ACTIONS])[0].probabilities, rel=0.01)
