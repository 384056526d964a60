from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sightline.webshop_env import Catalogue, Shop
from sightline.webshop_env.episodes.recording import read_recordings
from sightline.webshop_env.server.app import create_app
from sightline.webshop_env.server.cookie import NAME
from sightline.webshop_env.server.sessions import Sessions

Browse = Callable[..., TestClient]

TO_THE_LAMP = ("search[desk lamp]", "click[b0lamp]")
EPISODE = (*TO_THE_LAMP, "click[red]", "click[buy now]")


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


def test_the_start_page_lists_goals_and_says_how_many_there_are(browser: TestClient) -> None:
    page = browser.get("/").text
    assert "3 goals, 13 products" in page
    assert "find me a ceramic mug, and price lower than 120.00 dollars" in page
    assert "find me a dimmable" not in browser.get("/?first=1").text
    assert browser.get("/?first=999").status_code == 200


def test_an_episode_is_played_to_a_reward_and_its_parts(browser: TestClient) -> None:
    page = browser.post("/play", data={"goal": "0"}).text
    assert "find me a dimmable desk lamp in red, small" in page
    page = _act(browser, *EPISODE)
    assert '<span id="reward">0.75</span>' in page
    assert "(1 of 1 attributes + 1 of 2 options + 1 of 1 price) / 4 × 1 for the kind = 0.75" in page
    assert "size: small" in page
    assert "Another goal" in page


def test_a_goal_is_drawn_when_none_is_named(browser: TestClient) -> None:
    assert re.search(r"Goal [012]<", browser.post("/play", data={"goal": ""}).text)
    assert re.search(r"Goal [012]<", browser.post("/play").text)


@pytest.mark.parametrize(
    ("goal", "status", "text"),
    [("3", 404, "goals are numbered 0 to 2"), ("-1", 404, "there is no goal -1"), ("x", 422, "goal: ")],
)
def test_a_goal_that_is_not_there_is_a_page(browser: TestClient, goal: str, status: int, text: str) -> None:
    answer = browser.post("/play", data={"goal": goal})
    assert answer.status_code == status
    assert text in answer.text
    assert "<html" in answer.text


def test_the_session_cookie_is_out_of_reach_of_scripts_and_other_sites(browser: TestClient) -> None:
    header = browser.post("/play", follow_redirects=False).headers["set-cookie"]
    assert {part.strip().lower() for part in header.split(";")[1:]} == {"httponly", "samesite=strict", "path=/"}


@pytest.mark.parametrize("cookie", ["unknown", "x" * 4000, "%00", '"><script>'])
def test_an_unknown_session_is_a_friendly_page_and_forgotten(browser: TestClient, cookie: str) -> None:
    answer = browser.get("/play", headers={"cookie": f"{NAME}={cookie}"})
    assert answer.status_code == 404
    assert "This episode is over" in answer.text
    assert "<script>" not in answer.text
    assert f'{NAME}=""' in answer.headers["set-cookie"]


def test_without_a_session_the_play_page_sends_to_the_goals(browser: TestClient) -> None:
    answer = browser.get("/play")
    assert answer.status_code == 404
    assert "choose a goal first" in answer.text


def test_the_search_box_is_on_every_page_but_the_last(browser: TestClient) -> None:
    browser.post("/play", data={"goal": "0"})
    for actions in ((), TO_THE_LAMP, ("click[features]",), ("click[< prev]", "click[reviews]")):
        assert 'name="words"' in _act(browser, *actions)
    assert 'name="words"' not in _act(browser, "click[< prev]", "click[buy now]")


def test_chosen_options_are_marked_and_ambiguous_ones_cannot_be_clicked(browser: TestClient) -> None:
    browser.post("/play", data={"goal": "0"})
    page = _act(browser, *TO_THE_LAMP, "click[red]")
    assert 'value="click[red]" aria-pressed="true"' in page
    assert 'value="click[small]" aria-pressed="false"' in page
    assert page.count('value="click[blue]"') == 1


def test_a_page_that_is_out_of_date_does_nothing(browser: TestClient) -> None:
    browser.post("/play", data={"goal": "0"})
    _act(browser, *TO_THE_LAMP)
    page = browser.post("/play/act", data={"action": "click[buy now]", "step": "1"}).text
    assert "had moved on" in page
    assert "<strong>2</strong> steps" in page


@pytest.mark.parametrize("words", ["", "   ", "[", "[[ [["])
def test_a_search_without_words_costs_no_step(browser: TestClient, words: str) -> None:
    browser.post("/play", data={"goal": "0"})
    page = browser.post("/play/act", data={"words": words, "step": "0"}).text
    assert "Type a few words" in page
    assert "<strong>0</strong> steps" in page


def test_an_action_that_the_page_does_not_offer_is_said_to_be_none(browser: TestClient) -> None:
    browser.post("/play", data={"goal": "0"})
    page = browser.post("/play/act", data={"action": "click[buy now]", "step": "0"}).text
    assert "did not understand" in page
    assert "<strong>1</strong> step" in page


def test_after_a_purchase_nothing_more_is_done(browser: TestClient) -> None:
    browser.post("/play", data={"goal": "0"})
    _act(browser, *EPISODE)
    page = browser.post("/play/act", data={"words": "mug", "step": "4"}).text
    assert "This episode has ended" in page
    assert "<strong>4</strong> steps" in page


