"""Examples a second of the plain loop (both losses) and of TRL, on a model of four layers of 128.

uv run --extra all python packages/teachability/benchmarks/training.py
"""

from __future__ import annotations

import os
import time

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from sightline.teachability import StateView
from sightline.teachability.training import LoRALearner, SFTLearner, TextEncoder
from sightline.teachability.training_records import Example, LearnerConfig

EXAMPLES = 96
WORDS = "a page with some forty words on what is sold here and what it costs and how it looks"


def main() -> None:
    torch.set_num_threads(1)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    encode = TextEncoder(PreTrainedTokenizerFast(tokenizer_object=tokenizer))
    examples = []
    for number in range(EXAMPLES):
        view = StateView("buy it", WORDS, tuple(f"click[{i + number}]" for i in range(10)))
        encoded = encode(view)
        examples.append(
            Example(
                prompt_ids=tuple(encoded.prompt),
                candidates_ids=tuple(map(tuple, encoded.candidates)),
                chosen=number % 10,
                source="correction",
                snapshot_id=str(number),
                group=str(number),
                format="demo",
                action=view.actions[number % 10],
            )
        )
    print("| trainer | loss | examples/CPU s |")
    print("|---|---|---|")
    for kind, loss in ((LoRALearner, "candidates"), (LoRALearner, "tokens"), (SFTLearner, "tokens")):
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=256, hidden_size=128, intermediate_size=344, num_hidden_layers=4, num_attention_heads=4,
                tie_word_embeddings=True, bos_token_id=None, eos_token_id=None, pad_token_id=None,
            )
        ).eval()  # fmt: skip
        learner = kind(model, encode, LearnerConfig(loss=loss, epochs=1))
        learner.fit(examples[:8], seed=0)
        started = time.process_time()
        learner.fit(examples, seed=0)
        print(f"| {kind.__name__} | {loss} | {EXAMPLES / (time.process_time() - started):.1f} |")


if __name__ == "__main__":
    main()
