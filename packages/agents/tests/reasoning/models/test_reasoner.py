from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from torch.nn import functional

from sightline.agents.reasoning import (
    HRM,
    TRM,
    Addition,
    HRMConfig,
    Latents,
    Output,
    PlainConfig,
    PlainNetwork,
    PuzzleError,
    Sudoku,
    TRMConfig,
    make_reasoner,
)

TASK = Addition(1)
Gradient = Literal["one_step", "last_cycle", "full"]


def questions(count: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(TASK.sample(np.random.default_rng(seed), count).inputs)


def small(kind: str = "trm", **settings: object) -> TRM | HRM | PlainNetwork:
    configs = {"trm": TRMConfig, "hrm": HRMConfig, "plain": PlainConfig}
    return make_reasoner(configs[kind].for_task(TASK, **{"width": 16, "heads": 2, "layers": 1} | settings))


def random_latents(model: TRM | HRM | PlainNetwork, inputs: torch.Tensor) -> Latents:
    generator = torch.Generator().manual_seed(1)
    start = model.initial(inputs)
    return Latents(
        torch.randn(start.answer.shape, generator=generator, dtype=start.answer.dtype),
        torch.randn(start.latent.shape, generator=generator, dtype=start.latent.dtype),
    )


def trm_by_hand(
    model: TRM, inputs: torch.Tensor, answer: torch.Tensor, latent: torch.Tensor, cycles: int, updates: int
):
    """The update equations with cells second, [B, L, D], and each layer spelt out."""
    weights = model.state_dict()

    def network(x: torch.Tensor) -> torch.Tensor:
        up, down = weights["networks.0.blocks.0.0.up"], weights["networks.0.blocks.0.0.down"]
        gate, value = torch.einsum("hl,bld->bhd", up, x).chunk(2, dim=1)
        x = x + torch.einsum("lh,bhd->bld", down, gate * torch.sigmoid(gate) * value)
        x = x / (x.square().mean(dim=-1, keepdim=True) + torch.finfo(x.dtype).eps).sqrt()
        prefix = "networks.0.blocks.0.1."
        gate, value = x @ weights[prefix + "gate"].T, x @ weights[prefix + "up"].T
        x = x + (gate * torch.sigmoid(gate) * value) @ weights[prefix + "down"].T
        return x / (x.square().mean(dim=-1, keepdim=True) + torch.finfo(x.dtype).eps).sqrt()

    question = (model.config.width / 2) ** 0.5 * (weights["embedding"][inputs] + weights["position"])
    for _ in range(cycles):
        for _ in range(updates):
            latent = network(latent + answer + question)
        answer = network(answer + latent)
    return answer, latent


@pytest.mark.parametrize(("cycles", "updates"), [(1, 1), (2, 3)])
def test_a_segment_follows_the_update_equations(cycles: int, updates: int) -> None:
    model = small(cycles=cycles, updates=updates).double()
    assert isinstance(model, TRM)
    inputs = questions(3)
    latents = random_latents(model, inputs)
    with torch.no_grad():
        got, output = model(inputs, latents)
        answer, latent = trm_by_hand(
            model, inputs, latents.answer.transpose(0, 1), latents.latent.transpose(0, 1), cycles, updates
        )
        torch.testing.assert_close(got.answer.transpose(0, 1), answer)
        torch.testing.assert_close(got.latent.transpose(0, 1), latent)
        torch.testing.assert_close(output.logits, answer @ model.state_dict()["head.weight"].T)
        assert (output.halt == -5).all()


@pytest.mark.parametrize("mixing", ["positions", "attention"])
@pytest.mark.parametrize("kind", ["trm", "hrm"])
def test_the_gradient_of_one_cycle_is_that_of_finite_differences(kind: str, mixing: str) -> None:
    model = small(kind, mixing=mixing, cycles=1, updates=2, width=8).double()
    inputs = questions(2)
    latents = random_latents(model, inputs)
    targets = torch.randint(0, 11, (2, TASK.length), generator=torch.Generator().manual_seed(2))
    torch.nn.init.normal_(model.halt.weight, generator=torch.Generator().manual_seed(3))

    def loss() -> torch.Tensor:
        _, output = model(inputs, latents)
        return functional.cross_entropy(output.logits.transpose(1, 2), targets) + output.halt.sum()

    loss().backward()
    generator = torch.Generator().manual_seed(4)
    for name, parameter in model.named_parameters():
        gradient = parameter.grad
        assert gradient is not None, name
        direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        values = []
        with torch.no_grad():
            for step in (1e-5, -1e-5):
                parameter += step * direction
                values.append(loss().item())
                parameter -= step * direction
        numeric = (values[0] - values[1]) / 2e-5
        assert (gradient * direction).sum().item() == pytest.approx(numeric, rel=1e-4, abs=1e-6), name


def gradients(gradient: Gradient, *, cycles: int, kind: str = "trm") -> torch.Tensor:
    model = small(kind, gradient=gradient, cycles=cycles, updates=3).double()
    inputs = questions(4)
    _, output = model(inputs, random_latents(model, inputs))
    output.logits.square().sum().backward()
    parts = [p.grad.flatten() for p in model.networks.parameters() if p.grad is not None]
    return torch.cat(parts)


@pytest.mark.parametrize("kind", ["trm", "hrm"])
def test_full_gradients_are_those_of_the_last_cycle_exactly_where_there_is_one_cycle(kind: str) -> None:
    torch.testing.assert_close(
        gradients("full", cycles=1, kind=kind), gradients("last_cycle", cycles=1, kind=kind), rtol=0, atol=0
    )
    assert not torch.allclose(gradients("full", cycles=2, kind=kind), gradients("last_cycle", cycles=2, kind=kind))
    assert not torch.allclose(gradients("one_step", cycles=1, kind=kind), gradients("last_cycle", cycles=1, kind=kind))


@pytest.mark.parametrize("gradient", ["one_step", "last_cycle", "full"])
def test_what_gradients_cross_does_not_change_the_answer(gradient: Gradient) -> None:
    inputs = questions(4)
    outputs = []
    for setting in (gradient, "full"):
        model = small(gradient=setting, cycles=3)
        outputs.append(model(inputs, model.initial(inputs))[1].logits.detach())
    torch.testing.assert_close(outputs[0], outputs[1], rtol=0, atol=0)


@pytest.mark.parametrize("mixing", ["positions", "attention"])
@pytest.mark.parametrize("kind", ["trm", "hrm", "plain"])
def test_questions_in_one_batch_do_not_see_each_other(kind: str, mixing: str) -> None:
    model = small(kind, mixing=mixing).double()
    inputs = questions(2)
    latents = random_latents(model, inputs)
    together, output = model(inputs, latents)
    for row in range(2):
        index = torch.tensor([row])
        alone, single = model(inputs[index], latents.rows(index))
        torch.testing.assert_close(together.rows(index).answer, alone.answer)
        torch.testing.assert_close(output.logits[index], single.logits)


def test_attention_knows_the_places_of_cells() -> None:
    model = small("plain", mixing="attention").double()
    with torch.no_grad():
        model.position.zero_()  # so that places are known by rotation alone
    inputs = torch.tensor([[2, 3, 0, 0], [3, 2, 0, 0]])
    _, output = model(inputs, model.initial(inputs))
    assert not torch.allclose(output.logits[0, 2], output.logits[1, 2])


def test_the_question_reaches_its_embedding_only_where_it_is_injected_again() -> None:
    inputs = questions(4)
    for reinject in (True, False):
        model = small(reinject=reinject)
        latents = model.initial(inputs).detach()
        _, output = model(inputs, latents)
        output.logits.square().sum().backward()
        assert (model.embedding.grad is not None) == reinject


def test_hrm_has_as_many_parameters_as_trm_and_a_plain_network_as_well() -> None:
    config = TRMConfig.for_task(Sudoku(6))
    count = sum(parameter.numel() for parameter in TRM(config).parameters())
    assert count == 67_969
    for other in (HRM(HRMConfig.for_task(Sudoku(6))), PlainNetwork(PlainConfig.equal_parameters(config))):
        assert sum(parameter.numel() for parameter in other.parameters()) == count
    assert PlainConfig.equal_compute(config).layers == config.layers * 8


def test_the_two_networks_of_hrm_each_move_what_is_theirs() -> None:
    model = small("hrm", cycles=1, updates=1)
    inputs = questions(2)
    before, _ = model(inputs, model.initial(inputs))
    with torch.no_grad():
        for parameter in model.networks[1].parameters():
            parameter += 0.1
    after, _ = model(inputs, model.initial(inputs))
    torch.testing.assert_close(before.latent, after.latent, rtol=0, atol=0)
    assert not torch.allclose(before.answer, after.answer)


def test_equal_seeds_give_equal_weights_and_others_do_not() -> None:
    first, second, third = (small(seed=seed).state_dict() for seed in (5, 5, 6))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["embedding"], third["embedding"])


