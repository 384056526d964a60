from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize, one_hot

from sightline.jepa.config import PredictorConfig, ScorerConfig
from sightline.jepa.models.routed_predictor import extended
from sightline.jepa.models.scorer import FilterAwareScorer

COUNT, DIMENSION, CATEGORIES, SOURCES = 7, 12, 4, 30
PREDICTOR = PredictorConfig(dimension=DIMENSION, hidden_dimension=6)


def unit(seed: int, count: int, dimension: int = DIMENSION) -> torch.Tensor:
    return normalize(torch.randn(count, dimension, generator=torch.Generator().manual_seed(seed)), dim=1)


QUESTION, STEERING, DESCRIPTIONS, INDEX = unit(1, COUNT), unit(2, COUNT), unit(3, CATEGORIES), unit(4, SOURCES)
CATEGORY = torch.arange(SOURCES) % CATEGORIES
GIVEN = torch.tensor([True, False, True, True, False, True, False])


def scorer(**changes: object) -> FilterAwareScorer:
    """A scorer whose every weight says something."""
    made = FilterAwareScorer(PREDICTOR, ScorerConfig.model_validate(changes), DESCRIPTIONS)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return made


def scores_of(made: FilterAwareScorer, strength: float = 1.0) -> torch.Tensor:
    index = extended(made.embed_sources(INDEX), CATEGORY, CATEGORIES).detach()
    return made.predict(QUESTION, STEERING, GIVEN, strength) @ index.T


def test_untrained_and_without_steering_it_is_cosine():
    made = FilterAwareScorer(PREDICTOR, ScorerConfig(), DESCRIPTIONS)
    torch.testing.assert_close(scores_of(made, 0.0), QUESTION @ INDEX.T)
    torch.testing.assert_close(scores_of(made)[~GIVEN], (QUESTION @ INDEX.T)[~GIVEN])


@settings(max_examples=25, deadline=None)
@given(weight=st.floats(0.001, 1), temperature=st.floats(0.02, 1), floor=st.floats(0.01, 0.9))
def test_scores_are_the_formula_number_by_number(weight: float, temperature: float, floor: float):
    changes = {"category_weight": weight, "category_temperature": temperature, "category_floor": floor}
    made = FilterAwareScorer(PREDICTOR, ScorerConfig.model_validate(changes), DESCRIPTIONS)
    with torch.no_grad():
        made.question_map.weight.copy_(unit(6, DIMENSION) / 3)
        made.source_map.weight.copy_(unit(7, DIMENSION) / 3)
    found = scores_of(made).double().numpy()
    question, source = QUESTION.double().numpy(), INDEX.double().numpy()
    question = question + question @ made.question_map.weight.detach().double().numpy().T
    source = source + source @ made.source_map.weight.detach().double().numpy().T
    for row in range(COUNT):
        said = np.exp(DESCRIPTIONS.double().numpy() @ STEERING[row].double().numpy() / temperature)
        category = (1 - floor) * said / said.sum() + floor / CATEGORIES
        for column in range(SOURCES):
            cosine = question[row] @ source[column]
            cosine /= np.linalg.norm(question[row]) * np.linalg.norm(source[column])
            added = weight * math.log(category[CATEGORY[column]]) if GIVEN[row] else 0.0
            assert found[row, column] == pytest.approx(cosine + added, abs=1e-4)


@pytest.mark.parametrize("residual", ["none", "plain"])
def test_strength_zero_ignores_steering_and_one_is_as_trained(residual: str):
    made = scorer(residual=residual)
    unsteered = made.predict(QUESTION, STEERING, torch.zeros_like(GIVEN))
    torch.testing.assert_close(made.predict(QUESTION, STEERING, GIVEN, 0.0), unsteered)
    assert torch.equal(made.predict(QUESTION, STEERING, GIVEN, 1.0), made.predict(QUESTION, STEERING, GIVEN))
    assert not torch.equal(made.predict(QUESTION, STEERING, GIVEN)[GIVEN], unsteered[GIVEN])


def test_a_growing_strength_moves_results_into_the_category_until_nothing_else_comes_before_it():
    made = scorer()
    wanted = (STEERING @ DESCRIPTIONS.T).argmax(dim=1)
    inside = wanted[:, None] == CATEGORY
    per_category = int((CATEGORY == 0).sum()) - 1
    shares = []
    for strength in (0.0, 1.0, 5.0, 50.0, math.inf):
        first = scores_of(made, strength).topk(per_category, dim=1).indices
        shares.append(float(inside.gather(1, first)[GIVEN].float().mean()))
    assert shares == sorted(shares)
    assert shares[0] < 0.6
    assert shares[-1] == 1.0
    hard, unfiltered = scores_of(made, math.inf), scores_of(made, 0.0)
    torch.testing.assert_close(hard[inside & GIVEN[:, None]], unfiltered[inside & GIVEN[:, None]])
    torch.testing.assert_close(hard[~GIVEN], unfiltered[~GIVEN])
    assert torch.isfinite(hard).all()


@pytest.mark.parametrize("strength", [-0.1, math.nan])
def test_a_strength_that_is_none_is_refused(strength: float):
    with pytest.raises(ValueError, match="must not be negative"):
        scorer().predict(QUESTION, STEERING, GIVEN, strength)


