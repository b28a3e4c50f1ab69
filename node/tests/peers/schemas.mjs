// The JSON schemas of all revisions, as the specification publishes them.
//
//     node schemas.mjs FOLDER      writes FOLDER/2025-11-25.json and so on
//
// No package has them as files, but the conformance suite carries them as literals: it judges what it is sent by
// them. They are read out of the suite that package-lock.json names.

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { runInNewContext } from "node:vm";

const REVISIONS = ["2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"];
// The table of the schemas by revision; the newest revision is named by a constant.
const TABLE = /\{"2025-03-26":([\w$]+),"2025-06-18":([\w$]+),"2025-11-25":([\w$]+),\[[\w$]+\]:([\w$]+)\}/;

const require = createRequire(join(import.meta.dirname, ".cache/npm/package.json"));
const suite = readFileSync(require.resolve("@modelcontextprotocol/conformance/dist/index.js"), "utf8");

// The literal that is assigned to a name: from its brace to the one that closes it. Braces in texts do not count.
function literal(name) {
  const start = suite.indexOf(`${name}={$schema:`) + name.length + 1;
  if (start <= name.length) throw new Error(`the suite has no schema ${name}`);
  let depth = 0;
  let quote = "";
  for (let at = start; at < suite.length; at += 1) {
    const letter = suite[at];
    if (quote) {
      if (letter === "\\") at += 1;
      else if (letter === quote) quote = "";
    } else if ("`\"'".includes(letter)) quote = letter;
    else if (letter === "{") depth += 1;
    else if (letter === "}" && --depth === 0) return suite.slice(start, at + 1);
  }
  throw new Error(`schema ${name} does not end`);
}

const names = TABLE.exec(suite);
if (!names) throw new Error("the suite has no table of schemas");
mkdirSync(process.argv[2], { recursive: true });
for (const [index, revision] of REVISIONS.entries()) {
  const schema = runInNewContext(`(${literal(names[index + 1])})`, Object.create(null));
  writeFileSync(join(process.argv[2], `${revision}.json`), JSON.stringify(schema));
}
