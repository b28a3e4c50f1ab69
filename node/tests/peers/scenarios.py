"""What the Python client does with the servers. Each scenario asserts what has to be true
and returns what it saw, which has to be the same directly and through the gateway."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import mcp_types as types
from mcp.shared.exceptions import MCPError

Peer = Any
Scenario = Callable[[Peer], Awaitable[Any]]
SCENARIOS: dict[str, Scenario] = {}
WATCHED = "test://watched-resource"
DYNAMIC = "demo://resource/dynamic/text/1"
ALL = ("everything", "files", "memory", "git", "fixture")


def scenario(play: Scenario) -> Scenario:
    """Puts a function on the list under its own name."""
    SCENARIOS[play.__name__] = play
    return play


async def until(condition: Callable[[], Any], what: str, seconds: float = 10.0) -> None:
    """Waits until something became true, and lets the event loop run meanwhile."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"did not happen within {seconds} s: {what}"
        await asyncio.sleep(0.01)


async def call(peer: Peer, server: str, tool: str, arguments: dict[str, Any] | None = None, **more: Any) -> Any:
    """Calls a tool; the result as plain data, without what names the connection."""
    client = await peer.client(server)
    result = await client.call_tool(peer.name(server, tool), arguments or {}, **more)
    data = result.model_dump(by_alias=True, mode="json", exclude_none=True)
    return {key: data[key] for key in ("content", "structuredContent", "isError") if key in data}


def text(result: Any) -> str:
    """The text of a result."""
    return "\n".join(block.get("text", "") for block in result["content"])


def reached(peer: Peer, servers: Iterable[str]) -> list[str]:
    """Those of the servers that speak the era of this client."""
    return [server for server in servers if peer.reaches(server)]


async def every(peer: Peer, server: str, method: str, key: str) -> list[Any]:
    """All pages of a list."""
    client, items, cursor = await peer.client(server), [], None
    while True:
        page = await getattr(client, method)(cursor=cursor)
        items += getattr(page, key)
        cursor = page.next_cursor
        if cursor is None:
            return items


@scenario
async def tools_list(peer: Peer) -> Any:
    """Every tool of every server is listed, with everything the server says of it."""
    seen: dict[str, Any] = {}
    for server in reached(peer, ALL):
        prefix = peer.name(server, "")
        for tool in await every(peer, server, "list_tools", "tools"):
            if tool.name.startswith(prefix) and (not peer.through or owner(tool.name) == server):
                data = tool.model_dump(by_alias=True, mode="json", exclude_none=True)
                # Only one of the eras has `execution`, and the SDK hides it in the other.
                execution = data.pop("execution", {})
                # Tasks stay within their era: a client that takes the stateless one is not shown what needs them.
                if execution.get("taskSupport") == "required" and peer.args.mode != "legacy":
                    continue
                seen[f"{server}/{tool.name.removeprefix(prefix)}"] = {**data, "name": ""}
    for wanted in ("everything/echo", "files/read_text_file", "memory/read_graph", "git/git_status", "fixture/echo"):
        assert wanted in seen or not peer.reaches(wanted.split("/")[0]), f"{wanted} is not among {sorted(seen)}"
    return {name: seen[name] for name in sorted(seen)}


def owner(name: str) -> str:
    """The server of a prefixed name; a name can begin like that of two servers."""
    servers = (*ALL, "everything_stdio", "fixture_stdio")
    return max((server for server in servers if name.startswith(f"{server}_")), key=len, default="")