def test_the_step_limit_ends_the_episode_and_going_back_revives_it(
    catalogue: Catalogue, shop: Shop, browse: Browse
) -> None:
    browser = browse(Shop(catalogue, shop.goals, step_limit=2))
    browser.post("/play", data={"goal": "0"})
    page = _act(browser, *TO_THE_LAMP)
    assert "The step limit is reached" in page
    assert 'value="click[buy now]"' not in page
    page = browser.post("/play/back", data={"step": "1"}).text
    assert "<strong>1</strong> step of 2" in page
    assert 'value="click[b0lamp]"' in page


@given(data=st.data())
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_going_back_shows_the_page_as_it_was(browser: TestClient, data: st.DataObject) -> None:
    browser.post("/play", data={"goal": "0"})
    shop_part = re.compile(r'<div class="shop card">.*?</aside>', re.DOTALL)
    seen = [shop_part.findall(browser.get("/play").text)]
    for action in EPISODE:
        page = _act(browser, action)
        seen.append(shop_part.findall(page))
    for step in sorted(data.draw(st.lists(st.integers(0, 3), unique=True, min_size=1)), reverse=True):
        page = browser.post("/play/back", data={"step": str(step)}).text
        assert shop_part.findall(page) == seen[step]


@pytest.mark.parametrize("step", ["-1", "2", "99"])
def test_going_back_to_no_step_does_nothing(browser: TestClient, step: str) -> None:
    browser.post("/play", data={"goal": "0"})
    _act(browser, *TO_THE_LAMP)
    assert "<strong>2</strong> steps" in browser.post("/play/back", data={"step": step}).text


def test_leaving_an_episode_frees_its_session(browse: Browse) -> None:
    browser = browse(capacity=2)
    for _ in range(5):
        browser.post("/play", data={"goal": "0"})
        assert "<strong>1</strong> step" in _act(browser, "search[desk lamp]")
        assert browser.post("/play/back", data={"step": "0"}).status_code == 200


def test_a_full_shop_says_so_and_keeps_what_is_open(browse: Browse) -> None:
    browser = browse(capacity=1)
    browser.post("/play", data={"goal": "0"})
    _act(browser, "search[desk lamp]")
    refused = browser.post("/play")
    assert refused.status_code == 503
    assert "The shop is full" in refused.text
    assert "<strong>1</strong> step" in browser.get("/play").text


def test_a_saved_episode_is_a_recording_that_the_viewer_shows(browser: TestClient, shop: Shop, tmp_path: Path) -> None:
    browser.post("/play", data={"goal": "0"})
    _act(browser, *EPISODE)
    page = browser.post("/play/save").text
    (path,) = tmp_path.glob("*.jsonl")
    assert f'Saved as <a href="/trajectories/{path.name}">' in page
    (saved,) = read_recordings(path)
    assert [step.action for step in saved.steps] == list(EPISODE)
    assert (saved.agent, saved.total_reward, saved.terminated) == ("person", 0.75, True)
    assert "click[b0lamp]" in browser.get(f"/trajectories/{path.name}/0?step=1").text
    browser.post("/play/save")
    assert len(list(tmp_path.glob("*.jsonl"))) == 2


def test_an_episode_without_a_step_is_not_saved(browser: TestClient, tmp_path: Path) -> None:
    browser.post("/play", data={"goal": "0"})
    assert "nothing to save" in browser.post("/play/save").text
    assert list(tmp_path.iterdir()) == []


def test_without_a_folder_saving_is_refused_with_the_remedy(browse: Browse) -> None:
    browser = browse(folder=None)
    browser.post("/play", data={"goal": "0"})
    assert "Save trajectory" not in _act(browser, "search[desk lamp]")
    assert "--trajectories FOLDER" in browser.post("/play/save").text
    assert "--trajectories FOLDER" in browser.get("/").text


def test_only_files_that_exist_are_said_to_be_saved(browser: TestClient) -> None:
    browser.post("/play", data={"goal": "0"})
    assert "Saved as" not in browser.get("/play?saved=anything.jsonl").text


def test_a_defect_is_a_page_without_its_traceback(browser: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the secret reason")

    browser.post("/play", data={"goal": "0"})
    monkeypatch.setattr("sightline.webshop_env.server.web.lay_out", fail)
    answer = browser.get("/play")
    assert answer.status_code == 500
    assert "Something broke" in answer.text
    assert "secret" not in answer.text


def test_style_and_script_are_served_for_good(browser: TestClient) -> None:
    page = browser.get("/").text
    (address,) = re.findall(r'href="(/static/style\.css\?v=[0-9a-f]+)"', page)
    answer = browser.get(address)
    assert answer.headers["content-type"].startswith("text/css")
    assert "immutable" in answer.headers["cache-control"]
    assert browser.get("/static/viewer.js").headers["content-type"].startswith("text/javascript")
    assert browser.get("/").headers["cache-control"] == "no-store"


def test_text_that_no_encoding_holds_is_shown_as_well_as_can_be(
    catalogue: Catalogue, shop: Shop, browse: Browse
) -> None:
    lamp = replace(catalogue["B0LAMP"], title="desk lamp \ud800.", options={"\ud800": ("\ud800", "red")})
    browser = browse(Shop(Catalogue.from_products([lamp]), shop.goals))
    browser.post("/play", data={"goal": "0"})
    assert "<h2>desk lamp ?.</h2>" in _act(browser, *TO_THE_LAMP)
