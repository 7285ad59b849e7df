// A person's yes, asked for through the published TypeScript clients: each way of answering, and what it costs.
//
// Usage: node confirmation.mjs COMMAND HOME

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";

import { Client as Client2 } from "@modelcontextprotocol/client";
import { StdioClientTransport as Stdio2 } from "@modelcontextprotocol/client/stdio";
import { Client as Client1 } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport as Stdio1 } from "@modelcontextprotocol/sdk/client/stdio.js";
import * as schemas from "@modelcontextprotocol/sdk/types.js";

const INFO = { name: "confirmation", version: "1" };
const CAN_ASK = { capabilities: { elicitation: {} } };
const MODERN = { pin: "2026-07-28" };
const ASK = { prompt: "fog", source_video_url: "https://example.com/clip.mp4", wait_seconds: 40 };
const YES = { action: "accept", content: { pay: true } };
const NOT_A_YES = [{ action: "decline" }, { action: "cancel" }, { action: "accept", content: { pay: false } }];

const [command, home] = process.argv.slice(2);

function transport(Stdio, name) {
  const own = join(home, name);
  mkdirSync(own, { recursive: true });
  const settings = { HOME: own, LUMA_MCP_SANDBOX: "true", LUMA_MCP_CONFIRM: "ask" };
  return new Stdio({ command, env: { ...process.env, ...settings } });
}

async function typescript1(name, answer) {
  const client = new Client1(INFO, answer && CAN_ASK);
  if (answer) client.setRequestHandler(schemas.ElicitRequestSchema, answer);
  await client.connect(transport(Stdio1, name));
  return client;
}

const typescript2 = (mode) => async (name, answer) => {
  const client = new Client2(INFO, { versionNegotiation: { mode }, ...(answer && CAN_ASK) });
  if (answer) client.setRequestHandler("elicitation/create", answer);
  await client.connect(transport(Stdio2, name));
  return client;
};

async function job(name, connect) {
  const asked = [];
  let said;
  const client = await connect(name, async ({ params }) => (asked.push(params.message), said));
  const call = async (tool, given = {}) => (await client.callTool({ name: tool, arguments: given })).structuredContent;

  for (said of NOT_A_YES) {
    assert.equal((await call("modify_video", ASK)).error.code, "confirmation_declined");
  }
  assert.equal((await call("check_account")).tasks_in_24_hours, 0);
  said = YES;
  const made = await call("modify_video", ASK);
  assert.deepEqual([made.status, made.joined], ["completed", false]);
  const again = await call("modify_video", ASK);
  assert.deepEqual([again.task_id, again.joined], [made.task_id, true]);
  assert.equal(asked.length, NOT_A_YES.length + 1, "a join asks nobody");
  assert.ok(asked.every((message) => message.includes('Prompt: "fog"') && message.includes("Price: 0.50 USD")));
  assert.equal((await call("check_account")).server_spent_total_usd, 0.5);
  await client.close();

  const mute = await connect(name, undefined);
  const other = await mute.callTool({ name: "modify_video", arguments: { ...ASK, take: 2 } });
  assert.equal(other.structuredContent.error.code, "confirmation_unavailable");
  await mute.close();
  console.log(`${name}: ok`);
}

await Promise.all([
  job("1-stdio", typescript1),
  job("2-stdio", typescript2("legacy")),
  job("2-stdio-modern", typescript2(MODERN)),
]);