@scenario
async def tools_call(peer: Peer) -> Any:
    """Calls that read and write at every server."""
    files, repo = str(Path(peer.world["dir"], "files")), str(Path(peer.world["dir"], "repo"))
    value = {"value": {"z": None, "a": [1.5, "漢字", {}]}}
    calls: list[tuple[str, str, str, dict[str, Any]]] = [
        ("echo", "everything", "echo", {"message": "hello"}),
        ("sum", "everything", "get-sum", {"a": 2, "b": 3}),
        ("weather", "everything", "get-structured-content", {"location": "Chicago"}),
        ("image", "everything", "get-tiny-image", {}),
        ("links", "everything", "get-resource-links", {"count": 2}),
        ("annotated", "everything", "get-annotated-message", {"messageType": "error"}),
        ("read", "files", "read_text_file", {"path": f"{files}/hello.txt"}),
        ("list", "files", "list_directory", {"path": f"{files}/sub"}),
        ("write", "files", "write_file", {"path": f"{files}/new.txt", "content": "n\u00fc\n"}),
        ("back", "files", "read_text_file", {"path": f"{files}/new.txt"}),
        ("outside", "files", "read_text_file", {"path": "/etc/hostname"}),
        ("status", "git", "git_status", {"repo_path": repo}),
        ("log", "git", "git_log", {"repo_path": repo, "max_count": 5}),
        ("diff", "git", "git_diff_unstaged", {"repo_path": repo}),
        ("value", "fixture", "echo", value),
        ("error", "fixture", "test_error_handling", {}),
        ("mixed", "fixture", "test_multiple_content_types", {}),
        ("region", "fixture", "regional", {"region": " w\u00ebst ", "limit": 3}),
        ("large", "fixture", "large", {"bytes": 300_000}),
    ]
    seen = {key: await call(peer, *where) for key, *where in calls if peer.reaches(where[0])}
    seen["large"] = len(text(seen["large"]))
    assert "notes.txt" in text(seen["status"]) and "Commit 2" in text(seen["log"]), seen
    assert seen["value"]["structuredContent"] == value and seen["large"] == 300_000, seen
    assert seen["error"]["isError"], seen
    if peer.reaches("files"):
        assert "hello" in text(seen["echo"]) and "5" in text(seen["sum"]), seen
        assert "Second line: äöü 漢字" in text(seen["read"]) and "data.json" in text(seen["list"]), seen
        assert seen["outside"]["isError"], seen
    return seen


@scenario
async def memory(peer: Peer) -> Any:
    """State that one server keeps from call to call."""
    if not peer.reaches("memory"):
        return "out of reach"
    entity = {"name": "Lock", "entityType": "thing", "observations": ["lets ships pass"]}
    await call(peer, "memory", "delete_entities", {"entityNames": ["Lock"]})
    seen = {
        "create": await call(peer, "memory", "create_entities", {"entities": [entity]}),
        "found": await call(peer, "memory", "search_nodes", {"query": "ships"}),
        "delete": await call(peer, "memory", "delete_entities", {"entityNames": ["Lock"]}),
    }
    assert "lets ships pass" in text(seen["found"])
    return seen


async def refusal(action: Awaitable[Any]) -> Any:
    """How a call is refused: by an error or in the result."""
    try:
        return await action
    except MCPError as error:
        return {"code": error.error.code}


@scenario
async def errors(peer: Peer) -> Any:
    """Unknown names and bad arguments are refused, and the connection goes on."""
    client = await peer.client("fixture")
    seen = {
        "tool": await refusal(call(peer, "fixture", "no_such_tool")),
        "prompt": await refusal(client.get_prompt(peer.name("fixture", "no_such_prompt"))),
    }
    assert all("code" in seen[key] for key in ("tool", "prompt")), seen
    # The older revisions have a code of their own for this, which a gateway may use where no server is asked.
    missing = await refusal(client.read_resource("test://no-such-resource"))
    assert missing["code"] in (-32602, -32002), missing
    if peer.reaches("everything"):
        seen["arguments"] = await refusal(call(peer, "everything", "get-sum", {"a": "x"}))
    await call(peer, "fixture", "test_simple_text")
    return seen


