"""The exchanges of the differential test: every method that a client may send, by server and revision."""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rawjson import dump
from rawlink import MODERN

# How many values of every shape are sent through the fixture's `echo`, per revision.
N_VALUES = 60


@dataclass(frozen=True)
class Names:
    """What one side puts before the names and URIs of a server."""

    prefix: str = ""
    uri_prefix: str = ""

    def name(self, name: str) -> str:
        """The text of a tool's or prompt's name."""
        return dump(self.prefix + name)

    def uri(self, uri: str) -> str:
        """The text of a resource's URI."""
        return dump(self.uri_prefix + uri)


@dataclass(frozen=True)
class Exchange:
    """One request (or notification) with its params as text."""

    method: str
    params: Callable[[Names], str]
    note: str = ""
    id: str = "7"
    # Which masks apply.
    hidden: str = ""
    # Messages that the server sends meanwhile, and that have to arrive unchanged too.
    watch: tuple[str, ...] = ("notifications/progress", "sampling/createMessage", "elicitation/create")
    # Only that it is refused is compared, where the gateway refuses in its own words.
    refused: bool = False
    # Whether it makes sense where several servers are behind one endpoint.
    merged: bool = True
    # What the URIs of this server's resources begin with.
    owns: str = ""
    trigger: str = ""
    trigger_arguments: str = "{}"
    # Requests that are sent as one array.
    batch: tuple["Exchange", ...] = ()


def plain(method: str, params: Any = None, **more: Any) -> Exchange:
    """An exchange without names."""
    text = params if isinstance(params, str) else dump(params or {})
    return Exchange(method, lambda names: text, **more)


def about(method: str, uri: str, **more: Any) -> Exchange:
    """An exchange about one resource."""
    more.setdefault("note", uri)
    return Exchange(method, lambda names: f'{{"uri":{names.uri(uri)}}}', **more)


def call(name: str, arguments: Any = None, extra: str = "", **more: Any) -> Exchange:
    """A call of a tool; `arguments` may be text, `extra` goes behind it."""
    body = arguments if isinstance(arguments, str) else dump(arguments or {})
    more.setdefault("note", name)
    more.setdefault("hidden", name)
    tail = f'"arguments":{body}{extra}'
    return Exchange("tools/call", lambda names: f'{{"name":{names.name(name)},{tail}}}', **more)


def prompt(name: str, arguments: Any = None, extra: str = "", **more: Any) -> Exchange:
    """A prompt to fill in."""
    body = f',"arguments":{dump(arguments)}' if arguments is not None else ""
    more.setdefault("hidden", name)
    tail = f"{body}{extra}"
    return Exchange("prompts/get", lambda names: f'{{"name":{names.name(name)}{tail}}}', note=name, **more)


def complete(name: str, argument: str, value: str, context: Any = None) -> Exchange:
    """Completion of a prompt's argument."""
    tail = f',"context":{{"arguments":{dump(context)}}}' if context else ""
    end = f'"argument":{{"name":"{argument}","value":"{value}"}}{tail}'

    def params(names: Names) -> str:
        return f'{{"ref":{{"type":"ref/prompt","name":{names.name(name)}}},{end}}}'

    return Exchange("completion/complete", params, note=name)


def complete_template(uri: str, argument: str, value: str) -> Exchange:
    """Completion of a template's variable."""
    end = f'"argument":{{"name":"{argument}","value":"{value}"}}'

    def params(names: Names) -> str:
        return f'{{"ref":{{"type":"ref/resource","uri":{names.uri(uri)}}},{end}}}'

    return Exchange("completion/complete", params, note=uri)


def batch(note: str, *members: Exchange) -> Exchange:
    """Several requests in one array, each with an id of its own."""
    numbered = (replace(member, id=f'"{note} {number}"') for number, member in enumerate(members))
    return Exchange("batch", lambda names: "", note=note, batch=tuple(numbered))


