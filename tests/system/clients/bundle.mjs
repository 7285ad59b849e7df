// Lets the official bundle tool check a bundle, and writes a command that starts it as Claude Desktop would.
//
// Usage: node bundle.mjs BUNDLE FOLDER COMMAND
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { getMcpConfigForManifest } from "@anthropic-ai/mcpb";

const [bundle, folder, command] = process.argv.slice(2).map((path) => resolve(path));
const tool = new URL("node_modules/@anthropic-ai/mcpb/dist/cli/cli.js", import.meta.url).pathname;
const run = (...words) => console.log(execFileSync(process.execPath, [tool, ...words], { encoding: "utf8" }).trim());

run("unpack", bundle, folder);
run("validate", join(folder, "manifest.json"));

const manifest = JSON.parse(readFileSync(join(folder, "manifest.json"), "utf8"));
const configured = (userConfig) =>
  getMcpConfigForManifest({ manifest, extensionPath: folder, systemDirs: {}, userConfig, pathSeparator: "/" });

for (const filled of [{}, { api_key: "" }, { api_key: "a-key", output_dir: "/videos", sandbox: true }]) {
  const config = await configured(filled);
  assert.ok(config, "the bundle starts without a key");
  assert.doesNotMatch(JSON.stringify(config), /\$\{/, "no placeholder reaches the server");
}
assert.equal((await configured({ api_key: "a-key" })).env.RUNAPI_API_KEY, "a-key");

const config = await configured({ sandbox: true });
const quoted = (word) => `'${word.replaceAll("'", `'\\''`)}'`;
const passed = Object.entries(process.env).filter(([name]) => name.startsWith("UV_"));
const variables = [...Object.entries(config.env), ...passed].map(([name, value]) => `${name}=${quoted(value)}`);
const words = [config.command, ...config.args].map(quoted);
writeFileSync(command, `#!/bin/sh\nexec env ${[...variables, ...words].join(" ")} "$@"\n`);
chmodSync(command, 0o755);
console.log(`bundle: ${Object.keys(config.env).length} variables, no placeholder`);
