"""The shop for people: choose a goal, shop, go back in time, and read how the reward came about.

Every click is a form that posts one action, so that it works without scripts. A cookie names the session; the session's
trail is what people go back along and save. Trajectory files are shown by `server.viewer`.
"""

# FastAPI reads the annotations of handlers, so that their types are imported at run time.
from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse
from starlette.exceptions import HTTPException

from sightline.webshop_env.commands.layout import lay_out, search_action
from sightline.webshop_env.episodes.recording import record
from sightline.webshop_env.rules.shop import MAX_ACTION_LENGTH
from sightline.webshop_env.server.cookie import SessionCookie, enter
from sightline.webshop_env.server.pictures import Pictures
from sightline.webshop_env.server.security import MAX_BODY_BYTES
from sightline.webshop_env.server.sessions import Session, SessionError, Sessions
from sightline.webshop_env.server.shelf import MAX_UPLOADS, Shelf, ShelfError
from sightline.webshop_env.server.templating import PageRoute, add_static, render
from sightline.webshop_env.server.viewer import Viewer

GOALS_PER_PAGE: Final = 8
AGENT: Final = "person"
"""Who acted, in the trajectories that people save."""

_NOTICES: Final = {
    "empty": "Type a few words to search for.",
    "stale": "The shop had moved on since that page was shown, so nothing was done. This is where you are.",
    "over": "This episode has ended. Go back to an earlier step to try something else.",
    "invalid": "The shop did not understand that; it cost a step all the same.",
}


def create_router(
    sessions: Sessions, trajectories: Path | None, run: Path | None = None, pictures: Pictures | None = None
) -> APIRouter:
    """Make the pages for people, to be included at `/` after everything else: they answer every unknown address.

    Args:
        sessions: the table of open sessions, which others may use as well.
        trajectories: folder whose files are shown and where episodes are saved; None to offer uploads only.
        run: folder of a run whose recorded episodes are shown, too; None for none.
        pictures: product pictures to show; None for none, which asks nothing of other machines.
    """
    router = APIRouter(route_class=PageRoute, include_in_schema=False)
    shelf = Shelf(trajectories, run)
    play, viewer = Play(sessions, shelf, pictures), Viewer(sessions, shelf, pictures)
    add_static(router)
    get, post = ["GET"], ["POST"]
    router.add_api_route("/", play.welcome, methods=get, response_class=Response)
    router.add_api_route("/play", play.show, methods=get, response_class=Response)
    router.add_api_route("/play", play.begin, methods=post, response_class=Response)
    router.add_api_route("/play/act", play.act, methods=post, response_class=Response)
    router.add_api_route("/play/back", play.go_back, methods=post, response_class=Response)
    router.add_api_route("/play/save", play.save, methods=post, response_class=Response)
    router.add_api_route("/uploads", viewer.upload, methods=post, response_class=Response)
    router.add_api_route("/trajectories/{name}", viewer.show_file, methods=get, response_class=Response)
    router.add_api_route("/trajectories/{name}/{number}", viewer.show_step, methods=get, response_class=Response)
    router.add_api_route("/trajectories/{name}/{number}/fork", viewer.fork, methods=post, response_class=Response)
    if pictures is not None:
        router.add_api_route("/pictures/{asin}", pictures.show, methods=get, response_class=Response)
    router.add_api_route("/{address:path}", _unknown, methods=get, response_class=Response)
    return router


