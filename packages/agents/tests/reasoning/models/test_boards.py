from __future__ import annotations

import pytest
import torch

from sightline.agents.reasoning import TRM, Addition, BoardReasoner, TRMConfig, board_tokens


def board_model() -> TRM:
    return TRM(TRMConfig(task="connect-four", length=30, vocabulary=3, actions=6, width=16, layers=1))


def random_planes(count: int) -> torch.Tensor:
    stones = torch.randint(0, 3, (count, 6, 5), generator=torch.Generator().manual_seed(0))
    return torch.stack([stones == 1, stones == 2], dim=1).float()


def test_a_board_is_read_cell_by_cell_from_the_movers_side() -> None:
    planes = random_planes(4)
    tokens = board_tokens(planes)
    assert tokens.shape == (4, 30)
    assert torch.equal((tokens == 1).view(4, 6, 5).float(), planes[:, 0])
    assert torch.equal((tokens == 2).view(4, 6, 5).float(), planes[:, 1])


def test_a_judgement_is_what_the_reasoner_says_after_so_many_segments() -> None:
    reasoner, planes = board_model(), random_planes(3)
    logits, value = BoardReasoner(reasoner, 3)(planes)
    tokens = board_tokens(planes)
    latents = reasoner.initial(tokens)
    for _ in range(3):
        latents, output = reasoner(tokens, latents)
    torch.testing.assert_close(logits, output.logits)
    torch.testing.assert_close(value, output.value)
    assert logits.shape == (3, 6)


def test_what_cannot_judge_boards_is_refused() -> None:
    with pytest.raises(ValueError, match="needs actions"):
        BoardReasoner(TRM(TRMConfig.for_task(Addition(1), width=16)), 2)
    with pytest.raises(ValueError, match="segments must be positive"):
        BoardReasoner(board_model(), 0)