def exchanges(server: str, revision: str, folder: Path) -> Iterator[Exchange]:
    """What is sent to one server in one revision, in order."""
    own = {"everything_stdio": everything, "everything": everything, "fixture": fixture, "fixture_stdio": fixture,
           "files": files, "memory": memory, "git": git}[server]
    schemes = {"everything": "demo:", "everything_stdio": "demo:", "fixture": "test:", "fixture_stdio": "test:"}
    yield from common(revision, schemes.get(server, f"{server}:"))
    yield from own(revision, folder)


def common(revision: str, scheme: str) -> Iterator[Exchange]:
    """What every server answers, if only with an error."""
    for method in ("tools/list", "prompts/list", "resources/list", "resources/templates/list"):
        yield plain(method, owns=scheme)
    if revision != MODERN:
        yield plain("ping", id='"a string"')
        yield plain("notifications/roots/list_changed")
        yield plain("notifications/progress", {"progressToken": "nobody", "progress": 1.5})
        yield plain("notifications/cancelled", {"requestId": "nobody", "reason": "none"})


def everything(revision: str, _: Path) -> Iterator[Exchange]:
    """server-everything: the session era, most features."""
    for number in range(12):
        yield call("echo", {"message": f"{number} äöü 漢字 \U0001f6a2 \"quoted\" \\ /"}, id=str(100 + number))
    for a, b in ((1, 2), (1.5, 2.25), (-1, 1e3), (0.1, 0.2), (10**15, 1)):
        yield call("get-sum", {"a": a, "b": b})
    yield call("get-sum", {"a": "x"}, note="bad arguments")
    for city in ("Chicago", "New York", "Los Angeles"):
        yield call("get-structured-content", {"location": city})
    for kind in ("error", "success", "debug"):
        for with_image in (False, True):
            yield call("get-annotated-message", {"messageType": kind, "includeImage": with_image})
    yield call("get-tiny-image")
    for count in (1, 3, 10):
        yield call("get-resource-links", {"count": count})
    for kind in ("Text", "Blob"):
        yield call("get-resource-reference", {"resourceType": kind, "resourceId": 2})
    yield call("gzip-file-as-resource", {"name": "a.gz", "data": "data:text/plain,hello", "outputType": "resource"})
    yield call("trigger-long-running-operation", {"duration": 0.06, "steps": 3}, ',"_meta":{"progressToken":"tok-1"}')
    yield call("trigger-long-running-operation", {"duration": 0.02, "steps": 2}, ',"_meta":{"progressToken":12}')
    yield call("trigger-sampling-request", {"prompt": "caf\u00e9", "maxTokens": 12})
    yield call("trigger-elicitation-request")
    yield call("toggle-subscriber-updates", note="on")
    yield call("toggle-subscriber-updates", note="off")
    yield from everything_lists()
    if revision == "2025-11-25":
        yield from everything_tasks()
    if revision == "2025-03-26":
        echoes = [call("echo", {"message": f"{number} \u00fc"}) for number in range(5)]
        yield batch("mixed", plain("ping"), prompt("simple-prompt"), *echoes, call("get-sum", {"a": 1.5, "b": 2}))
        yield batch("single", call("get-tiny-image"))
        yield batch("refused too", call("get-sum", {"a": "x"}), plain("ping"))
        yield batch("asking", *(call("trigger-sampling-request", {"prompt": f"p{number}"}) for number in range(3)))


def everything_lists() -> Iterator[Exchange]:
    """Prompts, resources, completion and log levels."""
    yield prompt("simple-prompt")
    yield prompt("args-prompt", {"city": "Delft"})
    yield prompt("args-prompt", {"city": "Delft", "state": "Zuid-Holland ü"})
    yield prompt("completable-prompt", {"department": "Sales", "name": "Eve"})
    yield prompt("resource-prompt", {"resourceType": "Text", "resourceId": "1"})
    for value in ("", "E", "S", "x"):
        yield complete("completable-prompt", "department", value)
    for department in ("Engineering", "Support"):
        yield complete("completable-prompt", "name", "", {"department": department})
    yield complete_template("demo://resource/dynamic/text/{resourceId}", "resourceId", "1")
    for name in ("architecture", "features", "startup", "structure"):
        yield about("resources/read", f"demo://resource/static/document/{name}.md")
    for kind in ("text", "blob"):
        uri = f"demo://resource/dynamic/{kind}/7"
        yield about("resources/read", uri, hidden="resources/read dynamic")
        yield about("resources/subscribe", uri)
        yield about("resources/unsubscribe", uri)
    yield about("resources/read", "demo://resource/nowhere", refused=True)
    for level in ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"):
        yield plain("logging/setLevel", {"level": level}, note=level)


