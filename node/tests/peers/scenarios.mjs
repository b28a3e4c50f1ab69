/**
 * What the TypeScript client does with the servers. Each scenario asserts what has to be true
 * and returns what it saw, which has to be the same directly and through the gateway.
 */
import assert from "node:assert/strict";
import path from "node:path";

const ALL = ["everything", "files", "memory", "git", "fixture"];
const SERVERS = [...ALL, "everything_stdio", "fixture_stdio"];
const WATCHED = "test://watched-resource";

const text = (result) => result.content.map((block) => block.text ?? "").join("\n");

/** The server of a prefixed name; a name can begin like that of two servers. */
const owner = (name) =>
  SERVERS.filter((server) => name.startsWith(`${server}_`)).sort((a, b) => b.length - a.length)[0];

/** Waits until something became true. */
async function until(condition, what, ms = 10_000) {
  for (const deadline = Date.now() + ms; !condition(); ) {
    assert(Date.now() < deadline, `did not happen within ${ms} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

async function call(peer, server, tool, args = {}, options = undefined) {
  const client = await peer.client(server);
  const result = await client.callTool({ name: peer.name(server, tool), arguments: args }, undefined, options);
  delete result._meta;
  return result;
}

/** All pages of a list. */
async function every(peer, server, method, key) {
  const client = await peer.client(server);
  const items = [];
  for (let cursor; ; ) {
    const page = await client[method](cursor === undefined ? {} : { cursor });
    items.push(...page[key]);
    cursor = page.nextCursor;
    if (cursor === undefined) return items;
  }
}

/** What each server lists, by its own names. */
async function listed(peer, servers, method, key) {
  const seen = {};
  for (const server of servers) {
    for (const item of await every(peer, server, method, key)) {
      if (peer.through && owner(item.name) !== server) continue;
      const own = item.name.slice(peer.name(server, "").length);
      seen[`${server}/${own}`] = { ...item, name: own };
    }
  }
  return Object.fromEntries(Object.entries(seen).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** How a call is refused: by an error or in the result. */
const refusal = (action) => action.catch((error) => ({ code: error.code }));

export const SCENARIOS = {
  async tools_list(peer) {
    const seen = await listed(peer, ALL, "listTools", "tools");
    for (const wanted of ["everything/echo", "files/read_text_file", "memory/read_graph", "git/git_status", "fixture/echo"])
      assert(wanted in seen, `${wanted} is not listed`);
    return seen;
  },

  async tools_call(peer) {
    const files = path.join(peer.world.dir, "files");
    const repo = path.join(peer.world.dir, "repo");
    const value = { value: { z: null, a: [1.5, "漢字", {}] } };
    const entity = { name: "Lock", entityType: "thing", observations: ["lets ships pass"] };
    const seen = {
      echo: await call(peer, "everything", "echo", { message: "hello" }),
      sum: await call(peer, "everything", "get-sum", { a: 2, b: 3 }),
      weather: await call(peer, "everything", "get-structured-content", { location: "Chicago" }),
      links: await call(peer, "everything", "get-resource-links", { count: 2 }),
      read: await call(peer, "files", "read_text_file", { path: path.join(files, "hello.txt") }),
      found: await call(peer, "files", "search_files", { path: files, pattern: "**/*.json" }),
      gone: await call(peer, "memory", "delete_entities", { entityNames: ["Lock"] }),
      create: await call(peer, "memory", "create_entities", { entities: [entity] }),
      graph: await call(peer, "memory", "search_nodes", { query: "ships" }),
      forget: await call(peer, "memory", "delete_entities", { entityNames: ["Lock"] }),
      status: await call(peer, "git", "git_status", { repo_path: repo }),
      value: await call(peer, "fixture", "echo", value),
      error: await call(peer, "fixture", "test_error_handling"),
      mixed: await call(peer, "fixture", "test_multiple_content_types"),
    };
    assert(text(seen.echo).includes("hello") && text(seen.sum).includes("5"));
    assert(text(seen.read).includes("äöü 漢字") && text(seen.found).includes("data.json"));
    assert(text(seen.graph).includes("lets ships pass") && text(seen.status).includes("notes.txt"));
    assert.deepEqual(seen.value.structuredContent, value);
    assert(seen.error.isError);
    return seen;
  },

  async errors(peer) {
    const client = await peer.client("fixture");
    const seen = {
      tool: await refusal(call(peer, "fixture", "no_such_tool")),
      prompt: await refusal(client.getPrompt({ name: peer.name("fixture", "no_such_prompt") })),
    };
    for (const answer of Object.values(seen)) assert.equal(typeof answer.code, "number");
    // The older revisions have a code of their own for this, which a gateway may use where no server is asked.
    const missing = await refusal(client.readResource({ uri: "test://no-such-resource" }));
    assert([-32602, -32002].includes(missing.code), String(missing.code));
    await call(peer, "fixture", "test_simple_text");
    return seen;
  },

  async resources(peer) {
    const lists = {};
    for (const server of ["everything", "fixture"]) {
      for (const item of await every(peer, server, "listResources", "resources")) lists[item.uri] = item;
      for (const item of await every(peer, server, "listResourceTemplates", "resourceTemplates"))
        lists[item.uriTemplate] = item;
    }
    const shapes = ["test://template/{id}/data", "demo://resource/dynamic/text/{resourceId}", WATCHED];
    for (const wanted of shapes) assert(wanted in lists, `${wanted} is not listed`);
    const contents = {};
    for (const [server, uri] of [
      ["fixture", "test://static-binary"],
      ["fixture", "test://template/77/data"],
      ["everything", "demo://resource/static/document/architecture.md"],
    ])
      contents[uri] = (await (await peer.client(server)).readResource({ uri })).contents;
    // Through the gateway everybody's resources are listed together; the others' are not compared.
    const kept = Object.keys(lists).filter((uri) => /^(demo|test):/.test(uri));
    return { lists: kept.sort(), contents };
  },

  async prompts(peer) {
    const servers = ["everything", "fixture"];
    const got = {};
    for (const [server, name, args] of [
      ["everything", "simple-prompt", undefined],
      ["everything", "args-prompt", { city: "Delft", state: "ZH" }],
      ["fixture", "test_prompt_with_arguments", { arg1: "hello", arg2: "wörld" }],
      ["fixture", "test_prompt_with_embedded_resource", { resourceUri: "test://example-resource" }],
    ]) {
      const client = await peer.client(server);
      got[name] = (await client.getPrompt({ name: peer.name(server, name), arguments: args })).messages;
    }
    assert(JSON.stringify(got).includes("Delft"));
    return { lists: await listed(peer, servers, "listPrompts", "prompts"), got };
  },

  async completion(peer) {
    const complete = async (server, ref, argument, context) =>
      (await (await peer.client(server)).complete({ ref, argument, ...(context && { context }) })).completion;
    const team = { type: "ref/prompt", name: peer.name("everything", "completable-prompt") };
    const template = { type: "ref/resource", uri: "test://template/{id}/data" };
    const support = { arguments: { department: "Support" } };
    const seen = {
      department: await complete("everything", team, { name: "department", value: "S" }),
      name: await complete("everything", team, { name: "name", value: "J" }, support),
      template: await complete("fixture", template, { name: "id", value: "12" }),
    };
    assert.deepEqual(seen.name.values, ["John"]);
    assert.deepEqual(seen.template.values, ["12", "123"]);
    return seen;
  },

  async sampling(peer) {
    const seen = {};
    for (const server of ["everything", "everything_stdio"])
      seen[server] = text(await call(peer, server, "trigger-sampling-request", { prompt: server }));
    for (const server of ["fixture", "fixture_stdio"])
      seen[server] = text(await call(peer, server, "test_sampling", { prompt: server }));
    for (const said of Object.values(seen)) assert(said.includes("one heard"), said);
    assert.equal(peer.sampled.length, 4);
    return seen;
  },

  async elicitation(peer) {
    const seen = {};
    for (const server of ["everything", "everything_stdio"])
      seen[server] = await call(peer, server, "trigger-elicitation-request");
    for (const server of ["fixture", "fixture_stdio"]) {
      seen[server] = await call(peer, server, "test_elicitation", { message: `from ${server}` });
      seen[`${server} enums`] = await call(peer, server, "test_elicitation_sep1330_enums");
    }
    assert(text(seen.fixture).includes("one-username") && peer.elicited.includes("from fixture_stdio"));
    return { seen, asked: peer.elicited };
  },

  async url_elicitation(peer) {
    const where = { url: "http://127.0.0.1:9/login", message: "Please log in", elicitationId: "login-1" };
    const seen = { asked: await call(peer, "everything", "trigger-url-elicitation", where) };
    assert.deepEqual(peer.elicited, ["Please log in"]);
    const first = { ...where, elicitationId: `first-${Date.now()}`, errorPath: true };
    const error = await call(peer, "everything", "trigger-url-elicitation", first).catch((error) => error);
    assert.equal(error.code, -32042);
    return { ...seen, code: error.code, modes: error.data.elicitations.map(({ mode }) => mode) };
  },

  async roots(peer) {
    const seen = {
      everything: text(await call(peer, "everything", "get-roots-list")),
      fixture: text(await call(peer, "fixture", "test_input_required_result_list_roots")),
      files: text(await call(peer, "files", "list_allowed_directories")),
    };
    const folder = path.join(peer.world.dir, "files");
    for (const said of Object.values(seen)) assert(said.includes(folder), said);
    return seen;
  },

  async progress(peer) {
    const seen = {};
    const one = async (server, tool, args) => {
      seen[server] = [];
      await call(peer, server, tool, args, { onprogress: (note) => seen[server].push(note.progress) });
    };
    const long = { duration: 0.3, steps: 3 };
    await Promise.all([
      one("everything", "trigger-long-running-operation", long),
      one("everything_stdio", "trigger-long-running-operation", long),
      one("fixture", "test_tool_with_progress", {}),
      one("fixture_stdio", "test_tool_with_progress", {}),
    ]);
    // This SDK loses a note that it reads together with the result, so the last one may be missing.
    for (const [server, notes] of Object.entries(seen)) {
      const all = server.startsWith("everything") ? [1, 2, 3] : [0, 50, 100];
      assert(notes.length >= 2, `${server}: ${notes}`);
      assert.deepEqual(notes, all.slice(0, notes.length));
      seen[server] = notes.slice(0, 2);
    }
    return seen;
  },

  async cancellation(peer) {
    for (const server of ["fixture", "fixture_stdio"]) {
      const count = async () => Number(text(await call(peer, server, "cancelled")));
      const before = await count();
      const giveUp = new AbortController();
      const onprogress = () => giveUp.abort("enough");
      const options = { signal: giveUp.signal, onprogress };
      await assert.rejects(call(peer, server, "wait", { seconds: 30 }, options));
      let after = before;
      for (let turn = 0; turn < 200 && after === before; turn += 1) after = await count();
      assert.equal(after, before + 1, `${server} was not told that the call is cancelled`);
    }
    return "cancelled";
  },

  async logging(peer) {
    const seen = {};
    for (const server of ["fixture", "fixture_stdio"]) {
      peer.logged.length = 0;
      await (await peer.client(server)).setLoggingLevel("warning");
      await call(peer, server, "test_logging_tool");
      seen[server] = peer.logged.filter(({ data }) => data?.said !== undefined).map(({ level }) => level);
      assert.deepEqual(seen[server], ["warning", "error", "critical", "alert", "emergency"]);
    }
    return seen;
  },

  async ping(peer) {
    for (const server of ALL) await (await peer.client(server)).ping();
    return "pong";
  },

  async subscription(peer) {
    for (const [server, own, trigger, args] of [
      ["fixture", WATCHED, "trigger_resource_update", { uri: WATCHED }],
      ["fixture_stdio", WATCHED, "trigger_resource_update", { uri: WATCHED }],
      ["everything", "demo://resource/dynamic/text/1", "toggle-subscriber-updates", {}],
    ]) {
      peer.notified.length = 0;
      const uri = peer.uri(server, own);
      const client = await peer.client(server);
      await client.subscribeResource({ uri });
      await call(peer, server, trigger, args);
      const came = ({ method, params }) => method === "notifications/resources/updated" && params.uri === uri;
      await until(() => peer.notified.some(came), `an update of ${uri} from ${server}`);
      await client.unsubscribeResource({ uri });
      if (server === "everything") await call(peer, server, trigger, args);
    }
    return "updated";
  },

  async list_changed(peer) {
    const has = async () =>
      (await every(peer, "fixture", "listTools", "tools")).some(({ name }) => name === peer.name("fixture", "extra_tool"));
    let before = await has();
    for (let turn = 0; turn < 2; turn += 1) {
      peer.notified.length = 0;
      await call(peer, "fixture", "test_trigger_tool_change");
      const came = ({ method }) => method === "notifications/tools/list_changed";
      await until(() => peer.notified.some(came), "list_changed");
      assert.notEqual(await has(), before);
      before = !before;
    }
    return "changed";
  },

  async tasks(peer) {
    const client = await peer.client("everything");
    const name = peer.name("everything", "simulate-research-query");
    // The SDK takes from the list whether a tool wants to run as a task.
    await client.listTools();
    const stream = client.experimental.tasks.callToolStream(
      { name, arguments: { topic: "python", ambiguous: true } },
      undefined,
      { task: { ttl: 60_000 }, timeout: 30_000 },
    );
    const kinds = new Set();
    let result;
    for await (const message of stream) {
      kinds.add(message.type);
      if (message.type === "error") throw message.error;
      if (message.type === "result") result = text(message.result);
    }
    assert.equal(peer.elicited.length, 1);
    assert(result.includes("python (programming)"), result);
    return { kinds: [...kinds].sort(), result };
  },

  async two_elicit(peer) {
    const rivals = ["left", "right"].map((label) => peer.rival(label));
    const one = async (rival) => {
      const said = [];
      for (let turn = 0; turn < 3; turn += 1) {
        // A gateway may serve the two one after the other; then nobody comes, and we go on.
        rival.beforeAnswer = () =>
          until(() => rivals.every(({ elicited }) => elicited.length > turn), "both asked", 1_000).catch(() => {});
        const asked = { message: `for ${rival.label} ${turn}` };
        said.push(text(await call(rival, "fixture_stdio", "test_elicitation", asked)));
      }
      assert.deepEqual(rival.elicited, [0, 1, 2].map((turn) => `for ${rival.label} ${turn}`));
      assert(said.every((line) => line.includes(`${rival.label}-username`)), said.join("; "));
      return said;
    };
    try {
      return await Promise.all(rivals.map(one));
    } finally {
      await Promise.all(rivals.map((rival) => rival.close()));
    }
  },
};
