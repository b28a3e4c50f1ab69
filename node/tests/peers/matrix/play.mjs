/**
 * Plays the features of a plan with a client on npm, whichever library it is built on: the same as play.py.
 *
 * A client module says how to connect and hands over a link: `heard`, `version`, `tools()`, `call(tool, args, options)`,
 * `read(uri)`, `prompt(name, args)`, `complete(ref, argument)`, `subscribe(uri)` and what undoes it, `close()`.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const CONNECT_MS_MAX = 60_000;
const FEATURE_MS_MAX = 25_000;
const POLL_MS = 20;

/** The packages live in the cache that setup.sh fills, not in a folder above this file. */
export const peers = createRequire(new URL("../.cache/npm/package.json", import.meta.url));

/** What a connection heard from its servers, and what it says to them. */
export class Heard {
  constructor(root) {
    Object.assign(this, { root, feature: {}, asked: [], updated: [] });
  }

  begin(feature) {
    Object.assign(this, { feature, asked: [], updated: [] });
  }

  /** What the model says. */
  sample() {
    this.asked.push("sampling");
    return { role: "assistant", content: { type: "text", text: this.feature.says ?? "" }, model: "model" };
  }

  /** What the user fills in, or that he went to the page. */
  elicit({ mode, url }) {
    this.asked.push(mode === "url" ? `url ${url}` : "form");
    return mode === "url" ? { action: "accept" } : { action: "accept", content: this.feature.fills };
  }

  roots() {
    return { roots: [{ uri: this.root, name: "root" }] };
  }
}

export const CAPABILITIES = { sampling: {}, elicitation: { form: {}, url: {} }, roots: {} };

const pause = () => new Promise((resolve) => setTimeout(resolve, POLL_MS));

/** The texts of content blocks. */
export const texts = (blocks) => blocks.map((block) => block.text ?? "").join("\n");

function holds(text, { expects }) {
  assert(text.includes(expects), `${JSON.stringify(expects)} is not in ${JSON.stringify(text.slice(0, 500))}`);
}

/** Calls a tool until it says what is expected. */
async function until(link, feature, signal) {
  for (let text = ""; !text.includes(feature.expects); await pause()) {
    assert(!signal.aborted, `last: ${text}`);
    text = await link.call(feature.tool, feature.arguments);
  }
}

async function question(link, feature) {
  holds(await link.call(feature.tool, feature.arguments), feature);
  assert.deepEqual(link.heard.asked, [feature.asks]);
}

const PLAYS = {
  async list(link, feature, signal) {
    // At the latest it is listed when its server has started.
    for (let names = []; !names.includes(feature.expects); await pause()) {
      assert(!signal.aborted, `listed are ${names}`);
      names = await link.tools();
    }
  },
  call: async (link, feature) => holds(await link.call(feature.tool, feature.arguments), feature),
  read: async (link, feature) => holds(await link.read(feature.uri), feature),
  prompt: async (link, feature) => holds(await link.prompt(feature.name, feature.arguments), feature),
  async complete(link, feature) {
    const values = await link.complete(feature.ref, feature.argument);
    assert(values.includes(feature.expects), String(values));
  },
  sampling: question,
  form: question,
  url: question,
  roots: until,
  async progress(link, feature, signal) {
    const steps = new Set();
    await link.call(feature.tool, feature.arguments, { onprogress: ({ progress }) => steps.add(progress) });
    // The result may overtake them, as it comes on its own. Client 2 reports each round of questions as
    // progress of its own making, too: a server that asks for the roots meanwhile makes it say 1 twice.
    for (; steps.size < feature.steps; await pause()) assert(!signal.aborted, `steps ${[...steps]}`);
    assert.deepEqual([...steps], [...steps].sort((a, b) => a - b));
  },
  async cancel(link, feature, signal) {
    const cancelling = new AbortController();
    const options = { signal: cancelling.signal, onprogress: () => cancelling.abort("given up") };
    await assert.rejects(link.call(feature.tool, feature.arguments, options));
    await until(link, feature.witness, signal);
  },
  async subscribe(link, feature, signal) {
    const unsubscribe = await link.subscribe(feature.uri);
    await link.call(feature.tool, feature.arguments);
    for (; !link.heard.updated.includes(feature.uri); await pause())
      assert(!signal.aborted, `updated ${link.heard.updated}`);
    await unsubscribe();
    if (feature.after !== undefined) await link.call(feature.after, {});
  },
};

/** Gives up on what takes too long; what polls is told, so that it can say how far it came. */
async function within(ms, play) {
  const late = AbortSignal.timeout(ms);
  const end = new Promise((_, reject) => {
    late.addEventListener("abort", () => setTimeout(() => reject(new Error(`took longer than ${ms} ms`)), 5 * POLL_MS));
  });
  return Promise.race([play(late), end]);
}

const say = (line) => console.log(JSON.stringify(line));
const told = (error) => String(error?.stack ?? error).slice(0, 1200);

async function playJob(connect, { job, at, features }, root) {
  const heard = new Heard(root);
  const link = await within(CONNECT_MS_MAX, () => connect(at, heard));
  try {
    say({ job, version: link.version });
    for (const feature of features) {
      const line = { job, server: feature.server, feature: feature.feature };
      heard.begin(feature);
      try {
        await within(FEATURE_MS_MAX, (late) => PLAYS[feature.feature](link, feature, late));
      } catch (error) {
        line.error = told(error);
      }
      say(line);
    }
  } finally {
    await link.close().catch(() => {});
  }
}

/** Reads the command line, `PLAN MODE`, and plays all connections, one after the other. */
export async function main(connect) {
  const [file, mode] = process.argv.slice(2);
  const plan = JSON.parse(readFileSync(file, "utf8"));
  for (const job of plan.jobs) {
    try {
      await playJob((at, heard) => connect(at, heard, mode), job, plan.root);
    } catch (error) {
      say({ job: job.job, error: told(error) });
    }
  }
  process.exit(0);
}
