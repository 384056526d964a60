"""What the JSON API takes and gives, as pydantic models; the descriptions are its reference documentation."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sightline.webshop_env.episodes.snapshot import MAX_SNAPSHOT_BYTES
from sightline.webshop_env.gym.env import ObservationMode
from sightline.webshop_env.rules.shop import MAX_ACTION_LENGTH, RESULT_LIMIT

Split: TypeAlias = Literal["test", "dev", "train", "eval", "train_and_dev"]

MAX_BATCH = 1024
"""Sessions that one request may open or act in."""

_MAX_BASE64 = 4 * -(-MAX_SNAPSHOT_BYTES // 3)
_Snapshot = Annotated[str, Field(max_length=_MAX_BASE64, description="What GET .../snapshot gave, in base64.")]
_SplitField = Annotated[
    Split | None,
    Field(
        description="`test`, `dev`, `train`: goals 0-499, 500-1499, the rest; `eval`, `train_and_dev`: 0-499, the rest."
    ),
]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Parameters(BaseModel):
    # Not strict: query parameters arrive as text.
    model_config = ConfigDict(extra="forbid", frozen=True)


class _View(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class OpenRequest(_Request):
    """Where a session begins: at a goal, at one drawn by weight (from a split or from all), or at a snapshot."""

    goal: int | None = Field(None, ge=0, lt=1 << 53, description="Index of the goal.")
    split: _SplitField = None
    seed: int | None = Field(
        None,
        ge=-(1 << 63),
        lt=1 << 63,
        description="Of the draw of the goal and of the random results of the query `<r>`; a fresh one by default.",
    )
    snapshot: _Snapshot | None = None

    @model_validator(mode="after")
    def _names_one_beginning(self) -> OpenRequest:
        if len(self.model_fields_set & {"goal", "split", "snapshot"}) > 1:
            raise ValueError("give only one of goal, split and snapshot")
        if self.snapshot is not None and self.seed is not None:
            raise ValueError("a snapshot has its own seed; leave seed out")
        return self


class ActionRequest(_Request):
    """One action."""

    action: str = Field(
        max_length=MAX_ACTION_LENGTH, description="`search[words]`, or `click[label]` with one of `clickables`."
    )


class BatchOpenRequest(_Request):
    """Sessions to open together."""

    sessions: list[OpenRequest] = Field(min_length=1, max_length=MAX_BATCH, description="One entry for each session.")


class BatchActionRequest(_Request):
    """One action in each of many sessions."""

    actions: dict[str, Annotated[str, Field(max_length=MAX_ACTION_LENGTH)]] = Field(
        min_length=1, max_length=MAX_BATCH, description="Session name -> action."
    )


class SnapshotRequest(_Request):
    """Where to move a session."""

    snapshot: _Snapshot


class PageParameters(_Parameters):
    """How to show the page."""

    mode: ObservationMode = Field("text", description="What `observation` holds.")


class GoalParameters(_Parameters):
    """Which goals to list."""

    split: _SplitField = None
    offset: int = Field(0, ge=0, lt=1 << 53, description="How many of them to skip.")
    limit: int = Field(100, ge=1, le=1000, description="How many to list at most.")


class SearchParameters(_Parameters):
    """What to search for, outside any session."""

    query: str = Field(max_length=MAX_ACTION_LENGTH, description="Words; special queries such as `<r>` are words here.")
    k: int = Field(RESULT_LIMIT, ge=1, le=1000, description="How many hits at most.")


class AvailableActionsView(_View):
    """What can be done on a page."""

    has_search_bar: bool = Field(description="Whether the page shows one; searching is possible anywhere.")
    clickables: list[str] = Field(description="What can be clicked, lower case, in page order.")


class RewardPartsView(_View):
    """How the reward of a purchase came about: `r_` is a share of what was asked, `w_` its weight in the total."""

    r_type: float = Field(description="1, 0.5, 0.1 or 0: whether the product is of the right kind.")
    r_att: float = Field(description="Share of the goal's attributes that the product has.")
    w_att: float = Field(description="Weight of the attributes.")
    query_match: bool = Field(description="Whether both products are listed under the same shop query.")
    category_match: bool = Field(description="Whether their category paths share at least two elements.")
    title_score: float = Field(description="Share of the nouns of the goal's title in the product's.")
    r_option: float | None = Field(None, description="Share of the goal's options chosen; null without options.")
    w_option: float | None = Field(None, description="Weight of the options; null without options.")
    r_price: bool = Field(description="Whether the price is within the limit.")
    w_price: float = Field(description="Weight of the price.")


class PageView(_View):
    """Where a session stands and what it shows."""

    session: str = Field(description="The session's name; whoever knows it can act on it.")
    mode: ObservationMode = Field(description="How `observation` shows the page.")
    observation: str = Field(description="The page; its text is the catalogue's, not to be trusted.")
    kind: str = Field(description="`index`, `search_results`, `item_page`, `done`, or the name of a sub page.")
    available_actions: AvailableActionsView
    instruction: str = Field(description="What is to be bought.")
    url: str = Field(description="The page's address in the original shop.")
    goal: int = Field(description="Index of the goal.")
    steps: int = Field(description="Actions taken, invalid ones included.")
    step_limit: int | None = Field(description="Steps after which the episode is truncated; null for no limit.")
    done: bool = Field(description="Whether something has been bought in this episode.")
    truncated: bool = Field(description="Whether the step limit was reached without a purchase.")
    reward: float = Field(description="What the last purchase earned, from 0 to 1; 0 before any.")
    reward_parts: RewardPartsView | None = Field(description="Of the purchase this page confirms; null on other pages.")


class OutcomeView(_View):
    """What one action brought."""

    reward: float = Field(description="From 0 to 1; 0 for everything but a purchase.")
    done: bool = Field(description="Whether the action was a purchase.")
    valid: bool = Field(description="Whether the page offered the action; an invalid one only counts as a step.")


class StepView(PageView):
    """The page after an action, and what the action brought."""

    outcome: OutcomeView


class PagesView(_View):
    """The pages of sessions that were opened together, in the order of the request."""

    pages: list[PageView]


class StepsView(_View):
    """The pages after actions that were taken together, in the order of the request."""

    steps: list[StepView]


class SnapshotView(_View):
    """A session in some hundred bytes, to be restored under the same catalogue and goals."""

    snapshot: str = Field(description="In base64.")


class GoalView(_View):
    """A goal, the answer included."""

    index: int = Field(description="What names the goal when a session is opened.")
    instruction_text: str = Field(description="What the agent reads.")
    asin: str = Field(description="The product the goal was made from; any that scores 1 is as good.")
    category: str
    query: str
    name: str = Field(description="Title of that product.")
    product_category: str
    attributes: list[str] = Field(description="What the bought product must have.")
    goal_options: dict[str, str] | list[str] = Field(description="Values to choose; by name for synthetic goals.")
    price_upper: float = Field(description="The highest price allowed, in dollars.")
    weight: float = Field(description="Relative probability of being drawn.")


class GoalsView(_View):
    """A stretch of the list of goals."""

    count: int = Field(description="How many goals there are, in the split if one was named.")
    goals: list[GoalView]


class HitView(_View):
    """A product that a search found."""

    asin: str
    score: float = Field(description="BM25.")
    title: str
    price: float = Field(description="In force, in dollars.")


class HitsView(_View):
    """What a search found, best first."""

    hits: list[HitView]


class ShopView(_View):
    """What the server serves, and how busy it is."""

    fingerprint: str = Field(description="SHA-256 of the catalogue; snapshots fit where it and the goals are equal.")
    products: int
    goals: int = Field(description="How many goals there are.")
    goal_kind: str = Field(description="`human` or `synthetic`.")
    goal_seed: int = Field(description="Of prices and price limits.")
    step_limit: int | None = Field(description="Of sessions opened at a goal; null for no limit.")
    sessions: int = Field(description="How many are open.")
    capacity: int = Field(description="How many can be open.")
    idle_seconds: float = Field(description="After which an unused session is closed.")


class HealthView(_View):
    """That the server answers."""

    status: Literal["ok"]


class ErrorDetail(_View):
    """What went wrong."""

    code: str = Field(description="For programs: `unknown_session`, `bad_snapshot`, ...")
    message: str = Field(description="For people.")


class ErrorView(_View):
    """Every answer with a status of 400 or more."""

    error: ErrorDetail