def test_the_second_decision_is_there_when_asked_for() -> None:
    inputs = questions(2)
    model = small(continue_head=True)
    _, output = model(inputs, model.initial(inputs))
    assert output.proceed is not None
    torch.testing.assert_close(output.margin, output.halt - output.proceed)
    assert small()(inputs, small().initial(inputs))[1].proceed is None


def test_a_game_gets_a_policy_and_a_value() -> None:
    model = TRM(TRMConfig(task="game", length=30, vocabulary=3, actions=6, width=16))
    inputs = torch.randint(0, 3, (5, 30), generator=torch.Generator().manual_seed(0))
    _, output = model(inputs, model.initial(inputs))
    assert output.logits.shape == (5, 6)
    assert output.value is not None
    assert output.value.shape == (5,)
    assert (output.value.abs() <= 1).all()


def test_half_precision_stays_close_to_full() -> None:
    inputs = questions(8)
    model = small()
    with torch.no_grad():
        full = model(inputs, model.initial(inputs))[1].logits
        half = model(inputs, model.initial(inputs, torch.bfloat16), torch.bfloat16)[1].logits
    assert half.dtype == torch.float32
    assert (full - half).abs().max() < 0.2


class Sure(PlainNetwork):
    """Answers with the right digit of the sum, as sure as the first number's digit says."""

    carries = True

    def __init__(self, threshold: float | None) -> None:
        super().__init__(PlainConfig.for_task(TASK, width=8, halt_threshold=threshold))
        self.seen: list[int] = []

    def forward(self, inputs: torch.Tensor, latents: Latents, dtype: torch.dtype | None = None):
        self.seen.append(len(inputs))
        exact = torch.from_numpy(TASK.solve(inputs.numpy()).targets)
        step = int(latents.answer[0, 0, 0])
        logits = functional.one_hot(exact, 11).double()
        confidence = torch.where(inputs[:, 0] - 1 <= step, 0.9, 0.1 + 0.1 * step)
        return Latents(latents.answer + 1, latents.latent), Output(logits, None, torch.logit(confidence), None)

    def initial(self, inputs: torch.Tensor, dtype: torch.dtype | None = None) -> Latents:
        return Latents(torch.zeros(4, len(inputs), 1), torch.zeros(0, len(inputs), 1))


