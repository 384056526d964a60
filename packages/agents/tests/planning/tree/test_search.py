from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.agents.planning import EvaluatorError, Expansion, ModelError, Search, SearchResult, as_model
from sightline.agents.selfplay import Board, ConnectFour, RandomGames, TicTacToe


def rows(result: SearchResult, index: int) -> tuple[Any, ...]:
    return result.visits[index], result.q[index], result.policy[index], result.value[index], result.action[index]


def assert_equal(first: SearchResult, second: SearchResult, one: int, other: int) -> None:
    assert first.visits[one].tolist() == second.visits[other].tolist()
    np.testing.assert_allclose(first.q[one], second.q[other], atol=1e-6)
    np.testing.assert_allclose(first.policy[one], second.policy[other], atol=1e-6)
    assert first.value[one] == pytest.approx(second.value[other], abs=1e-6)
    assert first.action[one] == second.action[other]
    assert first.exhausted[one] == second.exhausted[other]
    assert first.simulations[one] == second.simulations[other]


def random_positions(game: Any, rng: np.random.Generator, number: int, most: int) -> list[Board]:
    found: list[Board] = []
    while len(found) < number:
        state = game.initial()
        for _ in range(int(rng.integers(0, most + 1))):
            if game.outcome(state) is None:
                state = game.apply(state, int(rng.choice(game.legal(state))))
        if game.outcome(state) is None:
            found.append(state)
    return found


def draw_settings(rng: np.random.Generator) -> dict[str, Any]:
    method = str(rng.choice(["puct", "gumbel"]))
    rescale = {"puct": [None, "bounds", "tree"], "gumbel": [None, "bounds", "node"]}[method]
    return {
        "simulations": int(rng.integers(2, 70)),
        "method": method,
        "explore": bool(rng.integers(2)),
        "ties": str(rng.choice(["first", "random"])),
        "fpu": [0.0, -0.5, "parent"][rng.integers(3)],
        "rescale": rescale[rng.integers(3)],
        "considered": int(rng.integers(2, 10)),
        "exhausted": bool(rng.integers(2)),
    }


@pytest.mark.parametrize("block", range(10))
def test_both_executors_count_alike(block: int) -> None:
    rng = np.random.default_rng(block)
    for _ in range(30):
        game: Any = [TicTacToe(), ConnectFour(4, 4), ConnectFour(7, 6)][rng.integers(3)]
        model = game.model(["uniform", "rollouts"][rng.integers(2)], decisive=bool(rng.integers(2)))
        search = Search(**draw_settings(rng))
        roots = random_positions(game, rng, 3, 8)
        seeds = rng.integers(0, 2**62, 3).tolist()
        together = search.run(model, roots, seeds=seeds)
        for index, root in enumerate(roots):
            alone = search.run(model, [root], seeds=[seeds[index]], executor="scalar")
            assert_equal(together, alone, index, 0)


def test_a_stranger_s_game_is_searched_alike_by_both_and_as_the_same_game_in_arrays() -> None:
    game = ConnectFour(5, 4)
    rng = np.random.default_rng(0)
    roots = random_positions(game, rng, 8, 6)
    search = Search(simulations=50)
    lifted = search.run(as_model(game), roots)
    arrays = search.run(game.model(), roots)
    for index, root in enumerate(roots):
        assert_equal(lifted, arrays, index, index)
        assert_equal(search.run(game, [root]), arrays, 0, index)


def test_a_batch_of_64_is_64_batches_of_one_and_their_order_does_not_matter() -> None:
    game = ConnectFour(6, 5)
    rng = np.random.default_rng(1)
    roots = random_positions(game, rng, 64, 12)
    seeds = rng.integers(0, 2**62, 64).tolist()
    for method in ("puct", "gumbel"):
        search = Search(simulations=40, method=method, explore=True, ties="random")
        model = game.model("rollouts")
        together = search.run(model, roots, seeds=seeds)
        order = rng.permutation(64)
        permuted = search.run(model, [roots[at] for at in order], seeds=[seeds[at] for at in order])
        for place, at in enumerate(order):
            assert_equal(permuted, together, place, int(at))
        for at in range(0, 64, 7):
            assert_equal(search.run(model, [roots[at]], seeds=[seeds[at]], executor="lockstep"), together, 0, at)


