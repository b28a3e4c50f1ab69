#!/usr/bin/env node
/**
 * The TypeScript SDK (session era) as client: plays scenarios directly or through the gateway.
 *
 *     client_node.mjs --world FILE [--gateway URL --token TOKEN] [SCENARIO...]
 *
 * Arguments and output are those of client_python.py; the gateway's URL can also be of its WebSocket (`ws:`).
 */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { SCENARIOS } from "./scenarios.mjs";

// The packages live in the cache that setup.sh fills, not in a folder above this file.
const require = createRequire(new URL("./.cache/npm/package.json", import.meta.url));
const { Client } = require("@modelcontextprotocol/sdk/client/index.js");
const { SSEClientTransport } = require("@modelcontextprotocol/sdk/client/sse.js");
const { StdioClientTransport } = require("@modelcontextprotocol/sdk/client/stdio.js");
const { StreamableHTTPClientTransport } = require("@modelcontextprotocol/sdk/client/streamableHttp.js");
const { WebSocketClientTransport } = require("@modelcontextprotocol/sdk/client/websocket.js");
const types = require("@modelcontextprotocol/sdk/types.js");

const SCENARIO_MS_MAX = 60_000;

/** One client of the world: a connection to each server, or one to the gateway. */
class Peer {
  constructor(options, world, label = "one") {
    Object.assign(this, { options, world, label, types });
    this.through = options.gateway !== undefined;
    this.sampled = [];
    this.elicited = [];
    this.logged = [];
    this.notified = [];
    this.beforeAnswer = async () => {};
    this.clients = new Map();
  }

  /** Another client of the same world. */
  rival(label) {
    return new Peer(this.options, this.world, label);
  }

  /** The name under which a tool or prompt of a server is listed here. */
  name(server, name) {
    return this.through ? `${server}_${name}` : name;
  }

  /** The URI under which a resource of a server is listed here. */
  uri(server, uri) {
    return this.through ? `${this.world.uri_prefixes[server] ?? ""}${uri}` : uri;
  }

  /** The connection that reaches a server. */
  async client(server) {
    const key = this.through ? "gateway" : server;
    if (!this.clients.has(key)) this.clients.set(key, this.connect(server));
    return this.clients.get(key);
  }

  async connect(server) {
    const client = new Client(
      { name: `node-${this.label}`, version: "1.0.0" },
      { capabilities: { sampling: {}, elicitation: { form: {}, url: {} }, roots: { listChanged: true } } },
    );
    client.setRequestHandler(types.CreateMessageRequestSchema, ({ params }) => this.sample(params));
    client.setRequestHandler(types.ElicitRequestSchema, ({ params }) => this.elicit(params));
    client.setRequestHandler(types.ListRootsRequestSchema, () => this.roots());
    client.setNotificationHandler(types.LoggingMessageNotificationSchema, ({ params }) => {
      this.logged.push(params);
    });
    client.fallbackNotificationHandler = async (notification) => {
      this.notified.push(notification);
    };
    await client.connect(this.transport(server));
    return client;
  }

  transport(server) {
    if (this.through) {
      const url = new URL(this.options.gateway);
      // Can send no header.
      if (url.protocol === "ws:") return new WebSocketClientTransport(url);
      const headers = { Authorization: `Bearer ${this.options.token}` };
      if (url.pathname.endsWith("/sse")) return new SSEClientTransport(url, { requestInit: { headers } });
      return new StreamableHTTPClientTransport(url, { requestInit: { headers } });
    }
    const how = this.world.servers[server];
    if (how.url !== undefined) return new StreamableHTTPClientTransport(new URL(how.url));
    return new StdioClientTransport({ ...how, stderr: "ignore" });
  }

  async sample({ messages }) {
    const blocks = [messages[0].content].flat();
    const asked = blocks.map((block) => block.text ?? "").join("");
    this.sampled.push(asked);
    return {
      role: "assistant",
      content: { type: "text", text: `${this.label} heard: ${asked}` },
      model: "model-of-the-test",
      stopReason: "endTurn",
    };
  }

  async elicit(params) {
    this.elicited.push(params.message);
    await this.beforeAnswer();
    if (params.mode === "url") return { action: "accept" };
    const fields = Object.entries(params.requestedSchema.properties);
    return { action: "accept", content: Object.fromEntries(fields.map(([key, of]) => [key, this.fill(key, of)])) };
  }

  fill(key, of) {
    if (of.default !== undefined) return of.default;
    if (of.oneOf !== undefined) return of.oneOf[0].const;
    if (of.enum !== undefined) return of.enum[0];
    const formats = { email: "one@example.org", uri: "http://example.org/", date: "2026-01-02" };
    const plain = { boolean: true, integer: 7, number: 7, array: [] };
    return formats[of.format] ?? plain[of.type] ?? `${this.label}-${key}`;
  }

  roots() {
    return { roots: [{ uri: pathToFileURL(path.join(this.world.dir, "files")).href, name: "files" }] };
  }

  async close() {
    for (const client of this.clients.values()) {
      const open = await client.catch(() => undefined);
      // A session is ended, not only left, so that the server can forget it.
      await open?.transport?.terminateSession?.();
      await open?.close();
    }
  }
}

function late(name) {
  return new Promise((_, reject) => {
    const timer = setTimeout(() => reject(new Error(`${name} took longer than ${SCENARIO_MS_MAX} ms`)), SCENARIO_MS_MAX);
    timer.unref();
  });
}

async function play(name, options, world) {
  const peer = new Peer(options, world);
  try {
    const seen = await Promise.race([SCENARIOS[name](peer), late(name)]);
    return { scenario: name, ok: true, seen };
  } catch (error) {
    return { scenario: name, ok: false, error: String(error.stack ?? error) };
  } finally {
    await peer.close().catch(() => {});
  }
}

const { values, positionals } = parseArgs({
  options: { world: { type: "string" }, gateway: { type: "string" }, token: { type: "string", default: "" } },
  allowPositionals: true,
});
const world = JSON.parse(readFileSync(values.world, "utf8"));
let failed = false;
for (const name of positionals.length > 0 ? positionals : Object.keys(SCENARIOS)) {
  const line = await play(name, values, world);
  failed ||= !line.ok;
  console.log(JSON.stringify(line));
}
process.exit(failed ? 1 : 0);
