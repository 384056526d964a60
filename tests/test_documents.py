"""An agent shops beside product guides, and loses the first backend of these half-way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from qdrant_client import QdrantClient

from sightline.agents import Decision, LexicalActor, ReadingAgent, Situation, Trajectory, roll_out
from sightline.agents.grammar import webshop_grammar
from sightline.agents.reading import instruction_similarity, top_chunks, with_documents
from sightline.retrieval import ChunkingConfig, Document, HashingEncoder, LocalEmbeddingStore, RagRetriever
from sightline.retrieval.backends import LocalBackend, QdrantBackend, RetryPolicy
from sightline.webshop_env import Catalogue, Shop, WebShopEnv, build_goals


class Recording:
    """Decides as another agent does, remembers what it decided, and is told before each decision."""

    def __init__(self, agent: ReadingAgent, before: Callable[[int], None]) -> None:
        self.name = agent.name
        self._agent, self._before = agent, before
        self.decisions: list[Decision] = []

    def choose(self, situations: Sequence[Situation]) -> list[Decision]:
        self._before(len(self.decisions))
        made = self._agent.choose(situations)
        self.decisions += made
        return made


def test_an_episode_goes_on_with_the_local_guides_when_the_first_backend_is_killed_half_way(tmp_path: Path) -> None:
    catalogue = Catalogue.generate(products=150, seed=3)
    shop = Shop(catalogue, build_goals(catalogue, "human", seed=3), step_limit=15)
    encoder = HashingEncoder()
    client = QdrantClient(path=str(tmp_path / "qdrant"))
    local = LocalBackend(LocalEmbeddingStore(encoder, tmp_path / "local"))
    with RagRetriever([QdrantBackend(client, encoder), local], encoder, retries=RetryPolicy(attempts=1)) as retriever:
        guides = ["Search first, then open what fits", "Choose size and colour before buying", "Compare prices"]
        report = retriever.upsert(Document(id=f"guide {n}", content=text) for n, text in enumerate(guides))
        assert report.written == ("qdrant", "local")
        chunking = ChunkingConfig()
        page = top_chunks(instruction_similarity(encoder), webshop_grammar, top_k=5, chunking=chunking)
        view = with_documents(page, retriever, top_k=2)

        def kill_half_way(decided: int) -> None:
            if decided == 2:
                client.close()

        agent = Recording(
            ReadingAgent("with_guides", LexicalActor(webshop_grammar), view, webshop_grammar), kill_half_way
        )
        environments = [WebShopEnv(shop=shop, observation_mode="text_rich")]
        (episode,) = roll_out(environments, agent, [0], webshop_grammar, seed=0, max_steps=15, progress=False)
    assert episode.error is None
    assert len(agent.decisions) == len(episode.steps) > 3
    consulted = [decision.consultation for decision in agent.decisions]
    kept = Trajectory.model_validate_json(episode.model_dump_json())
    assert [step.consultation for step in kept.steps] == consulted
    assert all(one is not None and len(one.ids) == 2 for one in consulted)
    answered = [one.backend for one in consulted if one is not None]
    assert answered[:2] == ["qdrant"] * 2
    assert set(answered[2:]) == {"local"}
    assert {one.ids for one in consulted if one is not None} == {consulted[0].ids if consulted[0] else ()}
