"""The endpoints as tools of another program, through the Model Context Protocol's own client over loopback."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import httpx
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

NAMES = ("generate", "interpolate", "judge", "make", "mix", "path", "search")


def converse(url: str, talk: Callable[[ClientSession], Awaitable[Any]]) -> Any:
    async def conversation() -> Any:
        async with streamable_http_client(f"{url}/gradio_api/mcp/") as (read, write, _), ClientSession(read, write) as session:
            await session.initialize()
            return await talk(session)

    # In a thread of its own: the browser's tests keep an event loop running in this one.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(anyio.run, conversation).result()


async def tools_of(session: ClientSession) -> dict[str, Any]:
    """Our name of an endpoint -> its tool; gradio writes the title of the page before it."""
    found = (await session.list_tools()).tools
    return {next(name for name in NAMES if tool.name.endswith(name)): tool for tool in found}


def told(result: Any) -> str:
    return " ".join(part.text for part in result.content if part.type == "text")


def test_the_tools_are_described(site):
    async def talk(session: ClientSession) -> dict[str, Any]:
        return await tools_of(session)

    tools = converse(site.url, talk)
    assert set(tools) == set(NAMES)
    schema = tools["generate"].inputSchema
    assert "drawings" in tools["generate"].description and "prompt" in schema["properties"]
    assert all(part.get("description") for part in schema["properties"].values())


def test_a_tool_draws_and_judges(site):
    async def talk(session: ClientSession) -> Any:
        tools = await tools_of(session)
        drawn = await session.call_tool(tools["generate"].name, {"prompt": "a red apple", "num_images": 2, "seed": 7})
        judged = await session.call_tool(tools["judge"].name, {"prompt": "a red apple"})
        return drawn, judged

    drawn, judged = converse(site.url, talk)
    assert not drawn.isError and not judged.isError
    assert "known" in told(judged)
    addresses = [word.strip("'\",[]()") for word in told(drawn).split() if "gradio_api/file=" in word]
    assert addresses
    found = httpx.get(addresses[0])
    assert found.status_code == 200 and found.content.startswith(b"\x89PNG")


def test_what_can_t_be_drawn_is_an_error_with_a_sentence(site):
    async def talk(session: ClientSession) -> Any:
        tools = await tools_of(session)
        return [
            await session.call_tool(tools["generate"].name, given)
            for given in ({"prompt": "🍎"}, {"prompt": "a cat", "num_images": 99}, {"prompt": "long " * 100}, {"prompt": "crash"})
        ]

    for result, message in zip(converse(site.url, talk), ("no words", "1 to 16", "too long", "went wrong"), strict=True):
        assert result.isError and message in told(result)
        assert "Traceback" not in told(result) and "secret" not in told(result)