class Play:
    """The handlers of the play pages.

    Args:
        sessions: the table of open sessions.
        shelf: where trajectories are listed and saved.
        pictures: product pictures to show; None for none.
    """

    def __init__(self, sessions: Sessions, shelf: Shelf, pictures: Pictures | None = None) -> None:
        self._sessions = sessions
        self._shop = sessions.shop
        self._shelf = shelf
        self._pictures = pictures

    def welcome(self, first: Annotated[int, Query(ge=0, lt=1 << 53)] = 0, cookie: SessionCookie = None) -> Response:
        """Return the start page: goals from a number on, saved trajectories, and the way back into an open episode."""
        goals = self._shop.goals.goals
        first = max(0, min(first, len(goals) - 1))
        listed = range(first, min(first + GOALS_PER_PAGE, len(goals)))
        return render(
            "start.html",
            goals=[(index, goals[index].instruction_text) for index in listed],
            first=first,
            per_page=GOALS_PER_PAGE,
            goal_count=len(goals),
            product_count=len(self._shop.catalogue),
            open_session=self._peek(cookie),
            folder=self._shelf.folder,
            files=self._shelf.entries(),
            max_megabytes=MAX_BODY_BYTES // 1_000_000,
            max_uploads=MAX_UPLOADS,
        )

    def begin(
        self, request: Request, goal: Annotated[int | None, Form()] = None, cookie: SessionCookie = None
    ) -> Response:
        """Open an episode; without a goal, at one that is drawn."""
        session = self._sessions.create(goal, record=True)
        self._forget(cookie)
        return enter(session, request)

    def show(
        self, cookie: SessionCookie = None, notice: str = "", saved: Annotated[str, Query(max_length=255)] = ""
    ) -> Response:
        """Return the page where the episode stands."""
        session = self._get(cookie)
        state = session.state
        return render(
            "play.html",
            layout=lay_out(self._shop, state),
            picture=self._pictures.address(state.asin) if self._pictures and state.asin else "",
            state=state,
            actions=[action for _, action in session.trail or ()],
            notice=_NOTICES.get(notice, ""),
            saved=saved if saved in {entry.name for entry in self._shelf.entries()} else "",
            can_save=self._shelf.folder is not None,
            max_words=MAX_ACTION_LENGTH // 10,
        )

    def act(
        self,
        step: Annotated[int, Form()],
        action: Annotated[str, Form(max_length=MAX_ACTION_LENGTH)] = "",
        words: Annotated[str, Form(max_length=MAX_ACTION_LENGTH)] = "",
        cookie: SessionCookie = None,
    ) -> Response:
        """Take an action, or search for words, if the episode still stands where the form says."""
        session = self._get(cookie)
        if session.state.steps != step:
            return _see_play("stale")
        if session.state.done or session.state.truncated:
            return _see_play("over")
        chosen = action or search_action(words)
        if chosen is None:
            return _see_play("empty")
        _, outcome = self._sessions.act(session.identifier, chosen)
        return _see_play("" if outcome.valid else "invalid")

    def go_back(self, request: Request, step: Annotated[int, Form()], cookie: SessionCookie = None) -> Response:
        """Take up the episode again at an earlier point; what came after it is forgotten."""
        session = self._get(cookie)
        trail = session.trail or ()
        if not 0 <= step < len(trail):
            return _see_play("stale")
        earlier = self._sessions.adopt(trail[step][0], trail[:step])
        self._forget(cookie)
        return enter(earlier, request)

    def save(self, cookie: SessionCookie = None) -> Response:
        """Write the episode so far into a trajectory file of its own."""
        session = self._get(cookie)
        if not session.trail:
            raise ShelfError("nothing has been done in this episode yet, so there is nothing to save")
        moments, final = session.trail, session.state
        name = self._shelf.save(
            final.goal, lambda episode_id: record(self._shop, moments, final, episode_id=episode_id, agent=AGENT)
        )
        return RedirectResponse(f"/play?saved={name}", status_code=303)

    def _get(self, cookie: str | None) -> Session:
        if cookie is None:
            raise SessionError("there is no episode yet in this browser: choose a goal first")
        return self._sessions.get(cookie)

    def _peek(self, cookie: str | None) -> Session | None:
        try:
            return self._get(cookie)
        except SessionError:
            return None

    def _forget(self, cookie: str | None) -> None:
        """Close the session that another takes the place of."""
        if self._peek(cookie) is not None and cookie is not None:
            self._sessions.close(cookie)


def _see_play(notice: str) -> Response:
    return RedirectResponse(f"/play?notice={notice}" if notice else "/play", status_code=303)


def _unknown(address: str) -> Response:
    raise HTTPException(404, f"there is no page {'/' + address[:200]!r} here")