@scenario
async def resources(peer: Peer) -> Any:
    """Lists, templates and contents."""
    listed, templates = set(), set()
    for server in reached(peer, ("everything", "fixture")):
        listed |= {str(r.uri) for r in await every(peer, server, "list_resources", "resources")}
        more = await every(peer, server, "list_resource_templates", "resource_templates")
        templates |= {template.uri_template for template in more}
    # Through the gateway everybody's resources are listed together; the others' are not compared.
    listed = {uri for uri in listed if uri.startswith(("demo:", "test:"))}
    templates = {uri for uri in templates if uri.startswith(("demo:", "test:"))}
    wanted = {"test://static-text", WATCHED}
    shapes = {"test://template/{id}/data"}
    if peer.reaches("everything"):
        wanted.add("demo://resource/static/document/architecture.md")
        shapes.add("demo://resource/dynamic/text/{resourceId}")
    assert wanted <= listed and shapes <= templates, (listed, templates)
    contents = {}
    for server, uri in (
        ("fixture", "test://static-text"),
        ("fixture", "test://static-binary"),
        ("fixture", "test://template/7 7/data".replace(" ", "%20")),
        ("everything", "demo://resource/static/document/architecture.md"),
    ):
        if peer.reaches(server):
            result = await (await peer.client(server)).read_resource(uri)
            contents[uri] = [c.model_dump(by_alias=True, mode="json", exclude_none=True) for c in result.contents]
    if peer.reaches("everything"):
        dynamic = await (await peer.client("everything")).read_resource("demo://resource/dynamic/text/3")
        assert "Resource 3" in dynamic.contents[0].text, dynamic
    return {"listed": sorted(listed), "templates": sorted(templates), "contents": contents}


@scenario
async def prompts(peer: Peer) -> Any:
    """Lists and filled-in prompts."""
    names = {
        owner(p.name) + "/" + p.name.removeprefix(peer.name(owner(p.name), "")) if peer.through else f"{s}/{p.name}"
        for s in reached(peer, ("everything", "fixture"))
        for p in await every(peer, s, "list_prompts", "prompts")
    }
    assert "fixture/test_prompt_with_image" in names, names
    got = {}
    for server, name, arguments in (
        ("everything", "simple-prompt", {}),
        ("everything", "args-prompt", {"city": "Delft", "state": "ZH"}),
        ("fixture", "test_prompt_with_arguments", {"arg1": "hello", "arg2": "wörld"}),
        ("fixture", "test_prompt_with_embedded_resource", {"resourceUri": "test://example-resource"}),
        ("fixture", "test_prompt_with_image", {}),
    ):
        if peer.reaches(server):
            result = await (await peer.client(server)).get_prompt(peer.name(server, name), arguments)
            got[name] = [m.model_dump(by_alias=True, mode="json", exclude_none=True) for m in result.messages]
    assert "wörld" in json.dumps(got, ensure_ascii=False), got
    kept = tuple(f"{server}/" for server in reached(peer, ("everything", "fixture")))
    return {"names": sorted(n for n in names if n.startswith(kept)), "got": got}


@scenario
async def completion(peer: Peer) -> Any:
    """Completion of prompt arguments (with context) and of template variables."""

    async def complete(server: str, ref: Any, argument: dict[str, str], context: Any = None) -> Any:
        result = await (await peer.client(server)).complete(ref, argument, context)
        return result.completion.model_dump(by_alias=True, mode="json", exclude_none=True)

    def prompt(server: str, name: str) -> types.PromptReference:
        return types.PromptReference(type="ref/prompt", name=peer.name(server, name))

    team = prompt("everything", "completable-prompt")
    template = types.ResourceTemplateReference(type="ref/resource", uri="test://template/{id}/data")
    seen = {
        "prompt": await complete(
            "fixture", prompt("fixture", "test_prompt_with_arguments"), {"name": "arg1", "value": "par"}
        ),
        "template": await complete("fixture", template, {"name": "id", "value": "12"}),
    }
    if peer.reaches("everything"):
        support = {"department": "Support"}
        seen["department"] = await complete("everything", team, {"name": "department", "value": "S"})
        seen["name"] = await complete("everything", team, {"name": "name", "value": "J"}, support)
        assert seen["department"]["values"] == ["Sales", "Support"] and seen["name"]["values"] == ["John"], seen
    assert seen["prompt"]["values"] == ["paris", "park", "party"] and seen["template"]["values"] == ["12", "123"]
    return seen