def everything_tasks() -> Iterator[Exchange]:
    """Tasks of the 2025-11-25 core."""
    yield call(
        "simulate-research-query", {"topic": "locks", "ambiguous": False}, ',"task":{"ttl":60000}', hidden="tasks"
    )
    yield plain("tasks/list", hidden="tasks", merged=False)
    yield plain("tasks/get", {"taskId": "no-such-task"}, refused=True)
    yield plain("tasks/result", {"taskId": "no-such-task"}, refused=True)
    yield plain("tasks/cancel", {"taskId": "no-such-task"}, refused=True)


def files(_: str, folder: Path) -> Iterator[Exchange]:
    """server-filesystem on the folder of the test."""
    root = folder / "files"
    hello, work = str(root / "hello.txt"), str(root / "work.txt")
    for tool in ("read_file", "read_text_file", "get_file_info"):
        yield call(tool, {"path": hello})
    for lines in ({"head": 1}, {"tail": 1}):
        yield call("read_text_file", {"path": hello, **lines})
    yield call("read_media_file", {"path": hello})
    yield call("read_multiple_files", {"paths": [hello, str(root / "sub" / "data.json"), str(root / "none")]})
    for number in range(10):
        body = f"line {number}\n\tü 漢字 \u2028 \u0000x\r\n" * (number + 1)
        yield call("write_file", {"path": work, "content": body})
        yield call("read_text_file", {"path": work}, note=f"back {number}")
    yield call("write_file", {"path": work, "content": "one\ntwo\n"})
    edits = [{"oldText": "two", "newText": "zwei"}]
    for dry in (True, False):
        yield call("edit_file", {"path": work, "edits": edits, "dryRun": dry})
    yield call("create_directory", {"path": str(root / "made")})
    yield call("move_file", {"source": work, "destination": str(root / "made" / "moved.txt")})
    yield call("move_file", {"source": str(root / "made" / "moved.txt"), "destination": work}, note="back")
    for tool in ("list_directory", "list_directory_with_sizes", "directory_tree"):
        yield call(tool, {"path": str(root / "sub")})
    for pattern in ("*.txt", "**/*.json", "nothing"):
        yield call("search_files", {"path": str(root / "sub"), "pattern": pattern})
    for path in ("/etc/passwd", str(root / ".." / "repo"), str(root / "missing"), ""):
        yield call("read_text_file", {"path": path}, note=f"refused {path}")


def memory(_: str, __: Path) -> Iterator[Exchange]:
    """server-memory, from an empty graph to an empty graph."""
    names = [f"thing {number} ü" for number in range(4)]
    yield call("delete_entities", {"entityNames": names})
    for name in names:
        entity = {"name": name, "entityType": "kind \"q\"", "observations": ["a", "b \U0001f6a2"]}
        yield call("create_entities", {"entities": [entity]}, note=name)
        yield call("open_nodes", {"names": [name]}, note=name)
    relations = [{"from": names[0], "to": name, "relationType": "knows"} for name in names[1:]]
    yield call("create_relations", {"relations": relations})
    yield call("add_observations", {"observations": [{"entityName": names[1], "contents": ["c", "d"]}]})
    yield call("add_observations", {"observations": [{"entityName": "nobody", "contents": ["c"]}]}, note="unknown")
    yield call("read_graph")
    for query in ("thing", "\U0001f6a2", "none"):
        yield call("search_nodes", {"query": query}, note=query)
    yield call("delete_observations", {"deletions": [{"entityName": names[1], "observations": ["c"]}]})
    yield call("delete_relations", {"relations": relations[:1]})
    yield call("read_graph", note="later")
    yield call("delete_entities", {"entityNames": names}, note="at the end")
    yield call("read_graph", note="empty")


