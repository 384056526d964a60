from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from sightline.webshop_env import Catalogue, Shop
from sightline.webshop_env.episodes.recording import (
    RecordedAttention,
    Recording,
    read_recordings,
    record,
    write_recordings,
)
from sightline.webshop_env.goals import HeldGoals
from sightline.webshop_env.server.app import create_app
from sightline.webshop_env.server.cookie import NAME
from sightline.webshop_env.server.security import MAX_BODY_BYTES
from sightline.webshop_env.server.sessions import Sessions
from sightline.webshop_env.server.viewer import moments_until

Browse = Callable[..., TestClient]

TO_THE_LAMP = ("search[desk lamp]", "click[b0lamp]")
EPISODE = (*TO_THE_LAMP, "click[red]", "click[buy now]")


HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{7*7}}{% raise %}",
    "' onmouseover='x",
)


@pytest.fixture
def browse(shop: Shop, tmp_path: Path) -> Browse:
    """Opens a browser without scripts on a server of its own, which saves into the test's folder."""

    def open_browser(shop: Shop = shop, *, folder: Path | None = tmp_path, capacity: int = 50) -> TestClient:
        app = create_app(shop, sessions=Sessions(shop, capacity=capacity), trajectories=folder)
        return TestClient(app, base_url="http://localhost", raise_server_exceptions=False)

    return open_browser


@pytest.fixture
def browser(browse: Browse) -> TestClient:
    return browse()


@pytest.fixture(scope="session")
def episode(shop: Shop) -> Recording:
    """The purchase of a red lamp, with a policy's probabilities and a retriever's chunks at every step."""
    return _record(shop, EPISODE)


def _record(shop: Shop, actions: tuple[str, ...]) -> Recording:
    state, moments = shop.start(0), []
    for action in actions:
        moments.append((state, action))
        state, _ = shop.act(state, action)
    recording = record(shop, moments, state, episode_id="one", agent="retriever")
    steps = [
        step.model_copy(
            update={
                "probabilities": tuple(0.75 if action == step.action else 0.01 for action in step.available_actions),
                "expert_action": step.action,
                "attention": (
                    RecordedAttention(text="a chunk that was read", score=0.5, selected=True),
                    RecordedAttention(text="a chunk left out", score=-0.25, selected=False),
                ),
            }
        )
        for step in recording.steps
    ]
    return recording.model_copy(update={"steps": tuple(steps)})


def _step(browser: TestClient) -> int:
    """The step that the page's forms name."""
    found = re.search(r'name="step" value="(\d+)"', browser.get("/play").text)
    assert found is not None
    return int(found[1])


def _act(browser: TestClient, *actions: str) -> str:
    """Click buttons that the page offers, and search; returns the page after them."""
    page = browser.get("/play").text
    for action in actions:
        if action.startswith("search["):
            form = {"words": action.removeprefix("search[").removesuffix("]")}
        else:
            assert f'value="{action}"' in unescape(page)
            form = {"action": action}
        page = browser.post("/play/act", data={**form, "step": _step(browser)}).text
    return page


