"""Resources, resource templates, prompts and completion."""

import json
import re
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError

from .ask import InputRequired, ask, elicit
from .content import PNG, form, image, resource, text
from .world import World

Context = ServerRequestContext[Any, Any]

TEMPLATE = re.compile(r"^test://template/([^/]+)/data$")

RESOURCES: list[dict[str, Any]] = [
    {
        "uri": "test://static-text",
        "name": "static-text",
        "title": "Static text",
        "description": "A text that stays as it is",
        "mimeType": "text/plain",
        "annotations": {"audience": ["user", "assistant"], "priority": 0.5},
    },
    {
        "uri": "test://static-binary",
        "name": "static-binary",
        "description": "An image that stays as it is",
        "mimeType": "image/png",
        "size": 70,
    },
    {
        "uri": "test://watched-resource",
        "name": "watched-resource",
        "description": "A text to subscribe to",
        "mimeType": "text/plain",
    },
]

TEMPLATES: list[dict[str, Any]] = [
    {
        "uriTemplate": "test://template/{id}/data",
        "name": "template-data",
        "description": "Data of one id",
        "mimeType": "application/json",
    }
]

PROMPTS: list[dict[str, Any]] = [
    {"name": "test_simple_prompt", "description": "A prompt without arguments"},
    {
        "name": "test_prompt_with_arguments",
        "title": "With arguments",
        "description": "A prompt with two arguments",
        "arguments": [
            {"name": "arg1", "description": "First test argument", "required": True},
            {"name": "arg2", "description": "Second test argument", "required": True},
        ],
    },
    {
        "name": "test_prompt_with_embedded_resource",
        "description": "A prompt that carries a resource",
        "arguments": [{"name": "resourceUri", "description": "URI of the resource", "required": True}],
    },
    {"name": "test_prompt_with_image", "description": "A prompt that carries an image"},
    {"name": "test_input_required_result_prompt", "description": "A prompt that asks the user first"},
]

COMPLETIONS = ("paris", "park", "party", "test", "testing", "1", "12", "123")


def resources(world: World) -> list[dict[str, Any]]:
    """The list of resources; the last comes and goes."""
    extra = {"uri": "test://extra", "name": "extra", "description": "Is there only now and then"}
    return RESOURCES + ([extra] if world.extra_resource else [])


def prompts(world: World) -> list[dict[str, Any]]:
    """The list of prompts; the last comes and goes."""
    return PROMPTS + ([{"name": "extra_prompt", "description": "Now and then"}] if world.extra_prompt else [])


def read(uri: str) -> dict[str, Any]:
    """One resource, or the error that the newest revision names."""
    if uri == "test://static-binary":
        return {"contents": [{"uri": uri, "mimeType": "image/png", "blob": PNG}]}
    bodies = {
        "test://static-text": "This is the content of the static text resource.",
        "test://watched-resource": "Watched resource content",
        "test://extra": "Here now",
        "test://example-resource": "An example",
    }
    if uri in bodies:
        return {"contents": [{"uri": uri, "mimeType": "text/plain", "text": bodies[uri]}]}
    if match := TEMPLATE.match(uri):
        data = {"id": match[1], "templateTest": True, "data": f"Data for ID: {match[1]}"}
        body = json.dumps(data, separators=(",", ":"))
        return {"contents": [{"uri": uri, "mimeType": "application/json", "text": body}]}
    raise MCPError(code=types.INVALID_PARAMS, message="Resource not found", data={"uri": uri})


async def prompt(ctx: Context, params: types.GetPromptRequestParams, world: World) -> dict[str, Any]:
    """One prompt, filled in."""
    arguments = params.arguments or {}
    try:
        blocks = await _blocks(ctx, params, arguments, world)
    except InputRequired as pause:
        return pause.result
    except KeyError as missing:
        raise MCPError(code=types.INVALID_PARAMS, message=f"Missing argument: {missing.args[0]}") from None
    return {"messages": [{"role": "user", "content": block} for block in blocks]}


async def _blocks(
    ctx: Context, params: types.GetPromptRequestParams, arguments: dict[str, str], world: World
) -> list[dict[str, Any]]:
    match params.name:
        case "test_simple_prompt":
            return [text("This is a simple prompt for testing.")]
        case "test_prompt_with_arguments":
            return [text(f"Prompt with arguments: arg1='{arguments['arg1']}', arg2='{arguments['arg2']}'")]
        case "test_prompt_with_embedded_resource":
            body = resource(arguments["resourceUri"], "text/plain", "Embedded resource content for testing.")
            return [body, text("Please process the embedded resource above.")]
        case "test_prompt_with_image":
            return [image(), text("Please analyze the image above.")]
        case "test_input_required_result_prompt":
            question = elicit("What context should the prompt use?", form(context={"type": "string"}))
            answers = await ask(ctx, params, {"user_context": question})
            return [text(f"Use this context: {(answers['user_context'].content or {}).get('context')}")]
        case "extra_prompt" if world.extra_prompt:
            return [text("here now")]
        case _:
            raise MCPError(code=types.INVALID_PARAMS, message=f"Unknown prompt: {params.name}")


def complete(params: types.CompleteRequestParams) -> dict[str, Any]:
    """What begins with the given value."""
    values = [word for word in COMPLETIONS if word.startswith(params.argument.value)]
    return {"completion": {"values": values, "total": len(values), "hasMore": False}}
