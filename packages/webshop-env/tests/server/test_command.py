from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from sightline.webshop_env import Catalogue, Shop, build_goals, render_rich
from sightline.webshop_env.catalogue.catalogue import write_catalogue
from sightline.webshop_env.episodes import (
    Generated,
    RecordedStep,
    Recording,
    write_recordings,
    write_shop,
)
from sightline.webshop_env.server.command import TOKEN_VARIABLE, add_arguments, run

TOKEN = "correct-horse-battery"
CODE = (
    "import argparse, sys; from sightline.webshop_env.server.command import add_arguments, run;"
    "parser = argparse.ArgumentParser(); add_arguments(parser); sys.exit(run(parser.parse_args()))"
)


def parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(arguments)


@contextmanager
def serving(*arguments: str, **environment: str) -> Generator[tuple[subprocess.Popen[str], str]]:
    """A server of its own process, and its address."""
    command = [sys.executable, "-c", CODE, "--port", "0", *arguments]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | environment
    )
    try:
        assert process.stdout is not None
        greeting = process.stdout.readline()
        address = re.search(r"http://\S+:\d+/", greeting)
        assert address, (greeting, process.communicate(timeout=30)[1])
        yield process, address[0]
    finally:
        process.kill()
        process.communicate()


def test_a_run_is_served_in_its_own_shop_with_the_episodes_of_its_stages(tmp_path: Path) -> None:
    catalogue = Catalogue.generate(30, seed=7)
    shop = Shop(catalogue, build_goals(catalogue, "human", 7), step_limit=8)
    write_shop(tmp_path / "shop.json", shop, Generated(products=30, seed=7))
    state, steps = shop.start(2), []
    for action in ("search[shirt]", "click[back to search]"):
        page = shop.page(state)
        steps.append(
            RecordedStep(observation=render_rich(page), available_actions=(action,), action=action, reward=0.0)
        )
        state, _ = shop.act(state, action)
    recording = Recording(
        episode_id="a-seed0-goal2",
        goal=2,
        agent="a",
        seed=0,
        instruction=shop.goal(state).instruction_text,
        steps=tuple(steps),
        total_reward=0.0,
        terminated=False,
        truncated=False,
        final_observation=render_rich(shop.page(state)),
    )
    write_recordings(tmp_path / "stages" / "7-agent-a" / "episodes.jsonl", [recording])
    (tmp_path / "stages" / "7-agent-a" / "metrics.jsonl").write_text('{"epoch": 1}\n')
    with serving("--run", str(tmp_path)) as (_, address):
        home = httpx.get(address).text
        assert "7-agent-a.episodes.jsonl" in home
        assert "metrics" not in home
        for step in range(3):
            page = httpx.get(f"{address}trajectories/7-agent-a.episodes.jsonl/0?step={step}").text
            assert "iffers" not in page
        forked = httpx.post(f"{address}trajectories/7-agent-a.episodes.jsonl/0/fork", data={"step": "1"})
        assert forked.status_code == 303
    assert list((tmp_path / "people").iterdir()) == []


def test_a_run_without_the_file_of_its_shop_and_a_run_beside_a_catalogue_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(parse("--port", "0", "--run", str(tmp_path))) == 2
    assert "shop.json cannot be read" in capsys.readouterr().err
    assert run(parse("--port", "0", "--run", str(tmp_path), "--products", "9")) == 2
    assert "give --run without a catalogue" in capsys.readouterr().err


def test_it_serves_until_interrupted_and_leaves_quietly(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    with serving("--products", "50", "--step-limit", "7", "--capacity", "1", "--trajectories", str(folder)) as (
        process,
        address,
    ):
        with httpx.Client(base_url=address + "api/v1", trust_env=False) as client:
            shop = client.get("/shop").json()
            assert (shop["products"], shop["step_limit"], shop["capacity"]) == (50, 7, 1)
            assert client.post("/sessions").status_code == 201
            assert client.post("/sessions").status_code == 503
        assert folder.is_dir()
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=30)
        assert (process.returncode, complaint) == (0, "")


def test_a_stored_catalogue_is_served_to_those_who_bring_the_token(tmp_path: Path) -> None:
    catalogue = Catalogue.generate(50)
    write_catalogue(catalogue, tmp_path / "shop")
    with serving(str(tmp_path / "shop"), "--host", "0.0.0.0", **{TOKEN_VARIABLE: TOKEN}) as (_, address):
        port = address.rstrip("/").rpartition(":")[2]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            assert client.get("/api/v1/shop").status_code == 401
            assert client.get("/api/v1/shop", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
            assert client.get(f"/?token={TOKEN}").status_code == 303
            assert client.get("/api/v1/shop").json()["fingerprint"] == catalogue.fingerprint
            opened = client.post("/api/v1/sessions", json={"split": "test"}).json()
            assert client.get(f"/api/v1/goals?offset={opened['goal']}&limit=1").json()["goals"][0]["asin"] in catalogue
        protocol = f"ws://127.0.0.1:{port}/openenv/ws"
        with pytest.raises(InvalidStatus, match="403"):
            connect(protocol)
        with connect(protocol, additional_headers={"authorization": f"Bearer {TOKEN}"}) as socket_:
            socket_.send(json.dumps({"type": "reset", "data": {"goal": 0}}))
            assert "Instruction" in str(socket_.recv(timeout=60))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--host", "0.0.0.0"), "takes a token"),
        (("--host", "::"), "takes a token"),
        (("--host", "0.0.0.0", "--token", "short"), "at least 16"),
        (("--token", ""), "at least 16"),
        (("--host", "no such host"), "no host 'no such host'"),
        (("no-such-folder",), "no-such-folder"),
        (("no-such-folder", "--products", "3"), "leave it out"),
    ],
)
def test_what_cannot_be_served_is_explained(
    arguments: tuple[str, ...], complaint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    assert run(parse(*arguments, "--port", "0")) == 2
    shown = capsys.readouterr()
    assert complaint in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""


def test_a_port_in_use_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert run(parse("--port", str(taken.getsockname()[1]))) == 2
    assert "try another --port" in capsys.readouterr().err


def test_a_missing_extra_is_named_with_the_way_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert run(parse()) == 2
    shown = capsys.readouterr().err
    assert "'uvicorn'" in shown
    assert "pip install 'sightline-webshop-env[server]'" in shown


@pytest.mark.parametrize(
    "arguments",
    [
        ("--port", "65536"),
        ("--port", "-1"),
        ("--capacity", "0"),
        ("--idle-seconds", "0"),
        ("--idle-seconds", "nan"),
        ("--products", "none"),
        ("--goals", "all"),
    ],
)
def test_numbers_out_of_range_are_refused(arguments: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(*arguments)
    assert arguments[0] in capsys.readouterr().err