@pytest.mark.parametrize("method", ["puct", "gumbel"])
def test_every_simulation_goes_through_the_root_and_values_stay_within_the_bounds(method: Any) -> None:
    game = ConnectFour(5, 4)
    roots = random_positions(game, np.random.default_rng(2), 30, 14)
    result = Search(simulations=90, method=method).run(game.model("rollouts"), roots)
    assert (result.visits.sum(axis=1) == result.simulations).all()
    assert (result.simulations[~result.exhausted] == 90).all()
    assert result.exhausted.any()
    assert not result.exhausted.all()
    assert np.nanmax(np.abs(result.q)) <= 1
    assert (np.abs(result.value) <= 1).all()
    np.testing.assert_allclose(result.policy.sum(axis=1), 1)


@pytest.mark.parametrize("method", ["puct", "gumbel"])
def test_the_other_player_s_game_is_the_same_game(method: Any) -> None:
    """Who is called first must not matter: values are those of the side to move."""

    class Swapped(TicTacToe):
        def to_move(self, state: Board) -> int:
            return 1 - super().to_move(state)  # and so `outcome`, which asks, is that of the other side

    game, swapped = TicTacToe(), Swapped()
    roots = random_positions(game, np.random.default_rng(3), 10, 5)
    search = Search(simulations=60, method=method)
    first, second = search.run(as_model(game), roots), search.run(as_model(swapped), roots)
    for index in range(10):
        assert_equal(first, second, index, index)


def test_a_won_position_is_worth_what_the_lost_one_before_it_costs() -> None:
    game = TicTacToe()
    winning = Board(0b000000011, 0b000011000)  # the side to move completes its line
    result = Search(simulations=200).run(game, [winning])
    assert result.exhausted[0]
    assert result.value[0] == 1
    assert result.action[0] == 2
    lost = Board(0b000010000, 0b101000001)  # the other side threatens twice
    result = Search(simulations=500).run(game, [lost])
    assert result.exhausted[0]
    assert result.value[0] == -1
    in_danger = Board(0b000010000, 0b000000011)  # only cell 2 holds
    assert Search(simulations=500).run(game, [in_danger]).action[0] == 2


@pytest.mark.parametrize("executor", ["lockstep", "scalar"])
@pytest.mark.parametrize("seed", range(6))
def test_an_exhausted_search_returns_exactly_the_best_of_a_tree(random_tree: Any, executor: Any, seed: int) -> None:
    world = random_tree(np.random.default_rng(seed), 5, 3)
    totals = {(): 0.0}
    nodes: dict[tuple[int, ...], int] = {(): 0}
    for _ in range(5):
        totals = {(*path, a): total + world.reward[nodes[path], a] for path, total in totals.items() for a in range(3)}
        nodes = {(*path, a): int(world.after[node, a]) for path, node in nodes.items() for a in range(3)}
    best = max(totals, key=lambda path: totals[path])
    result = Search(simulations=10_000).run(world, [0], executor=executor)
    assert result.exhausted[0]
    assert result.simulations[0] < 10_000
    assert result.value[0] == pytest.approx(totals[best], abs=1e-12)
    assert result.action[0] == best[0]
    plan = result.plans[0]
    assert plan is not None
    assert plan.actions == best
    assert plan.value == pytest.approx(totals[best], abs=1e-12)
    # Every edge of the tree is stepped once: no simulation comes back to what is exhausted.
    assert sorted(world.stepped) == sorted({(node, a) for node in range(len(world.value)) for a in range(3)})


@pytest.mark.parametrize("executor", ["lockstep", "scalar"])
def test_a_reward_at_the_bound_ends_the_search_at_once(table_world: Any, executor: Any) -> None:
    world = table_world(
        [[1, 1], [1, 1]], [[0, 0], [0, 1]], [[1, 1], [0, 0]], [[0, 0], [0, 0]], [0, 0], bounds=(0.0, 1.0)
    )
    result = Search(simulations=50).run(world, [0], executor=executor)
    assert result.exhausted[0]
    assert result.value[0] == 1
    assert result.simulations[0] < 6
    assert result.plans[0] is not None
    assert result.plans[0].actions == (result.action[0], 1)


