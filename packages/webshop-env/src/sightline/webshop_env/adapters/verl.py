"""The shop as tools of verl's agent loop: `search` and `click`, with one episode for each trajectory.

In the YAML file that `actor_rollout_ref.rollout.multi_turn.tool_config_path` names:

    tools:
      - class_name: sightline.webshop_env.adapters.verl.SearchTool
        config: {type: native, catalogue: catalogue, step_limit: 15}
      - class_name: sightline.webshop_env.adapters.verl.ClickTool
        config: {type: native, catalogue: catalogue, step_limit: 15}

A call earns what it brought: the reward of the purchase, else 0. verl's `ToolAgentLoop` makes, executes and releases a
tool object at every call, so that an episode is kept with the trajectory's own data and not with a tool.
"""

from __future__ import annotations

import weakref
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Final

from sightline.webshop_env.adapters.shops import shared_shop
from sightline.webshop_env.adapters.trl import PROMPT, ShopTools

try:
    # Not in the lock, whose pins verl's do not fit.
    from verl.tools.base_tool import BaseTool  # ty: ignore[import-not-found]
    from verl.tools.schemas import OpenAIFunctionToolSchema, ToolResponse  # ty: ignore[import-not-found]
except ImportError as error:
    raise ImportError("verl's tools need verl; install it with: pip install verl") from error

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sightline.webshop_env.rules.shop import Shop

DATA_SOURCE: Final = "sightline/webshop"

_PARAMETERS: Final = {
    "search": ("words", "Search the shop for products.", "What to search for, in a few words."),
    "click": (
        "label",
        "Click on a button, a product or an option of the page.",
        "What to click on, as the page shows it between [button] and [button_].",
    ),
}


class Trajectories:
    """The episodes of one shop, one for each of verl's trajectories.

    Args:
        shop: shop in which all episodes take place; its `step_limit` bounds the calls of a trajectory.
    """

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self._tools: weakref.WeakKeyDictionary[Any, ShopTools] = weakref.WeakKeyDictionary()

    def of(self, agent_data: Any, goal: int | None) -> ShopTools:
        """Return a trajectory's episode, opened at its first call."""
        tools = self._tools.get(agent_data)
        if tools is None:
            tools = self._tools[agent_data] = ShopTools(self.shop)
            tools.reset(goal=goal)
        return tools


class _ShopTool(BaseTool):
    """One of the two tools; both of a shop share its trajectories.

    Args:
        config: the tool's `config` in verl's YAML file: `catalogue` (folder of a stored one) or `products` (number of
            generated ones, 1,000 when left out), `goals` ("human"), `seed` (42) and `step_limit` (none).
        tool_schema: the tool's own is used when None.
    """

    def __init__(self, config: dict[str, Any], tool_schema: OpenAIFunctionToolSchema | None = None) -> None:
        super().__init__(config, tool_schema or OpenAIFunctionToolSchema.model_validate(self._schema()))
        settings = {name: value for name, value in config.items() if name != "type"}
        self._trajectories = _trajectories(**settings)
        self._goals: dict[str, int | None] = {}

    @classmethod
    def _schema(cls) -> dict[str, Any]:
        parameter, what, which = _PARAMETERS[cls.tool_name]
        properties = {parameter: {"type": "string", "description": which}}
        parameters = {"type": "object", "properties": properties, "required": [parameter]}
        return {
            "type": "function",
            "function": {"name": cls.tool_name, "description": what, "parameters": parameters},
        }

    tool_name: ClassVar[str]

    async def create(self, instance_id: str | None = None, **kwargs: Any) -> tuple[str, ToolResponse]:
        """Take note of the row's goal for the call that follows."""
        instance_id, response = await super().create(instance_id)
        self._goals[instance_id] = kwargs.get("create_kwargs", {}).get("goal")
        return instance_id, response

    async def execute(
        self, instance_id: str, parameters: dict[str, Any], **kwargs: Any
    ) -> tuple[ToolResponse, float, dict[str, Any]]:
        """Search or click in the trajectory's episode.

        Returns:
            The page, or what was wrong; what the call earned; and whether the page took the action, or why it did not.
        """
        tools = self._trajectories.of(kwargs["agent_data"], self._goals[instance_id])
        before = tools.get_reward()
        try:
            page = getattr(tools, self.tool_name)(parameters.get(_PARAMETERS[self.tool_name][0]))
        except (TypeError, ValueError) as error:
            return ToolResponse(text=str(error)), 0.0, {"action_is_valid": False, "action_error": str(error)}
        return ToolResponse(text=page), tools.get_reward() - before, {"action_is_valid": True}

    async def release(self, instance_id: str, **kwargs: Any) -> None:
        """Forget the call; the episode stays with its trajectory."""
        self._goals.pop(instance_id, None)


class SearchTool(_ShopTool):
    """The tool `search`."""

    tool_name = "search"


class ClickTool(_ShopTool):
    """The tool `click`."""

    tool_name = "click"


@lru_cache(maxsize=8)
def _trajectories(**settings: Any) -> Trajectories:
    """Return the trajectories of the shop of these settings, which the two tools of a worker share."""
    return Trajectories(shared_shop(**settings))


def training_rows(shop: Shop, goals: Iterable[int]) -> list[dict[str, Any]]:
    """Return rows as verl's data sets hold them: prompt with the instruction, goal, and the agent loop's name.

    Args:
        shop: shop in which the goals are looked up.
        goals: their numbers.

    Raises:
        GoalError: there is no such goal.
    """
    rows = []
    for index, goal in enumerate(goals):
        instruction = shop.goal(shop.start(goal)).instruction_text
        create = {"create_kwargs": {"goal": goal}}
        rows.append(
            {
                "data_source": DATA_SOURCE,
                "agent_name": "tool_agent",
                "prompt": [{"role": "user", "content": f"{PROMPT}\n\nInstruction: {instruction}"}],
                "reward_model": {"style": "rule", "ground_truth": str(goal)},
                "extra_info": {
                    "index": index,
                    "need_tools_kwargs": True,
                    "tools_kwargs": dict.fromkeys(_PARAMETERS, create),
                },
            }
        )
    return rows
