// The scenario of tests/scenario.py, run by the published TypeScript clients, and its one-shot parts by the Inspector:
// over stdio, and over HTTP, where each client has a token and thereby tasks of its own; then with the token that a server
// makes for the user of its machine, and without any. Clients that know tasks have the server killed in the middle of one.
//
// Usage: node scenario.mjs COMMAND HOME

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import {
  Client as Client2,
  SSEClientTransport as Sse2,
  StreamableHTTPClientTransport as Http2,
} from "@modelcontextprotocol/client";
import { StdioClientTransport as Stdio2 } from "@modelcontextprotocol/client/stdio";
import { createTaskSessionFromClient, resultFromTaskOutcome } from "@modelcontextprotocol/ext-tasks/client";
import { Client as Client1 } from "@modelcontextprotocol/sdk/client/index.js";
import { SSEClientTransport as Sse1 } from "@modelcontextprotocol/sdk/client/sse.js";
import { StdioClientTransport as Stdio1 } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport as Http1 } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
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

// Serves over HTTP until closed, in a home of its own; `tokens` say who may come in.
async function serve(home, tokens) {
  const env = { ...surroundings(home), LUMA_MCP_AUTH_TOKENS: tokens };
  const server = spawn(command, ["--transport", "http", "--port", "0"], { env, stdio: ["ignore", "inherit", "pipe"] });
  const ended = new Promise((done) => server.on("exit", done));
  const url = await new Promise((done, fail) => {
    let said = "";
    ended.then(() => fail(new Error(said)));
    server.stderr.on("data", (more) => {
      said += more;
      const found = /http:\/\/[^/ ]+/.exec(said);
      if (found) done(found[0]);
    });
  });
  const kill = async () => (server.kill("SIGKILL"), await ended);
  return { url, kill, close: async () => (server.kill("SIGTERM"), assert.equal(await ended, 0)) };
}

function token(name) {
  return `the-token-of-${name}`;
}

const overStdio = (Stdio) => (name) => new Stdio({ command, env: surroundings(name) });
const overHttp = (Http, url, shown = token) => (name) => {
  const headers = { Authorization: `Bearer ${shown(name)}` };
  return new Http(new URL(url), { requestInit: { headers } });
};

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

async function typescript1(name, transport) {
  const client = new Client1(INFO);
  const heard = new Heard();
  client.setNotificationHandler(schemas.ResourceUpdatedNotificationSchema, ({ params }) => heard.note(params.uri));
  client.setNotificationHandler(schemas.ResourceListChangedNotificationSchema, () => heard.note("list"));
  await client.connect(transport(name));
  return { client, heard, subscribe: (uri) => client.subscribeResource({ uri }) };
}

