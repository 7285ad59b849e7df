// The scenario of tests/scenario.py, run by the published TypeScript clients, and its one-shot parts by the Inspector.
//
// Usage: node scenario.mjs COMMAND HOME

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { Client as Client2 } from "@modelcontextprotocol/client";
import { StdioClientTransport as Stdio2 } from "@modelcontextprotocol/client/stdio";
import { Client as Client1 } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport as Stdio1 } from "@modelcontextprotocol/sdk/client/stdio.js";
import * as schemas from "@modelcontextprotocol/sdk/types.js";

const TASKS = "luma://tasks";
const TEMPLATE = { type: "ref/resource", uri: "luma://tasks/{task_id}" };
const MODERN = "2026-07-28";
const INFO = { name: "scenario", version: "1" };
const SOON_MS = 5_000;
const INSPECTOR = fileURLToPath(new URL("node_modules/.bin/mcp-inspector", import.meta.url));
const ASK = { prompt: "a foggy autumn morning", source_video_url: "https://example.com/clip.mp4", wait_seconds: 0 };

const [command, home] = process.argv.slice(2);

function surroundings(name) {
  const own = join(home, name);
  mkdirSync(own, { recursive: true });
  return { ...process.env, HOME: own, LUMA_MCP_SANDBOX: "true" };
}

// What a client heard of, until somebody waits for it.
class Heard {
  seen = new Set();
  waiting = [];

  note(what) {
    this.seen.add(what);
    for (const { wanted, done } of this.waiting) {
      if (wanted.every((one) => this.seen.has(one))) done();
    }
  }

  async all(...wanted) {
    if (!wanted.every((one) => this.seen.has(one))) {
      await Promise.race([
        new Promise((done) => this.waiting.push({ wanted, done })),
        new Promise((_, fail) => {
          setTimeout(() => fail(new Error(`not heard: ${wanted}; heard: ${[...this.seen]}`)), SOON_MS).unref();
        }),
      ]);
    }
    this.seen.clear();
  }
}

async function typescript1(name) {
  const client = new Client1(INFO);
  const heard = new Heard();
  client.setNotificationHandler(schemas.ResourceUpdatedNotificationSchema, ({ params }) => heard.note(params.uri));
  client.setNotificationHandler(schemas.ResourceListChangedNotificationSchema, () => heard.note("list"));
  await client.connect(new Stdio1({ command, env: surroundings(name) }));
  return { client, heard, subscribe: (uri) => client.subscribeResource({ uri }) };
}

async function typescript2(name, mode) {
  const client = new Client2(INFO, { versionNegotiation: { mode } });
  const heard = new Heard();
  const note = (what, params) => {
    const stream = params?._meta?.["io.modelcontextprotocol/subscriptionId"];
    assert.equal(stream !== undefined, mode !== "legacy", "only what a stream brings bears its id");
    heard.note(what);
  };
  client.setNotificationHandler("notifications/resources/updated", ({ params }) => note(params.uri, params));
  client.setNotificationHandler("notifications/resources/list_changed", ({ params }) => note("list", params));
  await client.connect(new Stdio2({ command, env: surroundings(name) }));
  const listen = async (uri) => {
    const asked = { resourcesListChanged: true, resourceSubscriptions: [uri, "https://example.com"] };
    const stream = await client.listen(asked);
    assert.deepEqual(stream.honoredFilter, { resourcesListChanged: true, resourceSubscriptions: [uri] });
  };
  return { client, heard, subscribe: mode === "legacy" ? (uri) => client.subscribeResource({ uri }) : listen };
}

async function refused(promise, code) {
  const error = await promise.then(() => assert.fail("this should have been refused"), (error) => error);
  assert.equal(error.code, code, String(error));
}