@pytest.mark.parametrize("executor", ["lockstep", "scalar"])
@pytest.mark.parametrize("exhausted", [True, False])
def test_what_a_model_says_of_an_ended_world_changes_nothing(table_world: Any, executor: Any, exhausted: bool) -> None:
    """State 2 is an end: its value of 9 and its logits must not be read."""

    def world(value: float, logit: float) -> Any:
        return table_world(
            [[1, 2], [2, 2], [2, 2]],
            [[0.1, 0.3], [0.5, 0.2], [0, 0]],
            [[1, 0], [0, 0], [0, 0]],
            [[0, 0], [0, 0], [logit, logit]],
            [0.0, 0.2, value],
            bounds=(0.0, 1.0),
        )

    search = Search(simulations=20, exhausted=exhausted)
    clean = search.run(world(0, 0), [0], executor=executor)
    poisoned = search.run(world(9, float("nan")), [0], executor=executor)
    assert_equal(clean, poisoned, 0, 0)


@pytest.mark.parametrize("executor", ["lockstep", "scalar"])
def test_rewards_on_the_way_count_and_what_follows_is_discounted(table_world: Any, executor: Any) -> None:
    """A trap: action 0 pays .4 at once and ends; action 1 pays .1, then .9 x .5 more."""
    world = table_world([[1, 1], [1, 1]], [[0.4, 0.1], [0.5, 0.0]], [[0, 0.9], [0, 0]], [[0, 0], [0, 0]], [0, 0])
    result = Search(simulations=30).run(world, [0], executor=executor)
    assert result.action[0] == 1
    assert result.value[0] == pytest.approx(0.1 + 0.9 * 0.5)
    assert result.q[0].tolist() == pytest.approx([0.4, 0.55])


@pytest.mark.parametrize("executor", ["lockstep", "scalar"])
def test_four_simulations_worked_by_hand(table_world: Any, executor: Any) -> None:
    """Root value .5, priors .6 and .4, values behind the actions .2 and .8, c(N) = 1 and q as it is.

    1: N = 1, both unvisited: .5 + .6 against .5 + .4: action 0, value .2.
    2: N = 2: .2 + .6 * 1.4142 / 2 = .6243 against mean (.5 + .2) / 2 = .35 + .4 * 1.4142 = .9157: action 1, value .8.
    3: N = 3: .2 + .6 * 1.7321 / 2 = .7196 against .8 + .4 * 1.7321 / 2 = 1.1464: action 1, below it to state 3, .8.
    4: N = 4: .2 + .6 * 2 / 2 = .8 against .8 + .4 * 2 / 3 = 1.0667: action 1 again, to state 3 by its second action.
    """
    log = np.log([0.6, 0.4]).tolist()
    world = table_world(
        [[1, 2], [3, 3], [3, 3], [3, 3]],
        np.zeros((4, 2)).tolist(),
        np.ones((4, 2)).tolist(),
        [log, [0, 0], [0, 0], [0, 0]],
        [0.5, 0.2, 0.8, 0.8],
        bounds=(0.0, 1.0),
        deterministic=False,
    )
    expected = {1: ([1, 0], 0.35), 2: ([1, 1], 0.5), 3: ([1, 2], 0.575), 4: ([1, 3], 0.62)}
    for simulations, (visits, value) in expected.items():
        search = Search(simulations=simulations, c_init=1.0, c_base=1e18)
        result = search.run(world, [0], executor=executor)
        assert result.visits[0].tolist() == visits
        assert result.value[0] == pytest.approx(value, abs=1e-12)


def test_unvisited_actions_are_worth_what_fpu_says(table_world: Any) -> None:
    """With pessimism the search stays with the first action it tries; with optimism it tries all."""
    world = table_world(
        [[1] * 5, [1] * 5], np.zeros((2, 5)).tolist(), np.ones((2, 5)).tolist(), np.zeros((2, 5)).tolist(), [0.5, 0.5],
        bounds=(0.0, 1.0), deterministic=False,
    )  # fmt: skip
    tried = {
        fpu: int((Search(simulations=5, fpu=fpu, c_init=0.01).run(world, [0]).visits > 0).sum()) for fpu in (0.0, 1.0)
    }
    assert tried == {0.0: 1, 1.0: 5}