@scenario
async def sampling(peer: Peer) -> Any:
    """Servers ask the client's model, over HTTP and over stdio."""
    seen = {
        server: text(await call(peer, server, "trigger-sampling-request", {"prompt": server}))
        for server in reached(peer, ("everything", "everything_stdio"))
    }
    seen |= {
        server: text(await call(peer, server, "test_sampling", {"prompt": server}))
        for server in ("fixture", "fixture_stdio")
    }
    assert all("one heard" in said for said in seen.values()), seen
    assert len(peer.sampled) == len(seen), peer.sampled
    return seen


@scenario
async def elicitation(peer: Peer) -> Any:
    """Servers ask the user, with forms of every kind."""
    npm = reached(peer, ("everything", "everything_stdio"))
    seen = {server: await call(peer, server, "trigger-elicitation-request") for server in npm}
    for server in ("fixture", "fixture_stdio"):
        seen[server] = await call(peer, server, "test_elicitation", {"message": f"from {server}"})
        seen[f"{server}-defaults"] = await call(peer, server, "test_elicitation_sep1034_defaults")
        seen[f"{server}-rounds"] = await call(peer, server, "test_input_required_result_multi_round")
    assert "one-username" in text(seen["fixture"]) and "from fixture" in peer.elicited, seen
    assert text(seen["fixture_stdio-rounds"]) == "one-name likes one-color", seen
    return {"results": seen, "asked": peer.elicited}


@scenario
async def url_elicitation(peer: Peer) -> Any:
    """A server sends the user to a page."""
    if not peer.reaches("everything"):
        return "out of reach"
    where = {"url": "http://127.0.0.1:9/login", "message": "Please log in", "elicitationId": "login-1"}
    seen = await call(peer, "everything", "trigger-url-elicitation", where)
    assert peer.elicited == ["Please log in"], peer.elicited
    return seen


@scenario
async def roots(peer: Peer) -> Any:
    """Servers ask for the client's roots and act on them."""
    folder = str(Path(peer.world["dir"], "files"))
    asking = {
        "everything": "get-roots-list",
        "fixture": "test_input_required_result_list_roots",
        "fixture_stdio": "test_input_required_result_list_roots",
        "files": "list_allowed_directories",
    }
    seen = {server: text(await call(peer, server, asking[server])) for server in reached(peer, asking)}
    assert all(folder in said for said in seen.values()), seen
    return seen


@scenario
async def progress(peer: Peer) -> Any:
    """Progress reaches the call that asked for it, and only that."""
    seen: dict[str, list[Any]] = {}

    async def one(server: str, tool: str, arguments: dict[str, Any], key: str) -> None:
        seen[key] = []

        async def note(done: float, total: float | None, message: str | None) -> None:
            seen[key].append([done, total, message])

        await call(peer, server, tool, arguments, progress_callback=note)

    long = {"duration": 0.3, "steps": 3}
    # One task opens the connections; the other calls run at the same time on them.
    await one("fixture", "test_tool_with_progress", {}, "fixture")
    npm = reached(peer, ("everything", "everything_stdio"))
    for server in (*npm, "fixture_stdio"):
        await peer.client(server)
    await asyncio.gather(
        *(one(server, "trigger-long-running-operation", long, server) for server in npm),
        one("fixture_stdio", "test_tool_with_progress", {}, "fixture_stdio"),
        one("fixture", "test_tool_with_progress", {}, "fixture again"),
    )
    for key, notes in seen.items():
        assert [note[0] for note in notes] == ([1, 2, 3] if key in npm else [0, 50, 100]), seen
    return seen


@scenario
async def cancellation(peer: Peer) -> Any:
    """A call that the client gives up ends at the server."""
    for server in ("fixture", "fixture_stdio"):
        before = int(text(await call(peer, server, "cancelled")))
        started = asyncio.Event()

        async def note(*_: Any) -> None:
            started.set()

        task = asyncio.create_task(call(peer, server, "wait", {"seconds": 30}, progress_callback=note))
        await asyncio.wait_for(started.wait(), 10)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        for _ in range(200):
            if int(text(await call(peer, server, "cancelled"))) == before + 1:
                break
            await asyncio.sleep(0.02)
        else:
            raise AssertionError(f"{server} was not told that the call is cancelled")
    return "cancelled"


