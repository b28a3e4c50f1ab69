#!/usr/bin/env node
/** The TypeScript client 2: `client_npm2.mjs PLAN legacy|auto|pin`. */
import { CAPABILITIES, main, peers, texts } from "./play.mjs";

const { Client, SSEClientTransport, StreamableHTTPClientTransport } = peers("@modelcontextprotocol/client");
const { StdioClientTransport } = peers("@modelcontextprotocol/client/stdio");

const STATELESS = "2026-07-28";
const NEGOTIATION = { legacy: {}, auto: { mode: "auto" }, pin: { mode: { pin: STATELESS } } };

function transport(at) {
  if (at.command !== undefined) return new StdioClientTransport({ ...at, stderr: "ignore" });
  const requestInit = at.token === undefined ? {} : { headers: { Authorization: `Bearer ${at.token}` } };
  const Transport = at.transport === "sse" ? SSEClientTransport : StreamableHTTPClientTransport;
  return new Transport(new URL(at.url), { requestInit });
}

async function connect(at, heard, mode) {
  const versionNegotiation = mode === "legacy" ? {} : { versionNegotiation: NEGOTIATION[mode] };
  const client = new Client(
    { name: "npm-2", version: "1.0.0" },
    { capabilities: CAPABILITIES, ...versionNegotiation },
  );
  client.setRequestHandler("sampling/createMessage", async () => heard.sample());
  client.setRequestHandler("elicitation/create", async ({ params }) => heard.elicit(params));
  client.setRequestHandler("roots/list", async () => heard.roots());
  client.setNotificationHandler("notifications/resources/updated", ({ params }) => {
    heard.updated.push(params.uri);
  });
  const over = transport(at);
  await client.connect(over);
  const version = client.getNegotiatedProtocolVersion();
  return {
    heard,
    version,
    tools: async () => (await client.listTools()).tools.map(({ name }) => name),
    call: async (name, args, options) => texts((await client.callTool({ name, arguments: args }, options)).content),
    read: async (uri) => texts((await client.readResource({ uri })).contents),
    prompt: async (name, args) =>
      texts((await client.getPrompt({ name, arguments: args })).messages.map(({ content }) => content)),
    complete: async (ref, argument) => (await client.complete({ ref, argument })).completion.values,
    async subscribe(uri) {
      if (version >= STATELESS) {
        const subscription = await client.listen({ resourceSubscriptions: [uri] });
        return () => subscription.close();
      }
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