def git(_: str, folder: Path) -> Iterator[Exchange]:
    """mcp-server-git on the repository of the test; nothing is committed."""
    repo = str(folder / "repo")
    for tool in ("git_status", "git_diff_unstaged", "git_diff_staged"):
        yield call(tool, {"repo_path": repo})
    for lines in (0, 1, 3):
        yield call("git_diff_unstaged", {"repo_path": repo, "context_lines": lines}, note=f"{lines} lines")
    for count in (1, 2, 10):
        yield call("git_log", {"repo_path": repo, "max_count": count}, note=str(count))
    for revision in ("HEAD", "HEAD~1", "no-such"):
        yield call("git_show", {"repo_path": repo, "revision": revision}, note=revision)
    yield call("git_diff", {"repo_path": repo, "target": "HEAD~1"})
    yield call("git_branch", {"repo_path": repo, "branch_type": "local"})
    yield call("git_add", {"repo_path": repo, "files": ["notes.txt"]})
    yield call("git_diff_staged", {"repo_path": repo}, note="added")
    yield call("git_reset", {"repo_path": repo})
    yield call("git_status", {"repo_path": str(folder / "files")}, note="no repository")
    yield call("git_status", {}, note="no arguments")


def fixture(revision: str, _: Path) -> Iterator[Exchange]:
    """The fixture: every content type, every way back, and values of every shape."""
    for tool in ("test_simple_text", "test_image_content", "test_audio_content", "test_embedded_resource",
                 "test_multiple_content_types", "test_error_handling", "links"):
        yield call(tool)
    yield call("no_such_tool", refused=True)
    yield call("test_tool_with_progress", {}, ',"_meta":{"progressToken":"tok \\u00fc","com.example/x":1.0}')
    yield call("test_tool_with_progress", {}, ',"_meta":{"progressToken":41}', note="number as token")
    yield call("large", {"bytes": 200_000})
    yield call("regional", {"region": " wëst ", "limit": 3})
    yield call("regional", {"region": "=?base64?x?="}, note="looks encoded")
    yield from values(revision)
    yield from fixture_lists()
    if revision == MODERN:
        yield from fixture_modern()
    else:
        yield from fixture_sessions(revision)


def values(revision: str) -> Iterator[Exchange]:
    """Arguments spelled in ways that an encoder would change."""
    spelled = [
        '{"value":1.0}', '{"value":1e2}', '{"value":-0.0}', '{"value":12345678901234567890123}', '{"value":0.1000}',
        '{"value":null}', '{ "value" : [ 1 , 2 ] }', '{"value":"\\u00e9\\/\\ud83d\\udea2"}', '{"value":{"b":1,"a":2}}',
        '{"value":{"":"","_meta":{"progressToken":1},"name":"fixture_echo"}}', '{"value":"\\u2028\\u0000"}',
        '{"value":{"id":1,"jsonrpc":"2.0","method":"x","result":{},"uri":"test://static-text"}}', "{}",
    ]
    for number, body in enumerate(spelled):
        yield call("echo", body, note=f"spelled {number}", id='"id \\u00fc"')
    made = random.Random(f"values {revision}")
    for number in range(N_VALUES):
        body = json.dumps({"value": value(made, 4)}, ensure_ascii=made.random() < 0.5)
        identity = made.choice([str(number), str(2**53 + number), f'"{number}"'])
        yield call("echo", body, note=f"made {number}", id=identity)


