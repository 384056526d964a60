from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, MistralConfig

from sightline.agents.actors.candidate_scoring import (
    PackedPrompt,
    candidate_and_prompt_log_probabilities,
    candidate_log_probabilities,
    encode_prompts,
    plain_log_probabilities,
)
from sightline.agents.actors.prefix_cache import PrefixCache
from sightline.agents.student.tokenizer import train_tokenizer

VOCABULARY = 40
COMMON = [(7 * index) % VOCABULARY for index in range(60)]
LLAMA_LIKE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
CONFIGS = {
    "llama": LlamaConfig(**LLAMA_LIKE),
    "gpt2": GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=128),
    "mistral": MistralConfig(sliding_window=100, **LLAMA_LIKE),
}
BLOCK_BYTES = 4 * 2 * 2 * 2 * 8 * 4 + 16  # Llama: 4 tokens, keys and values, layers, key heads, head size, float32; key

TOKENS = st.integers(0, VOCABULARY - 1)
PROMPTS = st.builds(
    lambda shared, own: COMMON[:shared] + own, st.integers(0, len(COMMON)), st.lists(TOKENS, min_size=1, max_size=12)
)
CANDIDATES = st.lists(st.lists(TOKENS, min_size=1, max_size=4), min_size=1, max_size=3).flatmap(
    lambda candidates: st.sampled_from([candidates, [*candidates, candidates[0]]])
)
BATCHES = st.lists(
    st.lists(st.builds(PackedPrompt, PROMPTS, CANDIDATES), min_size=1, max_size=2), min_size=1, max_size=3
)


@functools.cache
def make_model(name: str) -> Any:
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_config(CONFIGS[name]).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(8)  # so that predictions differ
    return model


def truth(model: Any, packed: PackedPrompt) -> list[float]:
    """Each candidate's log-probability, token by token from the model's plain predictions."""
    sums = []
    for candidate in packed.candidates:
        logs = model(torch.tensor([packed.prompt + candidate])).logits[0].log_softmax(-1)
        first = len(packed.prompt) - 1
        sums.append(sum(float(logs[first + offset, token]) for offset, token in enumerate(candidate)))
    return sums


@pytest.mark.parametrize("name", CONFIGS)
@settings(deadline=None, max_examples=10)
@given(batches=BATCHES, blocks=st.sampled_from([0, 3, 10, 1000]), block_tokens=st.sampled_from([1, 4, 16]))
def test_every_way_of_scoring_gives_what_plain_passes_give(
    name: str, batches: list[list[PackedPrompt]], blocks: int, block_tokens: int
) -> None:
    model = make_model(name)
    prefixes = PrefixCache(blocks * BLOCK_BYTES, block_tokens)
    with torch.inference_mode():
        for batch in batches:
            expected = [pytest.approx(truth(model, packed), abs=2e-4) for packed in batch]
            assert [sums.tolist() for sums in candidate_log_probabilities(model, batch)] == expected
            assert [sums.tolist() for sums in candidate_log_probabilities(model, batch, prefixes)] == expected
            assert [plain_log_probabilities(model, packed).tolist() for packed in batch] == expected
            assert prefixes.held_bytes <= blocks * BLOCK_BYTES


@pytest.mark.parametrize("name", CONFIGS)
@settings(deadline=None, max_examples=10)
@given(batch=st.lists(st.builds(PackedPrompt, PROMPTS, CANDIDATES), min_size=1, max_size=3))
def test_prompts_are_foreseen_as_plain_passes_foresee_them(name: str, batch: list[PackedPrompt]) -> None:
    model = make_model(name)
    with torch.inference_mode():
        sums, read = candidate_and_prompt_log_probabilities(model, batch)
        assert [found.tolist() for found in sums] == [pytest.approx(truth(model, packed), abs=2e-4) for packed in batch]
        for packed, found in zip(batch, read.tolist(), strict=True):
            logs = model(torch.tensor([packed.prompt])).logits[0].log_softmax(-1)
            foreseen = [float(logs[place, token]) for place, token in enumerate(packed.prompt[1:])]
            assert found == pytest.approx(sum(foreseen) / max(len(foreseen), 1), abs=2e-4)


@torch.inference_mode()
def test_a_prompt_that_grows_is_read_from_where_it_grew() -> None:
    model = make_model("llama")
    prefixes = PrefixCache(1000 * BLOCK_BYTES, block_tokens=4)
    read: list[int] = []
    watch = model.register_forward_pre_hook(
        lambda _module, _args, named: read.append(named["input_ids"].shape[1]), with_kwargs=True
    )
    for length in (20, 31, 31, 60):
        candidate_log_probabilities(model, [PackedPrompt(COMMON[:length], [[1, 2], [3]])], prefixes)
    watch.remove()
    # One candidate token is read; the last token of a prompt always is, so of 20 tokens 5 blocks are held.
    assert read == [20 + 1, 31 - 20 + 1, 31 - 28 + 1, 60 - 28 + 1]
    assert prefixes.reused_tokens == 20 + 28 + 28
    assert prefixes.held_tokens(COMMON[:60]) == 56
    assert prefixes.held_bytes == 15 * BLOCK_BYTES


