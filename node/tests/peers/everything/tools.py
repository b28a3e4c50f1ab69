"""The tools that the conformance suite calls, and a few that only our own tests use."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import anyio
import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError

from .ask import InputRequired, ask, elicit, is_modern, need, roots, sample
from .content import DEFAULTS_FORM, ENUMS_FORM, JSON_SCHEMA_2020_12, WAV, form, image, resource, said, text
from .world import World

Context = ServerRequestContext[Any, Any]


@dataclass
class Call:
    """One call: what a tool may look at and act on."""

    ctx: Context
    params: types.CallToolRequestParams
    world: World
    arguments: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.arguments = self.params.arguments or {}

    async def ask(self, state: str | None = None, **questions: Any) -> dict[str, Any]:
        """Gets the questions answered, whatever the era."""
        return await ask(self.ctx, self.params, questions, state)


Run = Callable[[Call], Awaitable[Any]]


@dataclass(frozen=True)
class Tool:
    """One tool: what the list says of it, and what it does."""

    declared: dict[str, Any]
    run: Run


TOOLS: dict[str, Tool] = {}
EMPTY = {"type": "object", "properties": {}}


def tool(description: str, schema: dict[str, Any] = EMPTY, name: str = "", **more: Any) -> Callable[[Run], Run]:
    """Puts a function on the list under its own name."""

    def register(run: Run) -> Run:
        key = name or run.__name__
        TOOLS[key] = Tool({"name": key, "description": description, "inputSchema": schema, **more}, run)
        return run

    return register


def listed(world: World) -> list[dict[str, Any]]:
    """The list in the order of definition; the last tool comes and goes."""
    extra = {"name": "extra_tool", "description": "Is there only now and then", "inputSchema": EMPTY}
    return [tool.declared for tool in TOOLS.values()] + ([extra] if world.extra_tool else [])


async def call(ctx: Context, params: types.CallToolRequestParams, world: World) -> dict[str, Any]:
    """Runs a tool; what it returns is text, blocks, or a whole result."""
    if params.name == "extra_tool" and world.extra_tool:
        return {"content": [text("here now")]}
    if params.name not in TOOLS:
        raise MCPError(code=types.INVALID_PARAMS, message=f"Unknown tool: {params.name}")
    try:
        out = await TOOLS[params.name].run(Call(ctx, params, world))
    except InputRequired as pause:
        return pause.result
    if isinstance(out, dict):
        return out
    return {"content": out if isinstance(out, list) else [text(out)]}


@tool("Returns one text block")
async def test_simple_text(call: Call) -> Any:
    return "This is a simple text response for testing."


@tool("Returns one image")
async def test_image_content(call: Call) -> Any:
    return [image()]


@tool("Returns one sound")
async def test_audio_content(call: Call) -> Any:
    return [{"type": "audio", "data": WAV, "mimeType": "audio/wav"}]


@tool("Returns one embedded resource")
async def test_embedded_resource(call: Call) -> Any:
    return [resource("test://embedded-resource", "text/plain", "This is an embedded resource content.")]


@tool("Returns text, an image and a resource")
async def test_multiple_content_types(call: Call) -> Any:
    data = resource("test://mixed-content-resource", "application/json", '{"test":"data","value":123}')
    return [text("Multiple content types test:"), image(), data]


@tool("Logs three lines while it runs")
async def test_tool_with_logging(call: Call) -> Any:
    for line in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await call.world.log(call.ctx, "info", line)
        await anyio.sleep(0.05)
    return "Tool with logging executed successfully"


@tool("Logs one line at each level", name="test_logging_tool")
async def logs_at_each_level(call: Call) -> Any:
    for level in ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"):
        await call.world.log(call.ctx, level, {"said": level})
    return "Logged"


@tool("Reports progress three times")
async def test_tool_with_progress(call: Call) -> Any:
    for done in (0, 50, 100):
        await call.ctx.session.report_progress(done, 100, f"Completed step {done} of 100")
        await anyio.sleep(0.05)
    return "Tool with progress executed successfully"


@tool("Always fails")
async def test_error_handling(call: Call) -> Any:
    return {"content": [text("This tool intentionally returns an error for testing")], "isError": True}


@tool("Ends its own stream and goes on after the client came back")
async def test_reconnection(call: Call) -> Any:
    if call.ctx.close_sse_stream is not None:
        await call.ctx.close_sse_stream()
        await anyio.sleep(0.2)
    return "Reconnection test completed"


@tool("Asks the client's model", {**form(prompt={"type": "string"})})
async def test_sampling(call: Call) -> Any:
    answers = await call.ask(sampled=sample(call.arguments["prompt"]))
    return f"LLM response: {said(answers['sampled'])}"


def _filled(label: str, answer: Any) -> str:
    return f"{label}: action={answer.action}, content={json.dumps(answer.content or {})}"


@tool("Asks the user", {**form(message={"type": "string"})})
async def test_elicitation(call: Call) -> Any:
    fields = form(
        username={"type": "string", "description": "User's response"},
        email={"type": "string", "description": "User's email address"},
    )
    answers = await call.ask(user=elicit(call.arguments["message"], fields))
    return _filled("User response", answers["user"])


@tool("Asks the user with a default in every field")
async def test_elicitation_sep1034_defaults(call: Call) -> Any:
    answers = await call.ask(user=elicit("Please review and update the form fields", DEFAULTS_FORM))
    return _filled("Elicitation completed", answers["user"])


@tool("Asks the user with every kind of choice")
async def test_elicitation_sep1330_enums(call: Call) -> Any:
    answers = await call.ask(user=elicit("Please choose", ENUMS_FORM))
    return _filled("Elicitation completed", answers["user"])


@tool("Asks the user after it began to stream")
async def test_streaming_elicitation(call: Call) -> Any:
    await call.ctx.session.report_progress(1, 2, "about to ask")
    answers = await call.ask(user=elicit("Please confirm", form(ok={"type": "boolean"})))
    return _filled("Elicitation completed", answers["user"])


@tool("Needs a client that can sample")
async def test_missing_capability(call: Call) -> Any:
    need(call.ctx, "sampling")
    return "The client can sample"


@tool("Has an input schema with the wider vocabulary of 2020-12", JSON_SCHEMA_2020_12)
async def json_schema_2020_12_tool(call: Call) -> Any:
    return json.dumps(call.arguments)


NAME_FORM = form(name={"type": "string"})


@tool("Asks for a name")
async def test_input_required_result_elicitation(call: Call) -> Any:
    answers = await call.ask(user_name=elicit("What is your name?", NAME_FORM))
    return f"Hello, {(answers['user_name'].content or {}).get('name', 'stranger')}!"


@tool("Asks the client's model for a capital")
async def test_input_required_result_sampling(call: Call) -> Any:
    answers = await call.ask(capital_question=sample("What is the capital of France?"))
    return f"The model says: {said(answers['capital_question'])}"


@tool("Asks for the client's roots")
async def test_input_required_result_list_roots(call: Call) -> Any:
    answers = await call.ask(client_roots=roots())
    return "Roots: " + ", ".join(str(root.uri) for root in answers["client_roots"].roots)


def _confirmed(call: Call, state: str) -> None:
    if is_modern(call.ctx) and call.params.request_state != state:
        raise MCPError(code=types.INVALID_PARAMS, message="The call has lost its state")


@tool("Asks to confirm and keeps state between the two rounds")
async def test_input_required_result_request_state(call: Call) -> Any:
    await call.ask("asked-to-confirm", confirm=elicit("Please confirm", form(ok={"type": "boolean"})))
    _confirmed(call, "asked-to-confirm")
    return "state-ok"


@tool("Refuses state that was tampered with")
async def test_input_required_result_tampered_state(call: Call) -> Any:
    await call.ask("sealed", confirm=elicit("Please confirm", form(ok={"type": "boolean"})))
    _confirmed(call, "sealed")
    return "state-ok"


@tool("Asks three questions at once")
async def test_input_required_result_multiple_inputs(call: Call) -> Any:
    answers = await call.ask(
        "asked-three",
        user_name=elicit("What is your name?", NAME_FORM),
        greeting=sample("Generate a greeting", 50),
        client_roots=roots(),
    )
    _confirmed(call, "asked-three")
    name = (answers["user_name"].content or {}).get("name", "stranger")
    return f"{said(answers['greeting'])} {name}, {len(answers['client_roots'].roots)} roots"


@tool("Asks twice, one question a round")
async def test_input_required_result_multi_round(call: Call) -> Any:
    name = elicit("Step 1: What is your name?", NAME_FORM)
    color = elicit("Step 2: What is your favorite color?", form(color={"type": "string"}))
    if is_modern(call.ctx) and (call.params.request_state or "").startswith("named:"):
        first = call.params.request_state.removeprefix("named:")
    else:
        first = ((await call.ask("asked-name", step1=name))["step1"].content or {}).get("name", "stranger")
    second = (await call.ask(f"named:{first}", step2=color))["step2"]
    return f"{first} likes {(second.content or {}).get('color', 'nothing')}"


@tool("Asks only what the client said it can answer")
async def test_input_required_result_capabilities(call: Call) -> Any:
    can = call.ctx.session.client_capabilities
    questions: dict[str, Any] = {}
    if can is not None and can.sampling is not None:
        questions["sampled"] = sample("Say something")
    if can is not None and can.elicitation is not None:
        questions["user"] = elicit("Please confirm", form(ok={"type": "boolean"}))
    answers = await call.ask(**questions) if questions else {}
    return "Asked: " + ", ".join(answers)


@tool("Adds or removes a tool")
async def test_trigger_tool_change(call: Call) -> Any:
    await call.world.changed(call.ctx, "tool")
    return "The list of tools changed"


@tool("Adds or removes a prompt")
async def test_trigger_prompt_change(call: Call) -> Any:
    await call.world.changed(call.ctx, "prompt")
    return "The list of prompts changed"


# From here on: nothing the suite asks for.


@tool("Adds or removes a resource")
async def trigger_resource_change(call: Call) -> Any:
    await call.world.changed(call.ctx, "resource")
    return "The list of resources changed"


@tool("Says that a resource changed", form(uri={"type": "string"}))
async def trigger_resource_update(call: Call) -> Any:
    await call.world.updated(call.arguments["uri"])
    return "Updated"


@tool(
    "Returns its argument as it came",
    {"type": "object", "properties": {"value": {}}},
    outputSchema={"type": "object", "properties": {"value": {}}},
    annotations={"readOnlyHint": True, "idempotentHint": True, "openWorldHint": False},
    _meta={"com.example/kept": {"z": 1, "a": [1.0, 1e3, 12345678901234567890]}},
)
async def echo(call: Call) -> Any:
    value = {"value": call.arguments.get("value")}
    return {
        "content": [text(json.dumps(value, ensure_ascii=False))],
        "structuredContent": value,
        "_meta": {"com.example/echo": call.arguments.get("value")},
    }


@tool("Returns a link to a resource and the resource itself")
async def links(call: Call) -> Any:
    link = {"type": "resource_link", "uri": "test://static-text", "name": "static-text", "mimeType": "text/plain"}
    return [link, resource("test://static-text", "text/plain", "This is the content of the static text resource.")]


@tool(
    "Works in a region, which is mirrored in a header",
    {
        "type": "object",
        "properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "limit": {"type": "integer", "x-mcp-header": "Limit"},
        },
        "required": ["region"],
    },
)
async def regional(call: Call) -> Any:
    return f"region={call.arguments['region']} limit={call.arguments.get('limit')}"


@tool("Waits and says whether it was cancelled", form(seconds={"type": "number"}))
async def wait(call: Call) -> Any:
    try:
        await call.ctx.session.report_progress(0, 1, "waiting")
        await anyio.sleep(float(call.arguments["seconds"]))
    except anyio.get_cancelled_exc_class():
        call.world.n_cancelled += 1
        raise
    return "Waited"


@tool("Says how many calls of `wait` were cancelled")
async def cancelled(call: Call) -> Any:
    return str(call.world.n_cancelled)


@tool("Returns text of a given length", form(bytes={"type": "integer", "maximum": 16777216}))
async def large(call: Call) -> Any:
    length = min(int(call.arguments["bytes"]), 16 << 20)
    return ("0123456789abcdef" * (length // 16 + 1))[:length]