async function typescript2(name, transport, mode) {
  const client = new Client2(INFO, { versionNegotiation: { mode } });
  const heard = new Heard();
  const note = (what, params) => {
    const stream = params?._meta?.["io.modelcontextprotocol/subscriptionId"];
    assert.equal(stream !== undefined, mode !== "legacy", "only what a stream brings bears its id");
    heard.note(what);
  };
  client.setNotificationHandler("notifications/resources/updated", ({ params }) => note(params.uri, params));
  client.setNotificationHandler("notifications/resources/list_changed", ({ params }) => note("list", params));
  await client.connect(transport(name));
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

  assert.equal(done.content.length, 1);
  assert.deepEqual(JSON.parse(done.content[0].text), done.structuredContent);
  const { contents } = await client.readResource({ uri });
  assert.deepEqual(JSON.parse(contents[0].text), done.structuredContent);
  const newest = (await client.listResources()).resources[1];
  assert.equal(newest.name, `task-${made.task_id}`);
  assert.match(newest.title, /^a foggy autumn morning \(completed, /);

  const argument = { name: "task_id", value: "FOGGY" };
  assert.deepEqual((await client.complete({ ref: TEMPLATE, argument })).completion.values, [made.task_id]);
  const { prompts } = await client.listPrompts();
  assert.ok(prompts.some(({ name }) => name === "edit_again"));
  const again = await client.getPrompt({ name: "edit_again", arguments: { task_id: made.task_id, change: "snow" } });
  assert.ok(again.messages[0].content.text.includes(`source_video_url "${uri}"`));

  const save = { name: "save_video", arguments: { task_id: made.task_id, filename: "fog" } };
  const saved = (await client.callTool(save)).structuredContent;
  assert.match(saved.video_path, /fog(-\d+)?\.mp4$/);
  assert.equal((await client.callTool(save)).structuredContent.video_path, saved.video_path);
  const account = (await client.callTool({ name: "check_account", arguments: {} })).structuredContent;
  assert.equal(account.price_usd, 0.5);
  assert.equal(account.server_spent_total_usd, 0.5);

  await refused(client.readResource({ uri: `${TASKS}/unknown` }), -32602);
  await refused(client.readResource({ uri: `${TASKS}/a/b` }), -32602);
  await refused(client.getPrompt({ name: "restyle", arguments: {} }), -32602);
  if (legacy) await refused(client.subscribeResource({ uri: "https://example.com" }), -32602);
  await client.close();
}

// Sends requests past a client, which knows no tasks, and takes their answers before it sees them.
function dispatchOf(client) {
  const { transport } = client;
  const { onmessage } = transport;
  const waiting = new Map();
  transport.onmessage = (message, extra) => {
    const done = waiting.get(message.id);
    if (!done) return onmessage(message, extra);
    waiting.delete(message.id);
    done(message.error ? { kind: "error", error: message.error } : { kind: "result", result: message.result });
  };
  let number = 0;
  return ({ method, params }, options) =>
    new Promise((done, fail) => {
      const id = `past-${(number += 1)}`;
      waiting.set(id, done);
      transport.send({ jsonrpc: "2.0", id, method, params }, { headers: options?.context?.headers }).catch(fail);
    });
}

async function taskSession(name, transport) {
  const client = new Client2(INFO, { versionNegotiation: { mode: pinned } });
  await client.connect(transport);
  const framing = { protocolVersion: MODERN, clientInfo: INFO, clientCapabilities: {} };
  const options = { endpointId: name, rawDispatch: dispatchOf(client), v2RequestFraming: framing };
  const session = createTaskSessionFromClient(client, options);
  return { session, close: async () => (await session.close(), await client.close()) };
}

// Begins a task at one server, which is killed, and has its result from another.
async function background(name, first, second, kill) {
  const begun = await taskSession(name, first);
  const execution = await begun.session.callTool("modify_video", ASK);
  assert.equal(execution.kind, "task");
  const reference = execution.serializeReference();
  await execution.detach();
  await kill();
  await begun.close();
  const { session, close } = await taskSession(name, second);
  const { outcome } = await (await session.resumeTask(reference)).settle();
  const done = resultFromTaskOutcome(outcome).structuredContent;
  assert.equal(done.status, "completed");
  const again = await session.callTool("modify_video", ASK);
  assert.equal(again.kind, "immediate");
  assert.equal(resultFromTaskOutcome((await again.settle()).outcome).structuredContent.task_id, done.task_id);
  await close();
}

// A client of 2025-11-25 asks for a task, where the server's settings let it.
async function legacyTask(name) {
  const env = { ...surroundings(name), LUMA_MCP_LEGACY_TASKS: "true" };
  const client = new Client1(INFO);
  await client.connect(new Stdio1({ command, env }));
  await client.listTools();
  const call = { name: "modify_video", arguments: ASK };
  const asked = client.experimental.tasks.callToolStream(call, schemas.CallToolResultSchema, { task: { ttl: 60_000 } });
  const told = [];
  for await (const message of asked) told.push(message);
  assert.equal(told[0].type, "taskCreated");
  assert.equal(told.at(-1).type, "result");
  assert.equal(told.at(-1).result.structuredContent.status, "completed");
  await client.close();
}

async function inspect(name, target, ...words) {
  const { stdout } = await promisify(execFile)(INSPECTOR, ["--cli", ...target, ...words, "--format", "json", "-q"], {
    env: surroundings(name),
  });
  return JSON.parse(stdout).result;
}

// The Inspector passes nothing but HOME and PATH on to the servers that it starts.
const inspectedOverStdio = () => [command, "-e", "LUMA_MCP_SANDBOX=true"];
const inspectedOverHttp = (url) => (name) => [url, "--header", `Authorization: Bearer ${token(name)}`];

async function inspector(name, target, era) {
  const ask = (...words) => inspect(name, [...target(name), ...era], "--method", ...words);
  const call = (tool, given) => ask("tools/call", "--tool-name", tool, "--tool-args-json", JSON.stringify(given));
  assert.equal((await ask("tools/list", "--strict")).tools.length, 6);
  const made = (await call("modify_video", ASK)).structuredContent;
  assert.equal(made.done, era.includes("modern"), "the Inspector of the later era knows tasks, and waits for their end");
  const done = await call("get_task", { task_id: made.task_id, wait_seconds: 40 });
  const uri = `${TASKS}/${made.task_id}`;
  assert.equal(done.structuredContent.status, "completed");
  assert.equal(done.content.length, 1);
  assert.deepEqual((await ask("resources/list")).resources.map((found) => found.uri), [TASKS, uri]);
  assert.equal((await ask("resources/templates/list")).resourceTemplates[0].uriTemplate, TEMPLATE.uri);
  const { contents } = await ask("resources/read", "--uri", uri);
  assert.deepEqual(JSON.parse(contents[0].text), done.structuredContent);
  const form = ["--prompt-args", `task_id=${made.task_id}`, "change=snow"];
  const filled = await ask("prompts/get", "--prompt-name", "edit_again", ...form);
  assert.match(filled.messages[0].content.text, /0\.50 USD/);
  assert.ok((await call("save_video", { task_id: made.task_id })).structuredContent.video_path);
  assert.equal((await call("check_account", {})).structuredContent.price_usd, 0.5);
  await assert.rejects(ask("resources/read", "--uri", `${TASKS}/unknown`));
  await assert.rejects(ask("prompts/get", "--prompt-name", "restyle"));
}

async function run(name, job) {
  await job(name);
  console.log(`${name}: ok`);
}

const pinned = { pin: MODERN };
const modern = ["--protocol-era", "modern"];
const names = ["3-http", "1-http", "1-sse", "2-http", "2-sse", "2-http-modern", "2-sse-modern", "i-http", "i-sse", "i-modern"];
const TOKENS = names.map((name) => `${name}:${token(name)}`).join();
const { url, close } = await serve("http", TOKENS);
const [mcp, sse] = [`${url}/mcp`, `${url}/sse`];
const first = (name, transport) => run(name, async () => scenario(await typescript1(name, transport), true));
const second = (name, transport, mode) =>
  run(name, async () => scenario(await typescript2(name, transport, mode), mode === "legacy"));
const inspected = (name, target, era) => run(name, () => inspector(name, target, era));
const inBackground = (name, first, second, kill) => run(name, () => background(name, first, second, kill));

const doomed = overStdio(Stdio2)("3-stdio");
const doomedHttp = await serve("http", TOKENS);
await Promise.all([
  run("1-stdio-tasks", legacyTask),
  inBackground("3-stdio", doomed, overStdio(Stdio2)("3-stdio"), () => process.kill(doomed.pid, "SIGKILL")),
  inBackground("3-http", overHttp(Http2, `${doomedHttp.url}/mcp`)("3-http"), overHttp(Http2, mcp)("3-http"), doomedHttp.kill),
]);
await Promise.all([
  first("1-stdio", overStdio(Stdio1)),
  second("2-stdio", overStdio(Stdio2), "legacy"),
  second("2-stdio-modern", overStdio(Stdio2), pinned),
]);
await Promise.all([
  first("1-http", overHttp(Http1, mcp)),
  first("1-sse", overHttp(Sse1, sse)),
  second("2-http", overHttp(Http2, mcp), "legacy"),
  second("2-sse", overHttp(Sse2, sse), "legacy"),
  second("2-http-modern", overHttp(Http2, mcp), pinned),
  second("2-sse-modern", overHttp(Sse2, sse), pinned),
]);
await Promise.all([
  inspected("i-stdio", inspectedOverStdio, []),
  inspected("i-stdio-modern", inspectedOverStdio, modern),
]);
await Promise.all([
  inspected("i-http", inspectedOverHttp(mcp), []),
  inspected("i-sse", inspectedOverHttp(sse), []),
  inspected("i-modern", inspectedOverHttp(mcp), modern),
]);
await close();

const own = await serve("own", "");
const { stdout } = await promisify(execFile)(command, ["token"], { env: surroundings("own") });
await second("2-own-token", overHttp(Http2, `${own.url}/mcp`, () => stdout.trim()), pinned);
await own.close();
const open = await serve("open", "none");
await inspected("i-without-token", () => [`${open.url}/mcp`], []);
await open.close();