class _Structure(HTMLParser):
    """The tags and attributes of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]


def test_a_file_lists_its_episodes(browser: TestClient, episode: Recording, tmp_path: Path) -> None:
    failed = episode.model_copy(update={"error": "RuntimeError: no connection", "agent": "unlucky"})
    write_recordings(tmp_path / "ä run #1?.jsonl", [episode, failed])
    assert "ä run #1?.jsonl" in browser.get("/").text
    page = browser.get("/trajectories/%C3%A4%20run%20%231%3F.jsonl").text
    assert "reward 0.75" in page
    assert "unlucky" in page
    assert "RuntimeError: no connection" in page
    (first,) = re.findall(r'href="(/trajectories/[^"]+/0)"', page)
    assert "click[red]" in browser.get(f"{first}?step=2").text


def test_a_malformed_line_is_named_after_the_episodes_before_it(
    browser: TestClient, episode: Recording, tmp_path: Path
) -> None:
    (tmp_path / "run.jsonl").write_text(f'{episode.model_dump_json()}\n{{"goal": "<b>"}}\n')
    page = browser.get("/trajectories/run.jsonl").text
    assert "reward 0.75" in page
    assert "run.jsonl, line 2, field" in page
    assert str(tmp_path) not in page
    assert "line 2" in browser.get("/trajectories/run.jsonl/1").text


@pytest.mark.parametrize(
    "address",
    [
        *("/trajectories/..%2Fsecret.jsonl", "/trajectories/%2Fetc%2Fpasswd", "/trajectories/.hidden.jsonl/0"),
        *("/trajectories/nothing.jsonl", "/trajectories/a%00.jsonl", "/trajectories/run.jsonl/7", "/nowhere"),
        *("/static/style.css%00", "/static/..%2Fweb.py", "/trajectories/out.jsonl/0"),
    ],
)
def test_what_is_not_there_is_a_page(browse: Browse, episode: Recording, tmp_path: Path, address: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for path in (tmp_path / "secret.jsonl", folder / ".hidden.jsonl", folder / "run.jsonl"):
        write_recordings(path, [episode])
    (folder / "out.jsonl").symlink_to(tmp_path / "secret.jsonl")
    answer = browse(folder=folder).get(address)
    assert answer.status_code in (404, 422)
    assert "<html" in answer.text
    assert "desk lamp" not in answer.text


@pytest.mark.parametrize("address", ["/trajectories/run.jsonl/-1", "/trajectories/run.jsonl/0?step=x", "/?first=-1"])
def test_a_malformed_address_is_a_page(browser: TestClient, address: str) -> None:
    answer = browser.get(address)
    assert answer.status_code == 422
    assert "Something in the form or address is wrong" in answer.text


def test_a_step_shows_page_action_probabilities_and_chunks(
    browser: TestClient, episode: Recording, tmp_path: Path
) -> None:
    write_recordings(tmp_path / "run.jsonl", [episode])
    page = browser.get("/trajectories/run.jsonl/0?step=2").text
    assert "Differs from this catalogue" not in page
    assert '<p class="action wrap" id="action">click[red]</p>' in page
    assert re.search(r'class="control chip taken">red<', page)
    assert "75.0%" in page
    assert "1 of 2 shown to the policy" in page
    assert '<rect width="75.00"' in page
    assert '<rect width="0.00"' in page
    assert 'rel="prev" href="/trajectories/run.jsonl/0?step=1"' in page
    assert 'rel="next" href="/trajectories/run.jsonl/0?step=3"' in page


def test_the_last_page_explains_the_reward(browser: TestClient, episode: Recording, tmp_path: Path) -> None:
    write_recordings(tmp_path / "run.jsonl", [episode])
    page = browser.get("/trajectories/run.jsonl/0?step=99").text
    assert '<span id="reward">0.75</span>' in page
    assert "The episode ended with a purchase" in page
    assert 'rel="next"' not in page


def test_recordings_of_another_catalogue_are_shown_as_text_and_not_forked(
    browse: Browse, shop: Shop, catalogue: Catalogue, episode: Recording, tmp_path: Path
) -> None:
    write_recordings(tmp_path / "run.jsonl", [episode])
    browser = browse(Shop(Catalogue.from_products([*catalogue][:-1]), shop.goals))
    page = browser.get("/trajectories/run.jsonl/0?step=1").text
    assert "Differs from this catalogue" in page
    assert "Desk Lamp &lt;Pro&gt;" in page
    refused = browser.post("/trajectories/run.jsonl/0/fork", data={"step": "1"})
    assert refused.status_code == 409
    assert "other catalogue" in refused.text
    assert NAME not in browser.cookies


def test_recordings_without_snapshots_are_shown_where_the_pages_agree(
    browser: TestClient, episode: Recording, tmp_path: Path
) -> None:
    bare = [step.model_copy(update={"snapshot": None}) for step in episode.steps]
    other = [bare[0], bare[1].model_copy(update={"observation": "Another page"}), *bare[2:]]
    write_recordings(
        tmp_path / "run.jsonl", [episode.model_copy(update={"steps": tuple(steps)}) for steps in (bare, other)]
    )
    assert "Differs" not in browser.get("/trajectories/run.jsonl/0?step=1").text
    assert "Differs from this catalogue" in browser.get("/trajectories/run.jsonl/1?step=1").text
    assert browser.post("/trajectories/run.jsonl/1/fork", data={"step": "1"}).status_code == 409
    assert browser.post("/trajectories/run.jsonl/0/fork", data={"step": "1"}).status_code == 200


def test_a_fork_is_played_on_and_saved_with_its_past(
    browser: TestClient, episode: Recording, shop: Shop, tmp_path: Path
) -> None:
    write_recordings(tmp_path / "run.jsonl", [episode])
    page = browser.post("/trajectories/run.jsonl/0/fork", data={"step": "3"}).text
    assert 'value="click[red]" aria-pressed="true"' in page
    assert '<span id="reward">1</span>' in _act(browser, "click[small]", "click[buy now]")
    browser.post("/play/save")
    (path,) = tmp_path.glob("person-*.jsonl")
    (branch,) = read_recordings(path)
    assert [step.action for step in branch.steps] == [*EPISODE[:3], "click[small]", "click[buy now]"]
    assert [step.snapshot for step in branch.steps[:3]] == [step.snapshot for step in episode.steps[:3]]
    assert (branch.agent, branch.total_reward) == ("person", 1.0)


@pytest.mark.parametrize("step", range(5))
def test_a_forks_past_leads_to_its_state(shop: Shop, episode: Recording, step: int) -> None:
    moments, state = moments_until(shop, episode, step)
    for before, action in moments:
        state_after, _ = shop.act(before, action)
    assert [action for _, action in moments] == list(EPISODE[:step])
    assert state == (state_after if moments else shop.start(0))


@pytest.mark.parametrize("step", ["5", "-1", "x"])
def test_a_fork_of_no_step_is_refused(browser: TestClient, episode: Recording, tmp_path: Path, step: str) -> None:
    write_recordings(tmp_path / "run.jsonl", [episode])
    assert browser.post("/trajectories/run.jsonl/0/fork", data={"step": step}).status_code in (409, 422)


def test_an_upload_is_shown_and_not_put_into_the_folder(
    browser: TestClient, episode: Recording, tmp_path: Path
) -> None:
    answer = browser.post("/uploads", files={"file": ("../../x.jsonl", episode.model_dump_json().encode())})
    assert "reward 0.75" in answer.text
    assert list(tmp_path.iterdir()) == []
    forked = browser.post(f"{answer.url.path}/0/fork", data={"step": "2"}).text
    assert 'value="click[red]"' in forked


@pytest.mark.parametrize("content", [b"", b"\x00\xff\xfe", b"[" * 100_000, b"{}\n", b"null", b'{"steps": 1e999}'])
def test_a_malformed_upload_is_explained(browser: TestClient, content: bytes) -> None:
    answer = browser.post("/uploads", files={"file": ("x", content)})
    assert answer.status_code == 200
    assert ("line 1" in answer.text) == bool(content)


def test_an_upload_above_the_limit_is_refused(browser: TestClient) -> None:
    answer = browser.post("/uploads", files={"file": ("x", b" " * MAX_BODY_BYTES)})
    assert answer.status_code == 413
    assert browser.post("/uploads", data={"file": "no file"}).status_code == 422


def test_pages_hold_no_inline_scripts_and_load_nothing_from_elsewhere(
    browser: TestClient, episode: Recording, tmp_path: Path
) -> None:
    write_recordings(tmp_path / "run.jsonl", [episode])
    browser.post("/play", data={"goal": "0"})
    pages = [browser.get("/").text, browser.get("/trajectories/run.jsonl").text, browser.get("/nowhere").text]
    pages += [browser.get(f"/trajectories/run.jsonl/0?step={step}").text for step in range(5)]
    pages += [_act(browser, action) for action in EPISODE]
    for page in pages:
        structure = _Structure(page)
        assert not re.search(r"<script(?![^>]*src=)", page)
        assert "style" not in structure.tags
        names = {name for name, _ in structure.attributes}
        assert not any(name == "style" or name.startswith("on") for name in names)
        loaded = [value for name, value in structure.attributes if name in ("src", "href", "action")]
        assert all(address.startswith(("/", "#", "?")) and not address.startswith("//") for address in loaded)


@pytest.mark.parametrize("text", HOSTILE)
def test_what_products_and_recordings_say_is_only_text(
    catalogue: Catalogue, shop: Shop, browse: Browse, tmp_path: Path, text: str
) -> None:
    hostile = {
        "title": f"desk lamp {text}",
        "description": text,
        "bullets": (text,),
        "options": {text.lower(): (text.lower(), "red")},
        "price_tag": text,
        "query": text,
    }
    lamp = replace(catalogue["B0LAMP"], **hostile)
    goals = replace(
        shop.goals, goals=HeldGoals([replace(shop.goals.goals[0], instruction_text=text, attributes=(text,))])
    )
    evil = Shop(Catalogue.from_products([lamp, *(p for p in catalogue if p.asin != "B0LAMP")]), goals)
    recording = _record(evil, EPISODE).model_copy(update={"agent": text})
    write_recordings(tmp_path / "run.jsonl", [recording])
    browser = browse(evil)
    browser.post("/play", data={"goal": "0"})
    pages = [browser.get("/").text, _act(browser, *TO_THE_LAMP), _act(browser, "click[features]")]
    pages += [
        _act(browser, "click[< prev]", "click[red]", "click[buy now]"),
        browser.get("/trajectories/run.jsonl").text,
    ]
    pages += [browser.get(f"/trajectories/run.jsonl/0?step={step}").text for step in range(5)]
    for page in pages:
        structure = _Structure(page)
        assert "img" not in structure.tags
        assert not any(name.startswith("on") for name, _ in structure.attributes)
        assert structure.tags.count("script") == page.count("/static/viewer.js")
        assert text in unescape(page)