def value(made: random.Random, depth: int) -> Any:
    """A value of any shape."""
    kind = made.randrange(9 if depth else 6)
    if kind < 2:
        return "".join(made.choice('aZ09 "\\/\n\u00e9\u6f22\U0001f6a2') for _ in range(made.randrange(12)))
    if kind < 6:
        return made.choice([None, True, False, made.randrange(-(10**18), 10**18), made.uniform(-1e6, 1e6), 10**30])
    if kind == 6:
        return [value(made, depth - 1) for _ in range(made.randrange(5))]
    return {f"k{made.randrange(99)}": value(made, depth - 1) for _ in range(made.randrange(6))}


def fixture_lists() -> Iterator[Exchange]:
    """Prompts, resources and completion."""
    yield prompt("test_simple_prompt")
    yield prompt("test_prompt_with_arguments", {"arg1": "h\u00e9", "arg2": "\"q\""})
    yield prompt("test_prompt_with_arguments", {"arg1": "one"})
    yield prompt("test_prompt_with_embedded_resource", {"resourceUri": "test://example-resource"})
    yield prompt("test_prompt_with_image")
    yield prompt("no_such_prompt", refused=True)
    for uri in ("test://static-text", "test://static-binary", "test://watched-resource", "test://template/x%20y/data"):
        yield about("resources/read", uri)
    yield about("resources/read", "test://nowhere", refused=True)
    for text in ("p", "t", "zz"):
        yield complete("test_prompt_with_arguments", "arg1", text)
    for text in ("1", "12"):
        yield complete_template("test://template/{id}/data", "id", text)


def fixture_sessions(revision: str) -> Iterator[Exchange]:
    """What only the session era has."""
    yield call("test_sampling", {"prompt": "caf\u00e9"})
    if revision >= "2025-06-18":
        yield call("test_elicitation", {"message": "who? \u00fc"})
        yield call("test_elicitation_sep1034_defaults")
    yield call("test_input_required_result_list_roots", watch=("roots/list",))
    if revision == "2025-03-26":
        spelled = [call("echo", body) for body in ('{"value":1.0}', '{ "value" : [ 1e2 ] }', '{"value":"\\u00e9\\/"}')]
        yield batch("spelled", *spelled, about("resources/read", "test://static-text"))
        yield batch("asking", *(call("test_sampling", {"prompt": f"p{number}"}) for number in range(3)))
    yield about("resources/subscribe", "test://watched-resource")
    yield about("resources/unsubscribe", "test://watched-resource")
    for level in ("debug", "warning", "emergency"):
        yield plain("logging/setLevel", {"level": level}, note=level)
    yield call("test_logging_tool", watch=("notifications/message",))


def fixture_modern() -> Iterator[Exchange]:
    """What only the stateless era has: rounds, log levels per request, and listening."""
    asked = ("elicitation", "sampling", "list_roots", "multiple_inputs", "request_state", "multi_round", "capabilities")
    for kind in asked:
        yield call(f"test_input_required_result_{kind}", hidden="rounds", note=kind)
    name = '"user_name":{"action":"accept","content":{"name":"N\\u00fc"}}'
    for said in (f'{name},"other":{{"action":"decline"}}', '"x":{"action":"cancel"}'):
        yield call("test_input_required_result_elicitation", {}, f',"inputResponses":{{{said}}}', note=said)
    yield call("test_sampling", {"prompt": "p"}, hidden="rounds")
    yield prompt("test_input_required_result_prompt")
    context = ',"inputResponses":{"user_context":{"action":"accept","content":{"context":"c"}}}'
    yield prompt("test_input_required_result_prompt", {}, context)
    yield call("test_input_required_result_tampered_state", {}, ',"requestState":"forged"', refused=True)
    opted = ',"_meta":{"io.modelcontextprotocol/logLevel":"warning","com.example/kept":[1.0]}'
    yield call("test_logging_tool", {}, opted, watch=("notifications/message",))
    watched = "test://watched-resource"
    yield Exchange(
        "subscriptions/listen",
        lambda names: f'{{"notifications":{{"resourceSubscriptions":[{names.uri(watched)}]}}}}',
        trigger="trigger_resource_update",
        trigger_arguments=dump({"uri": watched}),
    )
