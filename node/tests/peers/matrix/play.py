"""Plays the features of a plan with a Python client, whichever library it is built on.

A client module has a class that connects and answers the few questions of `Link`, and calls `main`.
The plan says which connections there are and what to do on each: see plan.py. A line of JSON goes
out per connection, {"job","version"|"error"}, and per feature, {"job","server","feature","error"?}.
"""

import asyncio
import contextlib
import json
import sys
import traceback
import warnings
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, Protocol

CONNECT_SECONDS_MAX = 60.0
FEATURE_SECONDS_MAX = 25.0
POLL_SECONDS = 0.02

Feature = dict[str, Any]


class Heard:
    """What a connection heard from its servers, and what it says to them."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.feature: Feature = {}
        self.asked: list[str] = []
        self.updated: list[str] = []

    def answer_sampling(self) -> str:
        """Notes that a server wanted the model to speak; what the model says."""
        self.asked.append("sampling")
        return self.feature.get("says", "nothing was asked of this model")

    def answer_form(self) -> dict[str, Any]:
        """Notes that a server wanted a form filled in; what the user fills in."""
        self.asked.append("form")
        return self.feature.get("fills", {})

    def answer_url(self, url: str) -> None:
        """Notes that a server sent the user to a page."""
        self.asked.append(f"url {url}")


class Link(Protocol):
    """One connection of a client."""

    heard: Heard

    async def version(self) -> str:
        """The revision that was agreed on."""

    async def tools(self) -> list[str]:
        """The names of all tools."""

    async def call(self, tool: str, arguments: dict[str, Any], progress: Callable[[float], None] | None = None) -> str:
        """The text that a tool answers with."""

    async def call_and_cancel(self, tool: str, arguments: dict[str, Any]) -> None:
        """Calls a tool, gives the call up at its first progress, and returns when it has ended here."""

    async def read(self, uri: str) -> str:
        """The text of a resource."""

    async def prompt(self, name: str, arguments: dict[str, str]) -> str:
        """The text of a prompt."""

    async def complete(self, ref: dict[str, str], argument: dict[str, str]) -> list[str]:
        """The completions of an argument."""

    def subscription(self, uri: str) -> contextlib.AbstractAsyncContextManager[None]:
        """While it is open, updates of a resource are noted in `heard.updated`."""


def reach(at: dict[str, Any], command: Callable[..., Any], sse: Callable[..., Any], http: Callable[..., Any]) -> Any:
    """A transport of a library, to where a server is: by a command, at a URL, or at the URL of an old event stream."""
    if "command" in at:
        return command(**at)
    headers = {"Authorization": f"Bearer {at['token']}"} if "token" in at else {}
    return (sse if at.get("transport") == "sse" else http)(at["url"], headers=headers)


async def until(condition: Callable[[], Any], what: str) -> None:
    """Waits for something that another task brings about; the feature's limit ends a vain wait."""
    try:
        while not condition():
            await asyncio.sleep(POLL_SECONDS)
    except asyncio.CancelledError as error:
        error.add_note(f"while waiting for {what}")
        raise


async def first(sign: Coroutine[Any, Any, Any], call: asyncio.Task[Any]) -> None:
    """Waits for a sign that a call has begun; a call that ends before it says why."""
    waiting = asyncio.ensure_future(sign)
    await asyncio.wait({waiting, call}, return_when=asyncio.FIRST_COMPLETED)
    if not waiting.done():
        waiting.cancel()
        raise AssertionError(f"the call ended with {call.result()}")


def holds(text: str, feature: Feature) -> None:
    """Asserts that an answer has what the plan expects in it."""
    assert feature["expects"] in text, f"{feature['expects']!r} is not in {text[:500]!r}"


async def play_list(link: Link, feature: Feature) -> None:
    """The tool that the plan expects is listed, at the latest when its server has started."""
    while feature["expects"] not in (names := await link.tools()):
        feature["last"] = names
        await asyncio.sleep(POLL_SECONDS)


async def play_call(link: Link, feature: Feature) -> None:
    """A tool is called."""
    holds(await link.call(feature["tool"], feature["arguments"]), feature)


async def play_read(link: Link, feature: Feature) -> None:
    """A resource is read."""
    holds(await link.read(feature["uri"]), feature)


