"""Asking the client: pushed as a request in the session era, answered by a retry in the stateless one.

A tool says only what it wants to know. In the session era the question is a
JSON-RPC request on the call's own stream. In the stateless era the call ends in
`input_required` and the client repeats it with the answers, which `ask` then
hands out as if they had just come in.
"""

from typing import Any

import anyio
import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

Question = types.CreateMessageRequest | types.ListRootsRequest | types.ElicitRequest


class InputRequired(Exception):
    """Ends a call of the stateless era with the questions that are still open."""

    def __init__(self, questions: dict[str, Question], state: str | None) -> None:
        super().__init__("the client has to answer first")
        self.result = {
            "resultType": "input_required",
            "inputRequests": {key: _wire(question) for key, question in questions.items()},
        }
        if state is not None:
            self.result["requestState"] = state


def is_modern(ctx: ServerRequestContext[Any, Any]) -> bool:
    """Whether this request belongs to the stateless era."""
    return ctx.protocol_version in MODERN_PROTOCOL_VERSIONS


def elicit(message: str, schema: dict[str, Any]) -> types.ElicitRequest:
    """A form for the user."""
    return types.ElicitRequest(params=types.ElicitRequestFormParams(message=message, requested_schema=schema))


def sample(prompt: str, max_tokens: int = 100) -> types.CreateMessageRequest:
    """A question for the client's model."""
    message = types.SamplingMessage(role="user", content=types.TextContent(type="text", text=prompt))
    return types.CreateMessageRequest(
        params=types.CreateMessageRequestParams(messages=[message], max_tokens=max_tokens)
    )


def roots() -> types.ListRootsRequest:
    """A question for the client's roots."""
    return types.ListRootsRequest()


def need(ctx: ServerRequestContext[Any, Any], capability: str) -> None:
    """Refuses a call that cannot be served without a capability the client did not declare."""
    declared = ctx.session.client_capabilities
    if declared is None or getattr(declared, capability, None) is None:
        raise MCPError(
            code=types.MISSING_REQUIRED_CLIENT_CAPABILITY,
            message=f"Client does not support {capability}",
            data={"requiredCapabilities": {capability: {}}},
        )


async def ask(
    ctx: ServerRequestContext[Any, Any],
    params: types.CallToolRequestParams | types.GetPromptRequestParams,
    questions: dict[str, Question],
    state: str | None = None,
) -> dict[str, Any]:
    """Gets every question answered; answers to other keys are ignored."""
    for question in questions.values():
        need(ctx, _capability(question))
    if not is_modern(ctx):
        return await _push_all(ctx, questions)
    given = params.input_responses or {}
    answers = {key: given[key] for key, question in questions.items() if _fits(question, given.get(key))}
    if len(answers) < len(questions):
        raise InputRequired({k: q for k, q in questions.items() if k not in answers}, state)
    return answers


async def _push_all(ctx: ServerRequestContext[Any, Any], questions: dict[str, Question]) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    refusals: list[MCPError] = []

    async def push(key: str, question: Question) -> None:
        try:
            answers[key] = await _push(ctx, question)
        except MCPError as refused:
            refusals.append(refused)

    # All at once: what one waits for, another one need not.
    async with anyio.create_task_group() as asking:
        for key, question in questions.items():
            asking.start_soon(push, key, question)
    if refusals:
        raise refusals[0]
    return answers


async def _push(ctx: ServerRequestContext[Any, Any], question: Question) -> Any:
    return await ctx.session.send_request(
        question, _answer_type(question), metadata=ServerMessageMetadata(related_request_id=ctx.request_id)
    )


def _wire(question: Question) -> dict[str, Any]:
    wire = question.model_dump(by_alias=True, mode="json", exclude_none=True)
    wire.setdefault("params", {})
    return wire


def _capability(question: Question) -> str:
    return {"sampling/createMessage": "sampling", "roots/list": "roots", "elicitation/create": "elicitation"}[
        question.method
    ]


def _answer_type(question: Question) -> Any:
    return {
        "sampling/createMessage": types.CreateMessageResult,
        "roots/list": types.ListRootsResult,
        "elicitation/create": types.ElicitResult,
    }[question.method]


def _fits(question: Question, answer: Any) -> bool:
    if question.method == "sampling/createMessage":
        return isinstance(answer, types.CreateMessageResult | types.CreateMessageResultWithTools)
    return isinstance(answer, _answer_type(question))