@scenario
async def logging(peer: Peer) -> Any:
    """Log lines come at the level that was asked for, and no lower."""
    seen = {}
    for server in ("fixture", "fixture_stdio"):
        peer.logged.clear()
        client = await peer.client(server)
        if not await peer.modern(server):
            await client.set_logging_level("warning")
        await call(peer, server, "test_logging_tool")
        mine = [level for level, data in peer.logged if data == {"said": level}]
        assert mine == ["warning", "error", "critical", "alert", "emergency"], (server, peer.logged)
        seen[server] = mine
    return seen


@scenario
async def ping(peer: Peer) -> Any:
    """The session era can be pinged."""
    for server in reached(peer, ALL):
        if not await peer.modern(server):
            await (await peer.client(server)).send_ping()
    return "pong"


@scenario
async def subscription(peer: Peer) -> Any:
    """An update reaches the subscriber, in whichever way the era has."""
    for server, own, trigger, arguments in (
        ("fixture", WATCHED, "trigger_resource_update", {"uri": WATCHED}),
        ("fixture_stdio", WATCHED, "trigger_resource_update", {"uri": WATCHED}),
        ("everything", DYNAMIC, "toggle-subscriber-updates", {}),
    ):
        if not peer.reaches(server):
            continue
        uri = peer.uri(server, own)
        client = await peer.client(server)
        if await peer.modern(server):
            async with client.listen(resource_subscriptions=[uri]) as events:
                await call(peer, server, trigger, arguments)
                event = await asyncio.wait_for(anext(aiter(events)), 10)
                assert str(event.uri) == uri, event
        else:
            peer.notified.clear()
            await client.subscribe_resource(uri)
            await call(peer, server, trigger, arguments)
            await until(lambda uri=uri: uri in updated(peer), f"an update of {uri} from {server}")
            await client.unsubscribe_resource(uri)
        if server == "everything":
            await call(peer, server, trigger, arguments)
    return "updated"


def updated(peer: Peer) -> list[str]:
    """The URIs of the updates that came in."""
    return [str(n.params.uri) for n in peer.notified if isinstance(n, types.ResourceUpdatedNotification)]


@scenario
async def list_changed(peer: Peer) -> Any:
    """A list that changes at a server changes here, and we are told."""
    name = peer.name("fixture", "extra_tool")

    async def listed() -> bool:
        return name in {tool.name for tool in await every(peer, "fixture", "list_tools", "tools")}

    before = await listed()
    client = await peer.client("fixture")
    for _ in range(2):
        if await peer.modern("fixture"):
            async with client.listen(tools_list_changed=True) as events:
                await call(peer, "fixture", "test_trigger_tool_change")
                await asyncio.wait_for(anext(aiter(events)), 10)
        else:
            peer.notified.clear()
            await call(peer, "fixture", "test_trigger_tool_change")
            await until(
                lambda: any(isinstance(n, types.ToolListChangedNotification) for n in peer.notified), "list_changed"
            )
        assert await listed() != before
        before = not before
    return "changed"


@scenario
async def two_elicit(peer: Peer) -> Any:
    """Two clients are asked at the same time by one stdio server; each gets only its own question."""
    rivals = [type(peer)(peer.args, peer.world, label) for label in ("left", "right")]
    both = asyncio.Event()

    async def meet() -> None:
        # A gateway may serve the two one after the other; then nobody comes, and we go on.
        if all(rival.elicited for rival in rivals):
            both.set()
        try:
            await asyncio.wait_for(both.wait(), 1)
        except TimeoutError:
            pass

    async def one(rival: Peer) -> str:
        async with rival:
            rival.before_answer = meet
            said = []
            for turn in range(3):
                asked = {"message": f"for {rival.label} {turn}"}
                said.append(text(await call(rival, "fixture_stdio", "test_elicitation", asked)))
                both.clear()
            return "; ".join(said)

    answers = await asyncio.gather(*(one(rival) for rival in rivals))
    for rival, answer in zip(rivals, answers, strict=True):
        assert rival.elicited == [f"for {rival.label} {turn}" for turn in range(3)], (rival.label, rival.elicited)
        assert answer.count(f"{rival.label}-username") == 3, answer
    return answers
