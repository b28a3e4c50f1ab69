#!/usr/bin/env node
/**
 * The TypeScript SDK 1 as client, by itself or over mcp-remote, which speaks to it on standard streams and to the
 * server over HTTP: `client_npm1.mjs PLAN direct|mcp-remote`.
 */
import path from "node:path";
import { CAPABILITIES, main, peers, texts } from "./play.mjs";

const { Client } = peers("@modelcontextprotocol/sdk/client/index.js");
const { SSEClientTransport } = peers("@modelcontextprotocol/sdk/client/sse.js");
const { StdioClientTransport } = peers("@modelcontextprotocol/sdk/client/stdio.js");
const { StreamableHTTPClientTransport } = peers("@modelcontextprotocol/sdk/client/streamableHttp.js");
const types = peers("@modelcontextprotocol/sdk/types.js");
const REMOTE = path.join(path.dirname(peers.resolve("mcp-remote/package.json")), "dist/proxy.js");

function transport(at, mode) {
  if (at.command !== undefined) return new StdioClientTransport({ ...at, stderr: "ignore" });
  if (mode === "mcp-remote") {
    const header = at.token === undefined ? [] : ["--header", `Authorization:Bearer ${at.token}`];
    const args = [REMOTE, at.url, ...header];
    const env = { PATH: process.env.PATH, HOME: process.env.HOME };
    return new StdioClientTransport({ command: process.execPath, args, env, stderr: "ignore" });
  }
  const requestInit = at.token === undefined ? {} : { headers: { Authorization: `Bearer ${at.token}` } };
  const Transport = at.transport === "sse" ? SSEClientTransport : StreamableHTTPClientTransport;
  return new Transport(new URL(at.url), { requestInit });
}

async function connect(at, heard, mode) {
  const client = new Client({ name: "npm-1", version: "1.0.0" }, { capabilities: CAPABILITIES });
  client.setRequestHandler(types.CreateMessageRequestSchema, async () => heard.sample());
  client.setRequestHandler(types.ElicitRequestSchema, async ({ params }) => heard.elicit(params));
  client.setRequestHandler(types.ListRootsRequestSchema, async () => heard.roots());
  client.setNotificationHandler(types.ResourceUpdatedNotificationSchema, ({ params }) => {
    heard.updated.push(params.uri);
  });
  let version = "";
  const over = transport(at, mode);
  // The transport is told what was agreed on; the client does not keep it.
  const told = over.setProtocolVersion?.bind(over);
  over.setProtocolVersion = (agreed) => {
    version = agreed;
    told?.(agreed);
  };
  await client.connect(over);
  return {
    heard,
    version,
    async tools() {
      const names = [];
      for (let cursor; ; ) {
        const page = await client.listTools(cursor === undefined ? {} : { cursor });
        names.push(...page.tools.map(({ name }) => name));
        cursor = page.nextCursor;
        if (cursor === undefined) return names;
      }
    },
    call: async (name, args, options) =>
      texts((await client.callTool({ name, arguments: args }, undefined, options)).content),
    read: async (uri) => texts((await client.readResource({ uri })).contents),
    prompt: async (name, args) =>
      texts((await client.getPrompt({ name, arguments: args })).messages.map(({ content }) => content)),
    complete: async (ref, argument) => (await client.complete({ ref, argument })).completion.values,
    async subscribe(uri) {
      await client.subscribeResource({ uri });
      return () => client.unsubscribeResource({ uri });
    },
    async close() {
      await over.terminateSession?.();
      await client.close();
    },
  };
}

await main(connect);
