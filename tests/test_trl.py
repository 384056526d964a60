"""TRL's GRPO trainer plays the shop through the adapter, with a tiny untrained model and no network.

The model's weights are random, so left alone it would never write a tool call. Its vocabulary therefore holds three
whole tool calls as single tokens, and generation is confined to these and the end of a turn. What this shows is that
the trainer accepts the environment, offers its two tools, runs the calls that the model samples, feeds pages and errors
back, and learns from the environment's reward; not that a model learns to shop.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sightline.webshop_env import Catalogue, Shop, build_goals, expert_action, parse_action
from sightline.webshop_env.adapters.trl import ShopTools, environment_factory, training_rows

os.environ.update(HF_HUB_OFFLINE="1", TRL_EXPERIMENTAL_SILENCE="1")

import torch
from datasets import Dataset
from tokenizers import AddedToken, Regex, Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM
from trl import GRPOConfig, GRPOTrainer

# TRL reads a property that transformers has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

GOAL = 3
GROUP = 8
END = "<|im_end|>"
TEMPLATE = (
    "{% if tools %}<|im_start|>system\n{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}"
    "{% for call in message.tool_calls or [] %}<tool_call>{{ call.function | tojson }}</tool_call>{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
RESPONSE_TEMPLATE = {
    "defaults": {"role": "assistant"},
    "start_anchor": "<|im_start|>assistant\n",
    "fields": {
        "tool_calls": {
            "open": "<tool_call>",
            "close": "</tool_call>",
            "repeats": True,
            "content": "json",
            "transform": {"type": "function", "function": "{content}"},
        },
        "content": {"close": END, "content": "text"},
    },
}


@pytest.fixture(scope="module")
def shop() -> Shop:
    catalogue = Catalogue.generate(products=60, seed=5)
    return Shop(catalogue, build_goals(catalogue, "human", seed=5), step_limit=15)


def tool_call(action: str) -> str:
    name, argument = parse_action(action) or ("", "")
    call = {"name": name, "arguments": {"words" if name == "search" else "label": argument}}
    return f"<tool_call>{json.dumps(call)}</tool_call>"


@pytest.fixture(scope="module")
def calls(shop: Shop) -> list[str]:
    """A whole episode that ends in a purchase, a search alone, and a click that is never offered."""
    state, actions = shop.start(GOAL), []
    while not state.done:
        actions.append(expert_action(shop, state))
        state, _ = shop.act(state, actions[-1])
    assert state.reward > 0.5
    return ["".join(map(tool_call, actions)), tool_call(actions[0]), tool_call("click[no such label]")]


@pytest.fixture(scope="module")
def tokenizer(shop: Shop, calls: list[str]) -> PreTrainedTokenizerFast:
    """Whole words and single other characters, special tokens, and the tool calls as one token each."""
    page = environment_factory(shop)().reset(goal=GOAL)
    pieces = dict.fromkeys(["<unk>", *re.findall(r"\w+|\W", page + TEMPLATE + "".join(calls))])
    words = Tokenizer(WordLevel({piece: number for number, piece in enumerate(pieces)}, unk_token="<unk>"))
    words.pre_tokenizer = Split(Regex(r"\w+|\W"), behavior="isolated")
    words.decoder = Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, eos_token=END, pad_token="<pad>", additional_special_tokens=["<|im_start|>"]
    )
    tokenizer.add_tokens([AddedToken(call, normalized=False) for call in calls])
    tokenizer.chat_template = TEMPLATE
    tokenizer.response_template = RESPONSE_TEMPLATE
    return tokenizer


@pytest.fixture
def model(tokenizer: PreTrainedTokenizerFast) -> Qwen2ForCausalLM:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=8192,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return Qwen2ForCausalLM(config)


@pytest.fixture
def configuration(tokenizer: PreTrainedTokenizerFast, calls: list[str], tmp_path: Path) -> GRPOConfig:
    allowed = {tokenizer.convert_tokens_to_ids(token) for token in (END, *calls)}
    assert len(allowed) == 1 + len(calls)
    return GRPOConfig(
        output_dir=str(tmp_path),
        max_steps=1,
        per_device_train_batch_size=GROUP,
        num_generations=GROUP,
        max_completion_length=4000,
        max_tool_calling_iterations=1,
        generation_kwargs={"suppress_tokens": sorted(set(range(len(tokenizer))) - allowed)},
        learning_rate=0.01,
        bf16=False,
        use_cpu=True,
        activation_checkpointing=False,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=0,
    )


def test_a_grpo_run_steps_the_shop_and_learns_from_its_reward(
    shop: Shop, tokenizer: PreTrainedTokenizerFast, model: Qwen2ForCausalLM, configuration: GRPOConfig
) -> None:
    environments: list[ShopTools] = []

    def factory() -> ShopTools:
        environments.append(environment_factory(shop)())
        return environments[-1]

    before = {name: value.clone() for name, value in model.named_parameters()}
    trainer = GRPOTrainer(
        model=model,
        args=configuration,
        train_dataset=Dataset.from_list(training_rows(shop, [GOAL] * 2)),
        processing_class=tokenizer,
        environment_factory=factory,
    )
    assert trainer.tools == [environments[0].click, environments[0].search]
    trainer.train()
    (step,) = (entry for entry in trainer.state.log_history if "reward" in entry)
    assert step["tools/call_frequency"] > 0
    assert 0 < step["tools/failure_frequency"] < 1
    rewards = [environment.get_reward() for environment in environments]
    assert len(rewards) == GROUP
    assert step[f"rewards/{ShopTools.__name__}/mean"] == pytest.approx(sum(rewards) / GROUP)
    assert min(rewards) < 0.5 < max(rewards)
    assert any(not torch.equal(before[name], value) for name, value in model.named_parameters())


@pytest.mark.slow
def test_the_example_of_grpo_trains_whatever_model_is_given(
    model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    folder, trained = tmp_path / "model", tmp_path / "trained"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    example = Path(__file__).resolve().parents[1] / "examples" / "grpo.py"
    flags = ["--model", str(folder), "--steps", "1", "--goals", "2", "--output", str(trained)]
    done = subprocess.run([sys.executable, str(example), *flags], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (trained / "model.safetensors").is_file()