def test_solving_stops_for_each_puzzle_once_it_is_sure_enough() -> None:
    model = Sure(0.8)
    puzzles = np.array([[1, 5, 0, 0], [3, 5, 0, 0], [10, 5, 0, 0]])
    answers = model.solve(puzzles, max_steps=4)
    assert answers.steps.tolist() == [1, 3, 4]
    assert model.seen == [3, 2, 2, 1]
    assert answers.solved.all()
    np.testing.assert_allclose(answers.confidence, [0.9, 0.9, 0.4], rtol=1e-6)
    assert (answers.cells == TASK.solve(puzzles).targets).all()


def test_without_a_threshold_all_steps_are_gone_through() -> None:
    assert Sure(None).solve(np.array([[1, 5, 0, 0]]), max_steps=3).steps.tolist() == [3]


def test_a_plain_network_answers_in_one_step() -> None:
    assert small("plain").solve(np.array([[1, 5, 0, 0]]), max_steps=9).steps.tolist() == [1]


def test_solving_alone_is_solving_together() -> None:
    model = small(halt_threshold=0.0077).double()
    puzzles = TASK.sample(np.random.default_rng(0), 20).inputs
    with torch.no_grad():
        model.halt.weight.normal_(generator=torch.Generator().manual_seed(1)).mul_(0.1)
    together = model.solve(puzzles, max_steps=6)
    assert len(set(together.steps.tolist())) > 1
    for row in range(20):
        alone = model.solve(puzzles[row : row + 1], max_steps=6)
        assert (alone.cells[0] == together.cells[row]).all()
        assert alone.steps[0] == together.steps[row]


def test_what_cannot_be_answered_is_refused() -> None:
    model = small()
    with pytest.raises(PuzzleError, match="puzzle 0 has no answer"):
        model.solve(np.zeros((1, 4), dtype=np.int64))
    assert not model.solve(np.zeros((1, 4), dtype=np.int64), check=False).solved[0]
    with pytest.raises(ValueError, match="max_steps must be positive"):
        model.solve(np.array([[1, 5, 0, 0]]), max_steps=0)
    with pytest.raises(ValueError, match="no puzzle is called 'game'"):
        TRM(TRMConfig(task="game", length=4, vocabulary=3, width=8)).solve(np.zeros((1, 4), dtype=np.int64))


def test_rotary_attention_needs_an_even_share_of_the_width() -> None:
    with pytest.raises(ValueError, match="width 12 is no multiple of 2 x 4 heads"):
        TRMConfig.for_task(TASK, width=12, mixing="attention")