async def play_prompt(link: Link, feature: Feature) -> None:
    """A prompt is filled in."""
    holds(await link.prompt(feature["name"], feature["arguments"]), feature)


async def play_complete(link: Link, feature: Feature) -> None:
    """An argument is completed."""
    values = await link.complete(feature["ref"], feature["argument"])
    assert feature["expects"] in values, values


async def play_question(link: Link, feature: Feature) -> None:
    """A tool asks the client in mid-call and uses what it is told."""
    holds(await link.call(feature["tool"], feature["arguments"]), feature)
    assert link.heard.asked == [feature["asks"]], f"{link.heard.asked} was asked"


async def play_roots(link: Link, feature: Feature) -> None:
    """A server knows the client's roots: some ask for them in the call, some after the start."""
    while feature["expects"] not in (text := await link.call(feature["tool"], feature["arguments"])):
        feature["last"] = text
        await asyncio.sleep(POLL_SECONDS)


async def play_progress(link: Link, feature: Feature) -> None:
    """Progress arrives while the call runs, and grows."""
    steps: list[float] = []
    await link.call(feature["tool"], feature["arguments"], steps.append)
    # The result may overtake them, as it comes on its own.
    await until(lambda: len(steps) >= feature["steps"], f"{feature['steps']} steps")
    assert steps == sorted(set(steps)), steps


async def play_cancel(link: Link, feature: Feature) -> None:
    """A call that the client gives up ends, here and at a server that can tell; the connection goes on."""
    await link.call_and_cancel(feature["tool"], feature["arguments"])
    witness = feature["witness"]
    while witness["expects"] not in (text := await link.call(witness["tool"], witness["arguments"])):
        feature["last"] = text
        await asyncio.sleep(POLL_SECONDS)


async def play_subscribe(link: Link, feature: Feature) -> None:
    """An update of a resource is told to the one who asked for it."""
    async with link.subscription(feature["uri"]):
        await link.call(feature["tool"], feature["arguments"])
        await until(lambda: feature["uri"] in link.heard.updated, f"an update of {feature['uri']}")
    if "after" in feature:
        await link.call(feature["after"], {})


PLAYS: dict[str, Callable[[Link, Feature], Awaitable[None]]] = {
    "list": play_list,
    "call": play_call,
    "read": play_read,
    "prompt": play_prompt,
    "complete": play_complete,
    "sampling": play_question,
    "form": play_question,
    "url": play_question,
    "roots": play_roots,
    "progress": play_progress,
    "cancel": play_cancel,
    "subscribe": play_subscribe,
}


def say(**line: Any) -> None:
    """One line for matrix.py."""
    print(json.dumps(line), flush=True)


def told(error: BaseException) -> str:
    """What went wrong: the end of it, where the cause is."""
    return "".join(traceback.format_exception(error))[-1200:]


async def play_job(connect: Callable[..., Any], job: dict[str, Any], plan: dict[str, Any], mode: str) -> None:
    """One connection and all that is done on it."""
    heard = Heard(plan["root"])
    async with contextlib.AsyncExitStack() as stack:
        async with asyncio.timeout(CONNECT_SECONDS_MAX):
            link: Link = await stack.enter_async_context(connect(job["at"], mode, heard))
            say(job=job["job"], version=await link.version())
        for feature in job["features"]:
            line = {"job": job["job"], "server": feature["server"], "feature": feature["feature"]}
            heard.feature = feature
            heard.asked.clear()
            heard.updated.clear()
            try:
                async with asyncio.timeout(FEATURE_SECONDS_MAX):
                    await PLAYS[feature["feature"]](link, feature)
            except Exception as error:  # noqa: BLE001 - every failure becomes a line
                line["error"] = told(error) + str(feature.get("last", ""))
            say(**line)


async def play(connect: Callable[..., Any], plan: dict[str, Any], mode: str) -> None:
    """All connections, one after the other."""
    for job in plan["jobs"]:
        try:
            await play_job(connect, job, plan, mode)
        except Exception as error:  # noqa: BLE001 - every failure becomes a line
            say(job=job["job"], error=told(error))


def main(connect: Callable[..., Any]) -> None:
    """Reads the command line, `PLAN [MODE]`, and plays."""
    warnings.simplefilter("ignore")
    plan = json.loads(Path(sys.argv[1]).read_text())
    asyncio.run(play(connect, plan, sys.argv[2] if len(sys.argv) > 2 else ""))