@pytest.mark.parametrize("executor", ["lockstep", "scalar"])
def test_where_no_bounds_are_known_values_are_compared_in_the_range_seen(random_tree: Any, executor: Any) -> None:
    """Rewards a thousand times larger must lead to the same visits."""
    rng = np.random.default_rng(5)
    small = random_tree(rng, 6, 3)
    large = random_tree(np.random.default_rng(5), 6, 3)
    for name in ("reward", "value"):
        setattr(large, name, getattr(small, name) * 1000)
    first = Search(simulations=100).run(small, [0], executor=executor)
    second = Search(simulations=100).run(large, [0], executor=executor)
    assert first.visits.tolist() == second.visits.tolist()


def test_equal_values_everywhere_leave_the_choice_to_the_prior(table_world: Any) -> None:
    world = table_world(
        [[1] * 3, [1] * 3], np.zeros((2, 3)).tolist(), np.ones((2, 3)).tolist(), [[0, 2, 1], [0, 0, 0]], [0.7, 0.7],
        deterministic=False,
    )  # fmt: skip
    visits = Search(simulations=40).run(world, [0]).visits[0]
    assert visits[1] > visits[2] > visits[0] > 0


def test_noise_is_added_only_where_exploring_and_never_to_illegal_actions() -> None:
    game = ConnectFour(5, 4)
    full_column = [0, 0, 0, 0]
    root = game.initial()
    for action in full_column:
        root = game.apply(root, action)
    for method in ("puct", "gumbel"):
        plain = [Search(simulations=30, method=method, seed=seed).run(game, [root]) for seed in range(5)]
        noisy = [Search(simulations=30, method=method, seed=seed, explore=True).run(game, [root]) for seed in range(5)]
        assert len({str(result.visits) for result in plain}) == 1
        assert len({str(result.visits) for result in noisy}) > 1
        assert all(result.visits[0, 0] == 0 for result in noisy)


def test_random_ties_favour_no_action_and_first_ties_the_first() -> None:
    game = ConnectFour(4, 4)
    first = Search(simulations=1).run(game, [game.initial()] * 200)
    assert (first.action == 0).all()
    drawn = Search(simulations=1, ties="random").run(game, [game.initial()] * 200)
    assert (np.bincount(drawn.action, minlength=4) > 25).all()


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_search_never_returns_an_illegal_action(data: st.DataObject) -> None:
    """Random worlds of one or two players with random legal actions, any seed, budgets from 1 to 64."""
    seed = data.draw(st.integers(0, 10_000))
    rng = np.random.default_rng(seed)
    states, width = int(rng.integers(2, 12)), int(rng.integers(2, 6))
    method: Any = data.draw(st.sampled_from(["puct", "gumbel"]))
    legal = rng.random((states, width)) < 0.6
    legal[np.arange(states), rng.integers(0, width, states)] = True
    players = int(rng.integers(1, 3))
    world = _Random(rng, states, width, legal, players)
    budget = data.draw(st.integers(2, 64))
    executor: Any = data.draw(st.sampled_from(["lockstep", "scalar"]))
    search = Search(simulations=budget, method=method, seed=seed, explore=bool(rng.integers(2)))
    result = search.run(world, [0], executor=executor)
    assert legal[0, result.action[0]]
    assert not result.visits[0][~legal[0]].any()
    assert result.visits.sum() == result.simulations[0]


class _Random:
    """A random world whose step asserts that actions are legal."""

    bounds = None
    deterministic = True

    def __init__(self, rng: Any, states: int, width: int, legal: Any, players: Any) -> None:
        self.players, self.max_actions, self._legal = players, width, legal
        self._after = rng.integers(0, states, (states, width))
        on = -1.0 if players == 2 else 1.0
        self._discount = np.where(rng.random((states, width)) < 0.4, 0.0, on)
        self._reward, self._value = rng.normal(size=(states, width)), rng.normal(size=states)

    def pack(self, roots: Any) -> Any:
        return (np.array([int(np.asarray(root).reshape(-1)[0]) for root in roots]),)

    def step(self, states: Any, actions: Any) -> Any:
        (now,) = states
        assert self._legal[now, actions].all()
        return (self._after[now, actions],), self._reward[now, actions], self._discount[now, actions]

    def expand(self, states: Any) -> Expansion:
        (now,) = states
        return Expansion(np.zeros((len(now), self.max_actions)), self._value[now], self._legal[now])

    def key(self, state: Any) -> None:
        return None