@torch.inference_mode()
def test_prompts_share_the_blocks_they_have_in_common() -> None:
    prefixes = PrefixCache(1000 * BLOCK_BYTES, block_tokens=4)
    packed_prompts = [PackedPrompt(COMMON[:40] + [end] * 4, [[1]]) for end in range(3)]
    candidate_log_probabilities(make_model("llama"), packed_prompts, prefixes)
    assert prefixes.held_bytes == (10 + 3) * BLOCK_BYTES


@torch.inference_mode()
def test_a_full_cache_keeps_the_beginning_of_what_was_read_last() -> None:
    prefixes = PrefixCache(5 * BLOCK_BYTES, block_tokens=4)
    for prompt in (COMMON[20:40], COMMON[:40]):
        candidate_log_probabilities(make_model("llama"), [PackedPrompt(prompt, [[1]])], prefixes)
    assert prefixes.held_tokens(COMMON[:40]) == 20
    assert prefixes.held_tokens(COMMON[20:40]) == 0


def test_a_scored_batch_without_a_cache_lets_gradients_flow() -> None:
    model = make_model("llama")
    (sums,) = candidate_log_probabilities(model, [PackedPrompt(COMMON[:5], [[1, 2], [3]])])
    (gradient,) = torch.autograd.grad(sums.sum(), [model.lm_head.weight])
    assert gradient.abs().sum() > 0


def test_a_block_without_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 token, not 0"):
        PrefixCache(1, block_tokens=0)


PROMPT = "task: a red lamp\npage:\n[button] red [button_]\na lamp\naction:"
TEMPLATE = (
    "{% for message in messages %}<s>{{ message['role'] }}\n{{ message['content'] }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)


def spaceless(text: str) -> str:
    """A text as the student's tokenizer keeps it."""
    return text.replace(" ", "")


def make_tokenizer() -> Any:
    tokenizer = train_tokenizer([PROMPT, "<s>user assistant</s>"] * 3, ("<s>", "</s>"), 330, 1024)
    tokenizer.add_special_tokens({"bos_token": "<s>", "eos_token": "</s>"})
    return tokenizer


def test_a_prompt_is_put_into_the_chat_template_and_the_assistants_turn_begins_with_its_last_line() -> None:
    tokenizer = make_tokenizer()
    (plain,) = encode_prompts(tokenizer, [PROMPT], [500])
    assert tokenizer.decode(plain) == spaceless(PROMPT)
    tokenizer.chat_template = TEMPLATE
    (chat,) = encode_prompts(tokenizer, [PROMPT], [500])
    said = PROMPT.removesuffix("\naction:")
    assert tokenizer.decode(chat) == spaceless(f"<s>user\n{said}</s>\n<s>assistant\naction:")
    assert encode_prompts(tokenizer, [PROMPT], [500], chat_template=False) == [plain]


def test_a_tokenizer_that_begins_every_text_adds_nothing_inside_the_chat_template() -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = make_tokenizer()
    tokenizer.chat_template = TEMPLATE
    expected = encode_prompts(tokenizer, [PROMPT], [500])
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.convert_tokens_to_ids("<s>"))]
    )
    assert tokenizer(PROMPT)["input_ids"][0] == tokenizer.bos_token_id
    assert encode_prompts(tokenizer, [PROMPT], [500]) == expected


@given(room=st.integers(40, 200))
@settings(deadline=None, max_examples=20)
def test_a_long_prompt_is_cut_inside_the_template(room: int) -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = TEMPLATE
    (tokens,) = encode_prompts(tokenizer, [PROMPT.replace("a lamp", "another lamp " * 40)], [room])
    text = tokenizer.decode(tokens)
    assert len(tokens) == room
    assert text.startswith("<s>user\ntask")
    assert text.endswith("</s>\n<s>assistant\naction:")


def test_a_template_that_does_not_show_the_users_turn_is_an_error() -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = "<s>assistant\n"
    with pytest.raises(ValueError, match="chat_template=False"):
        encode_prompts(tokenizer, [PROMPT], [500])


def test_an_appended_end_token_does_not_come_between_prompt_and_action() -> None:
    tokenizer = make_tokenizer()
    from tokenizers.processors import TemplateProcessing

    (before,) = encode_prompts(tokenizer, [PROMPT], [500])
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[(name, tokenizer.convert_tokens_to_ids(name)) for name in ("<s>", "</s>")]
    )
    assert tokenizer(PROMPT)["input_ids"] == [tokenizer.bos_token_id, *before, tokenizer.eos_token_id]
    assert encode_prompts(tokenizer, [PROMPT], [500]) == [[tokenizer.bos_token_id, *before]]