async function scenario({ client, heard, subscribe }, legacy) {
  assert.deepEqual(client.getServerCapabilities().resources, { subscribe: true, listChanged: true });
  assert.deepEqual((await client.listResources()).resources.map(({ uri }) => uri), [TASKS]);
  await subscribe(TASKS);
  const made = (await client.callTool({ name: "modify_video", arguments: ASK })).structuredContent;
  await heard.all(TASKS, "list");
  const uri = `${TASKS}/${made.task_id}`;
  await subscribe(uri);
  const wait = { name: "get_task", arguments: { task_id: made.task_id, wait_seconds: 40 } };
  const done = await client.callTool(wait);
  assert.equal(done.structuredContent.status, "completed");
  await heard.all(TASKS, uri, "list");

  const [text, link] = done.content;
  assert.deepEqual(JSON.parse(text.text), done.structuredContent);
  assert.equal(link.uri, uri);
  const { contents } = await client.readResource({ uri });
  assert.deepEqual(JSON.parse(contents[0].text), done.structuredContent);
  assert.match((await client.listResources()).resources[1].name, /^a foggy autumn morning \(completed, /);

  const argument = { name: "task_id", value: "FOGGY" };
  assert.deepEqual((await client.complete({ ref: TEMPLATE, argument })).completion.values, [made.task_id]);
  const { prompts } = await client.listPrompts();
  assert.ok(prompts.some(({ name }) => name === "edit_again"));
  const again = await client.getPrompt({ name: "edit_again", arguments: { task_id: made.task_id, change: "snow" } });
  assert.ok(again.messages[0].content.text.includes(`source_video_url "${uri}"`));

  await refused(client.readResource({ uri: `${TASKS}/unknown` }), -32602);
  await refused(client.readResource({ uri: `${TASKS}/a/b` }), -32602);
  await refused(client.getPrompt({ name: "restyle", arguments: {} }), -32602);
  if (legacy) await refused(client.subscribeResource({ uri: "https://example.com" }), -32602);
  await client.close();
}

async function inspect(name, era, ...words) {
  const sandbox = ["-e", "LUMA_MCP_SANDBOX=true"]; // the Inspector passes on nothing else but HOME and PATH
  const flags = ["--cli", command, ...era, ...sandbox, ...words, "--format", "json", "-q"];
  const { stdout } = await promisify(execFile)(INSPECTOR, flags, { env: surroundings(name) });
  return JSON.parse(stdout).result;
}

async function inspector(name, era) {
  const ask = (...words) => inspect(name, era, "--method", ...words);
  const call = (tool, given) => ask("tools/call", "--tool-name", tool, "--tool-args-json", JSON.stringify(given));
  assert.equal((await ask("tools/list", "--strict")).tools.length, 3);
  const made = (await call("modify_video", ASK)).structuredContent;
  const done = await call("get_task", { task_id: made.task_id, wait_seconds: 40 });
  const uri = `${TASKS}/${made.task_id}`;
  assert.equal(done.structuredContent.status, "completed");
  assert.equal(done.content[1].uri, uri);
  assert.deepEqual((await ask("resources/list")).resources.map((found) => found.uri), [TASKS, uri]);
  assert.equal((await ask("resources/templates/list")).resourceTemplates[0].uriTemplate, TEMPLATE.uri);
  const { contents } = await ask("resources/read", "--uri", uri);
  assert.deepEqual(JSON.parse(contents[0].text), done.structuredContent);
  const form = ["--prompt-args", `task_id=${made.task_id}`, "change=snow"];
  const filled = await ask("prompts/get", "--prompt-name", "edit_again", ...form);
  assert.match(filled.messages[0].content.text, /0\.50 USD/);
  await assert.rejects(ask("resources/read", "--uri", `${TASKS}/unknown`));
  await assert.rejects(ask("prompts/get", "--prompt-name", "restyle"));
}

async function run(name, job) {
  await job(name);
  console.log(`${name}: ok`);
}

await Promise.all([
  run("typescript-1", async (name) => scenario(await typescript1(name), true)),
  run("typescript-2-legacy", async (name) => scenario(await typescript2(name, "legacy"), true)),
  run("typescript-2-modern", async (name) => scenario(await typescript2(name, { pin: MODERN }), false)),
]);
await Promise.all([
  run("inspector-legacy", (name) => inspector(name, [])),
  run("inspector-modern", (name) => inspector(name, ["--protocol-era", "modern"])),
]);
