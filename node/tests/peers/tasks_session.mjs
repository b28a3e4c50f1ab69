#!/usr/bin/env node
/**
 * The TypeScript SDK of the session era with tasks, at a server with the tasks extension behind the gateway.
 *
 *     tasks_session.mjs URL
 *
 * URL is the endpoint of `lockgate-peer-rmcp tasks http`. Exit status: 0 every call ended as it must, 1 one did not.
 */
import assert from "node:assert/strict";
import { createRequire } from "node:module";

// The packages live in the cache that setup.sh fills, not in a folder above this file.
const require = createRequire(new URL("./.cache/npm/package.json", import.meta.url));
const { Client } = require("@modelcontextprotocol/sdk/client/index.js");
const { StreamableHTTPClientTransport } = require("@modelcontextprotocol/sdk/client/streamableHttp.js");
const { CallToolResultSchema, ElicitRequestSchema } = require("@modelcontextprotocol/sdk/types.js");

const client = new Client({ name: "tasks", version: "1" }, { capabilities: { elicitation: { form: {} } } });
const asked = [];
client.setRequestHandler(ElicitRequestSchema, async ({ params }) => {
  assert.ok(params._meta["io.modelcontextprotocol/related-task"].taskId);
  asked.push(params.message);
  const [field, { type }] = Object.entries(params.requestedSchema.properties)[0];
  return { action: "accept", content: { [field]: type === "boolean" ? true : "x" } };
});
await client.connect(new StreamableHTTPClientTransport(new URL(process.argv[2])));
assert.deepEqual(client.getServerCapabilities().tasks, { cancel: {}, requests: { tools: { call: {} } } });
await client.listTools();

/** Calls a tool as a task and gives the states that it went through, and how it ended. */
async function run(name, args = {}) {
  const states = [];
  const stream = client.experimental.tasks.callToolStream({ name, arguments: args }, CallToolResultSchema, { task: { ttl: 60_000 } });
  for await (const message of stream) {
    if (message.task) states.push(message.task.status);
    if (message.type === "result") return { states, text: message.result.content[0].text };
    if (message.type === "error") return { states, error: message.error.message };
  }
  throw new Error(`${name} did not end`);
}

const slow = await run("slow_compute", { seconds: 0.5, label: "L" });
assert.equal(slow.text, "Computed L");
assert.equal(slow.states[0], "working");
assert.equal(slow.states.at(-1), "completed");

const confirmed = await run("confirm_delete");
assert.deepEqual(asked, ["Delete it?"]);
assert.match(confirmed.text, /"confirm":true/);
assert.ok(confirmed.states.includes("input_required"));

const both = await run("multi_input");
assert.deepEqual(asked.slice(1).sort(), ["What color?", "What name?"]);
assert.match(both.text, /accept.*accept/);

const broken = await run("protocol_error_job");
assert.equal(broken.states.at(-1), "failed");
assert.match(broken.error, /failed/);

// The server makes no task of this one: the gateway does.
assert.equal((await run("greet", { name: "n" })).text, "Hello, n!");

// It can be nothing but a task: for a client that calls it like any other, too.
const plain = await client.request(
  { method: "tools/call", params: { name: "failing_job", arguments: {} } },
  CallToolResultSchema,
);
assert.equal(plain.isError, true);
assert.equal(plain.content[0].text, "The job failed");

await client.close();