def broken(logits: Any, value: Any) -> Any:
    return lambda states: (np.asarray(logits(len(states[0]))), np.asarray(value(len(states[0]))))


@pytest.mark.parametrize("executor", ["lockstep", "scalar"])
@pytest.mark.parametrize(
    ("evaluator", "message"),
    [
        (broken(lambda n: np.zeros((n, 3)), np.zeros), "shape"),
        (broken(lambda n: np.zeros((n, 5)), lambda n: np.zeros(n + 1)), "shape"),
        (broken(lambda n: np.full((n, 5), np.nan), np.zeros), "finite"),
        (broken(lambda n: np.full((n, 5), np.inf), np.zeros), "finite"),
        (broken(lambda n: np.zeros((n, 5)), lambda n: np.full(n, np.nan)), "finite"),
        (broken(lambda n: np.full((n, 5), -np.inf), np.zeros), "finite|probability"),
    ],
)
def test_an_evaluator_whose_numbers_cannot_be_used_is_refused(executor: Any, evaluator: Any, message: str) -> None:
    game = ConnectFour(5, 4)
    with pytest.raises(EvaluatorError, match=message):
        Search(simulations=5).run(game.model(evaluator), [game.initial()], executor=executor)


@pytest.mark.parametrize("executor", ["lockstep", "scalar"])
def test_a_world_that_goes_on_without_a_legal_action_is_refused_by_name(table_world: Any, executor: Any) -> None:
    world = table_world(
        [[7, 7]] * 8, [[0, 0]] * 8, [[1, 1]] * 8, [[0, 0]] * 8, [0] * 8, legal=[[True, True]] * 7 + [[False, False]]
    )
    with pytest.raises(ModelError, match="no legal action in 7"):
        Search(simulations=5).run(world, [0], executor=executor)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"simulations": 0}, "between 1 and 1,000,000"),
        ({"simulations": 1_000_001}, "between 1 and 1,000,000"),
        ({"simulations": 9, "method": "best"}, "method"),
        ({"simulations": 9, "ties": "last"}, "ties"),
        ({"simulations": 9, "c_init": 0.0}, "above 0"),
        ({"simulations": 9, "rescale": "node"}, "rescale"),
        ({"simulations": 9, "method": "gumbel", "leaves_per_step": 2}, "leaves_per_step"),
        ({"simulations": 9, "considered": 0}, "at least 1"),
        ({"simulations": 9, "noise_share": 2.0}, "noise_share"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Search(**settings)


def test_what_does_not_suit_the_world_or_the_roots_is_refused(table_world: Any) -> None:
    game = ConnectFour()
    start = game.initial()
    endless = table_world([[0, 0]], [[0, 0]], [[1, 1]], [[0, 0]], [0], deterministic=False)
    with pytest.raises(ValueError, match=r'at least 2 for "gumbel" with 7 legal actions considered; use method="puct"'):
        Search(simulations=1, method="gumbel").run(game, [start])
    with pytest.raises(ValueError, match="deterministic"):
        Search(simulations=5, exhausted=True).run(endless, [0])
    with pytest.raises(ValueError, match="known bounds"):
        Search(simulations=5, rescale="bounds").run(endless, [0])
    with pytest.raises(ValueError, match="one player"):
        Search(simulations=5, share_nodes=True).run(game, [start])
    with pytest.raises(ValueError, match="no root"):
        Search(simulations=5).run(game, [])
    with pytest.raises(ValueError, match="as many seeds"):
        Search(simulations=5).run(game, [start], seeds=[1, 2])
    with pytest.raises(ValueError, match="one root"):
        Search(simulations=5).run(game, [start, start], executor="scalar")
    with pytest.raises(ValueError, match="scalar executor"):
        Search(simulations=5, leaves_per_step=4).run(game, [start, start])
    with pytest.raises(ValueError, match="executor must be"):
        Search(simulations=5).run(game, [start], executor="both")  # ty: ignore[invalid-argument-type]
    for executor in ("lockstep", "scalar"):
        with pytest.raises(ValueError, match=r"need[s]? [\d,]+ bytes"):
            Search(simulations=1000, max_memory=10_000).run(game, [start], executor=executor)


@pytest.mark.parametrize("executor", ["lockstep", "scalar"])
@pytest.mark.parametrize("lifted", [True, False])
def test_a_finished_game_is_refused_or_answered_without_an_action(executor: Any, lifted: bool) -> None:
    game = TicTacToe()
    over = Board(0b000110000, 0b000000111)
    world = as_model(game) if lifted else game.model("rollouts")
    with pytest.raises(ValueError, match="the game is over in root 0"):
        Search(simulations=5).run(world, [over], executor=executor)
    result = Search(simulations=5).run(world, [over], executor=executor, allow_terminal=True)
    assert result.action.tolist() == [-1]
    assert result.policy.sum() == 0
    mixed = Search(simulations=5).run(world, [over, game.initial()], allow_terminal=True)
    assert mixed.action[0] == -1
    assert mixed.visits[1].sum() == 5


def test_a_root_whose_world_raises_becomes_an_error_row_and_the_others_finish(table_world: Any) -> None:
    def world(breaks: int) -> Any:
        class Breaking(table_world):
            def step(self, states: Any, actions: Any) -> Any:
                if (states[0] == breaks).any():
                    raise OSError("the page did not load")
                return super().step(states, actions)

        states = np.arange(9)
        after = np.stack([(states + 3) % 9, (states + 6) % 9], axis=1)
        zeros = np.zeros((9, 2))
        return Breaking(after.tolist(), zeros.tolist(), (zeros + 1).tolist(), zeros.tolist(), (states / 10).tolist())

    search = Search(simulations=12, exhausted=False)
    result = search.run(world(4), [0, 1, 2])
    assert result.errors[0] is None
    assert "the page did not load" in str(result.errors[1])
    assert result.simulations.tolist() == [12, result.visits[1].sum(), 12]
    assert result.simulations[1] < 12
    whole = search.run(world(-1), [0, 1, 2])
    assert_equal(result, whole, 0, 0)
    assert_equal(result, whole, 2, 2)
    with pytest.raises(OSError, match="did not load"):
        search.run(world(4), [1])


def test_leaves_judged_together_come_in_fewer_calls_and_one_at_a_time_is_the_serial_search() -> None:
    game = ConnectFour(6, 5)
    calls: list[int] = []
    judge = RandomGames(game)

    def counting(states: Any) -> Any:
        calls.append(len(states[0]))
        return judge(states)

    serial = Search(simulations=64).run(game.model(counting), [game.initial()])
    assert len(calls) == 65
    calls.clear()
    together = Search(simulations=64, leaves_per_step=8).run(game.model(counting), [game.initial()])
    assert len(calls) < 25
    assert together.simulations[0] == 64
    assert together.visits.sum() == 64
    assert abs(together.value[0] - serial.value[0]) < 0.25
    alone = Search(simulations=64, leaves_per_step=1).run(game.model(judge), [game.initial()])
    assert_equal(serial, alone, 0, 0)


def test_leaves_judged_together_find_the_exact_value_too(random_tree: Any) -> None:
    for seed in range(5):
        one = Search(simulations=5000).run(random_tree(np.random.default_rng(seed), 4, 3), [0])
        many = Search(simulations=5000, leaves_per_step=7).run(random_tree(np.random.default_rng(seed), 4, 3), [0])
        assert many.exhausted[0]
        assert many.value[0] == pytest.approx(one.value[0])
    late = [
        root
        for root in random_positions(TicTacToe(), np.random.default_rng(0), 60, 6)
        if (root.mover | root.other).bit_count() > 3
    ]
    for root in late:
        one = Search(simulations=20_000).run(TicTacToe(), [root])
        many = Search(simulations=20_000, leaves_per_step=5).run(TicTacToe(), [root])
        assert many.exhausted[0]
        assert many.value[0] == one.value[0]


def test_shared_nodes_are_judged_once_and_the_value_is_the_same(table_world: Any) -> None:
    """A grid walked right or down: paths meet, and the best sum of rewards is found by dynamic programming."""
    size = 5
    rng = np.random.default_rng(3)
    cells = [(x, y) for x in range(size) for y in range(size)]
    after, reward, discount, legal = [], [], [], []
    for x, y in cells:
        ahead = [(x + 1, y), (x, y + 1)]
        inside = [max(cell) < size for cell in ahead]
        after.append([cells.index(cell) if ok else 0 for cell, ok in zip(ahead, inside, strict=True)])
        reward.append(rng.uniform(0, 1, 2).tolist())
        discount.append([0.0 if cell == (size - 1, size - 1) else 1.0 for cell in ahead])
        legal.append(inside if any(inside) else [True, True])
    best = np.zeros(len(cells))
    for index in reversed(range(len(cells) - 1)):
        best[index] = max(
            reward[index][a] + discount[index][a] * best[after[index][a]] for a in range(2) if legal[index][a]
        )
    zeros = np.zeros((len(cells), 2)).tolist()

    def search(**settings: Any) -> tuple[SearchResult, int]:
        world = table_world(after, reward, discount, zeros, [0.0] * len(cells), legal=legal)
        return Search(simulations=5000, **settings).run(world, [0]), len(world.expanded)

    tree, judged = search()
    graph, judged_once = search(share_nodes=True)
    assert tree.value[0] == pytest.approx(best[0])
    assert graph.value[0] == pytest.approx(best[0])
    assert judged_once == len(cells) - 1
    assert judged > 2 * judged_once
    assert graph.simulations[0] < tree.simulations[0]


def test_a_world_that_returns_to_a_state_cannot_share_its_nodes(table_world: Any) -> None:
    world = table_world([[1, 1], [0, 0]], [[0, 0]] * 2, [[1, 1]] * 2, [[0, 0]] * 2, [0, 0])
    with pytest.raises(ModelError, match="returns to 0"):
        Search(simulations=10, share_nodes=True).run(world, [0])


@pytest.mark.parametrize("executor", ["lockstep", "scalar"])
def test_a_tree_can_be_gone_on_with_and_keeps_its_visits(executor: Any) -> None:
    game = ConnectFour(6, 5)
    model = game.model("rollouts")
    root = game.initial()
    first = Search(simulations=120).run(model, [root], executor=executor)
    action = int(first.action[0])
    kept = first.tree.advance(first.action)
    result = Search(simulations=50).run(model, kept)
    assert result.visits.sum() == first.visits[0, action] - 1 + 50
    # The same leaves as one tree would have: a fresh search of as many simulations agrees on the value.
    fresh = Search(simulations=int(result.visits.sum())).run(model, [game.apply(root, action)])
    assert result.value[0] == pytest.approx(fresh.value[0], abs=0.15)
    untried = Search(simulations=1).run(model, [root], executor=executor)
    with pytest.raises(ValueError, match="leads to no node"):
        untried.tree.advance(np.array([5]))
    with pytest.raises(ValueError, match="gumbel"):
        Search(simulations=9, method="gumbel").run(model, [root], executor=executor).tree.advance(first.action)


def test_trees_in_step_are_gone_on_with_as_single_ones() -> None:
    game = ConnectFour(5, 4)
    model = game.model("rollouts")
    roots = random_positions(game, np.random.default_rng(9), 6, 4)
    search = Search(simulations=60, exhausted=False)
    together = search.run(model, roots)
    continued = search.run(model, together.tree.advance(together.action))
    for index, root in enumerate(roots):
        alone = search.run(model, [root])
        after = search.run(model, alone.tree.advance(alone.action))
        assert_equal(continued, after, index, 0)


def test_a_plan_that_the_evaluator_followed_counts(table_world: Any) -> None:
    from sightline.agents.planning import Plan

    for executor in ("lockstep", "scalar"):
        world = table_world(
            [[1, 1], [1, 1]], [[0.0, 0.1], [0.0, 0.0]], [[1, 1], [1, 1]], np.zeros((2, 2)).tolist(), [0.0, 0.0],
            plans={0: Plan((0, 0, 1), 0.3), 1: Plan((1,), 0.9)},
        )  # fmt: skip
        nothing_better = Search(simulations=1).run(world, [0], executor=executor)
        assert nothing_better.plans[0] == Plan((0, 1), 0.9)
        result = Search(simulations=6).run(world, [0], executor=executor)
        assert result.plans[0] is not None
        assert result.plans[0].value == pytest.approx(1.0)
        assert result.plans[0].actions == (1, 1)
