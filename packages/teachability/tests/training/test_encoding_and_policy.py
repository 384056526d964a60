from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sightline.teachability.training.encoding import Encoded, TextEncoder, cut_middle
from sightline.teachability.training.policy import CausalLanguagePolicy, plain_scores
from sightline.teachability.views import StateView

VIEW = StateView("buy a mug", "a page", ("click[a]", "click[a long one]", "search[mug]"))


def test_what_is_supervised_is_the_action_for_every_action(models):
    tokenizer = models.tiny_tokenizer()
    encoded = TextEncoder(tokenizer)(VIEW)
    assert [tokenizer.decode(candidate) for candidate in encoded.candidates] == [f" {a}\n" for a in VIEW.actions]


@given(st.lists(st.integers(0, 9), max_size=40), st.integers(1, 50))
def test_a_cut_keeps_both_ends(tokens, room):
    found = cut_middle(tokens, room)
    assert len(found) == min(len(tokens), room)
    assert found[: room // 3] == tokens[: room // 3] if len(tokens) > room else found == tokens
    if len(tokens) > room:
        assert found[-(room - room // 3) :] == tokens[-(room - room // 3) :]


def test_an_action_that_fills_the_context_is_refused(models):
    with pytest.raises(ValueError, match="leaves no room"):
        TextEncoder(models.tiny_tokenizer(), context=8)(VIEW)


def test_a_prompt_is_cut_to_leave_room_for_the_longest_action(models):
    tokenizer = models.tiny_tokenizer()
    whole = TextEncoder(tokenizer)(VIEW)
    longest = max(map(len, whole.candidates))
    context = len(whole.prompt) + longest
    assert longest > min(map(len, whole.candidates))
    assert TextEncoder(tokenizer, context=context)(VIEW).prompt == whole.prompt
    assert len(TextEncoder(tokenizer, context=context - 1)(VIEW).prompt) == len(whole.prompt) - 1


def test_scores_are_the_log_probabilities_of_one_token_after_another(models):
    model = models.tiny_model()
    batch = [Encoded([5, 6, 7], [[1, 2], [3]]), Encoded([9], [[4, 4, 4]])]
    with torch.no_grad():
        found = plain_scores(model, batch)
        for encoded, sums in zip(batch, found, strict=True):
            for candidate, total in zip(encoded.candidates, sums.tolist(), strict=True):
                expected, context = 0.0, list(encoded.prompt)
                for token in candidate:
                    expected += model(torch.tensor([context])).logits[0, -1].log_softmax(-1)[token].item()
                    context.append(token)
                assert total == pytest.approx(expected, abs=1e-4)


def test_a_policys_distribution_is_the_softmax_of_its_scores_whatever_the_batch(models):
    model, encode = models.tiny_model(), TextEncoder(models.tiny_tokenizer())
    views = [VIEW, StateView("x", "another page, and longer", ("click[b]", "click[c]"))]
    policy = CausalLanguagePolicy(
        model, encode, name="m", fingerprint="w", temperature=0.5, length_normalised=True, batch_size=2
    )
    together = policy.distributions(views, ["a tip", None])
    for view, text, found in zip(views, ["a tip", None], together, strict=True):
        encoded = encode(view, text)
        with torch.no_grad():
            sums = plain_scores(model, [encoded])[0].numpy()
        scores = sums / [len(candidate) for candidate in encoded.candidates] / 0.5
        assert found == pytest.approx(np.exp(scores) / np.exp(scores).sum(), abs=1e-5)
        assert policy.distributions([view], [text])[0] == pytest.approx(found, abs=1e-5)


def test_whatever_changes_the_answers_changes_the_fingerprint(models):
    def fingerprint(weights: str, temperature: float = 1.0, length_normalised: bool = False) -> str:
        return CausalLanguagePolicy(
            None,
            TextEncoder(models.tiny_tokenizer()),
            name="n",
            fingerprint=weights,
            temperature=temperature,
            length_normalised=length_normalised,
        ).fingerprint

    made = {fingerprint("a"), fingerprint("b"), fingerprint("a", 2.0), fingerprint("a", length_normalised=True)}
    assert len(made) == 4