@pytest.mark.parametrize("residual", ["none", "plain"])
def test_vectors_that_are_not_given_do_not_matter(residual: str):
    made = scorer(residual=residual)
    changed = torch.where(GIVEN[:, None], STEERING, 9.0)
    torch.testing.assert_close(made.predict(QUESTION, changed, GIVEN), made.predict(QUESTION, STEERING, GIVEN))
    alone = [made.predict(QUESTION[[at]], STEERING[[at]], GIVEN[[at]]) for at in range(COUNT)]
    torch.testing.assert_close(torch.cat(alone), made.predict(QUESTION, STEERING, GIVEN))


def test_the_distribution_over_categories_sums_to_one_and_rules_none_out():
    made = FilterAwareScorer(PREDICTOR, ScorerConfig(category_temperature=1e-3), DESCRIPTIONS)
    logarithms = made.category_logarithms(DESCRIPTIONS, torch.ones(CATEGORIES, dtype=torch.bool)).detach()
    torch.testing.assert_close(logarithms.exp().sum(dim=1), torch.ones(CATEGORIES))
    assert logarithms.argmax(dim=1).tolist() == list(range(CATEGORIES))
    torch.testing.assert_close(logarithms.min(), torch.tensor(0.01 / CATEGORIES).log())
    nothing = made.category_logarithms(STEERING, torch.zeros(COUNT, dtype=torch.bool)).detach()
    torch.testing.assert_close(nothing, torch.full_like(nothing, -math.log(CATEGORIES)))


def test_categories_that_training_has_not_seen_are_known_by_their_descriptions():
    made = scorer()
    before = made.predict(QUESTION, STEERING, GIVEN)[:, :DIMENSION]
    new = torch.cat([DESCRIPTIONS, STEERING[:1]])
    made.with_descriptions(new)
    assert made.num_categories == CATEGORIES + 1
    query = made.predict(QUESTION, STEERING, GIVEN)
    assert query.shape == (COUNT, DIMENSION + CATEGORIES + 1)
    torch.testing.assert_close(query[:, :DIMENSION], before)
    assert int(query[0, DIMENSION:].argmax()) == CATEGORIES
    with pytest.raises(ValueError, match=r"\[K, 12\]"):
        made.with_descriptions(torch.ones(3, 5))


def test_steering_of_another_width_learns_which_category_it_means():
    made = FilterAwareScorer(PREDICTOR, ScorerConfig(steering_dimension=5), DESCRIPTIONS)
    states = unit(8, CATEGORIES, 5)
    given = torch.ones(CATEGORIES, dtype=torch.bool)
    with torch.no_grad():
        said = made.category_logarithms(states, given)
        torch.testing.assert_close(said, torch.full_like(said, -math.log(CATEGORIES)))  # nothing, as yet
    optimizer = torch.optim.Adam(made.parameters(), lr=0.02)
    for _ in range(100):
        optimizer.zero_grad()
        query = made(INDEX[:CATEGORIES], states, given).query  # only the state can tell the category
        logits = query @ extended(made.embed_sources(INDEX[:1]).expand(CATEGORIES, -1), torch.arange(4), 4).T
        torch.nn.functional.cross_entropy(logits / 0.05, torch.arange(CATEGORIES)).backward()
        optimizer.step()
    assert made.category_logarithms(states, given).argmax(dim=1).tolist() == list(range(CATEGORIES))
    with pytest.raises(ValueError, match=r"\[B, 12\] and \[B, 5\]"):
        made.predict(QUESTION, STEERING, GIVEN)


def test_states_that_happen_to_be_as_wide_as_embeddings_are_no_embeddings():
    made = FilterAwareScorer(PREDICTOR, ScorerConfig(steering_dimension=DIMENSION), DESCRIPTIONS)
    given = torch.ones(CATEGORIES, dtype=torch.bool)
    said = made.category_logarithms(DESCRIPTIONS, given)
    torch.testing.assert_close(said, torch.full_like(said, -math.log(CATEGORIES)))  # nothing, as yet
    embedded = FilterAwareScorer(PREDICTOR, ScorerConfig(), DESCRIPTIONS).category_logarithms(DESCRIPTIONS, given)
    assert embedded.argmax(dim=1).tolist() == list(range(CATEGORIES))


def test_the_filter_learns_to_be_trusted_as_much_as_it_is_right():
    """Sources differ by category alone: what is learned is then the posterior of the category itself."""
    right = 0.7
    rng = torch.Generator().manual_seed(9)
    true = torch.randint(CATEGORIES, (4000,), generator=rng)
    other = (true + torch.randint(1, CATEGORIES, (4000,), generator=rng)) % CATEGORIES
    told = torch.where(torch.rand(4000, generator=rng) < right, true, other)
    axes = torch.eye(DIMENSION)
    made = FilterAwareScorer(PREDICTOR, ScorerConfig(), axes[:CATEGORIES])
    optimizer = torch.optim.Adam(made.scalars, lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        prior = made(axes[-1:].expand(4000, -1), axes[told], torch.ones(4000, dtype=torch.bool)).prior
        torch.nn.functional.cross_entropy(prior / 0.05, true).backward()
        optimizer.step()
    learned = (prior / 0.05).softmax(dim=1)[one_hot(told, CATEGORIES).bool()].mean()
    assert float(learned.detach()) == pytest.approx(right, abs=0.03)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"\[K, 12\]"):
        FilterAwareScorer(PREDICTOR, ScorerConfig(), torch.ones(3, 5))
    with pytest.raises(ValueError, match="'auto' is for the trainer"):
        FilterAwareScorer(PREDICTOR, ScorerConfig(residual="auto"), DESCRIPTIONS)
    with pytest.raises(ValueError, match="has_steering must be bool"):
        scorer().predict(QUESTION, STEERING, GIVEN.float())
