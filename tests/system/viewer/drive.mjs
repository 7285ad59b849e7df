// The page in a real browser: as an MCP App in the official host, around the installed server and around fixtures, and as
// a gallery. Skips, and says why, where there is no Chromium.
//
// Usage: node drive.mjs COMMAND PYTHON HOME [FOLDER FOR PICTURES]

import assert from "node:assert/strict";
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { build } from "esbuild";
import { chromium } from "playwright-core";

import { LINK, LONG, MARKUP, RTL, TASKS, manyTasks, rowOf, toolResult } from "./fixtures.mjs";
import { bodyOf, chat, listen, sandboxProxy, sendJson, sendVideo } from "./servers.mjs";

const [command, python, home, pictures] = process.argv.slice(2);
const here = fileURLToPath(new URL(".", import.meta.url));
const BROWSERS = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
const executablePath = BROWSERS.find(existsSync);
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const APPS = { extensions: { "io.modelcontextprotocol/ui": { mimeTypes: ["text/html;profile=mcp-app"] } } };
const NARROW = { width: 360, height: 740 };
const WIDE = { width: 1100, height: 800 };

if (!executablePath) {
  console.log("Skipped: there is no Chromium on this machine.");
  process.exit(0);
}

const about = JSON.parse(
  execFileSync(
    python,
    [
      "-c",
      "import json, luma_mcp.sandbox.requests as r, luma_mcp.viewer.page as p; print(json.dumps({'clip': str(r.bundled_clip()), 'gallery': p.page_html('gallery'), 'policy': p.gallery_policy(), 'app': p.page_html('app')}))",
    ],
    { maxBuffer: 1 << 24, cwd: home },
  ).toString(),
);
const clip = readFileSync(about.clip);
const PAGE = {
  text: about.app,
  _meta: { ui: { csp: { resourceDomains: ["https://*.runapi.ai"], connectDomains: [] } } },
};

// -- a browser, and what is asked of every page -------------------------------------------------------------------------

const browser = await chromium.launch({ executablePath, args: ["--headless=new", "--no-sandbox", "--disable-gpu"] });
const stage = { current: null };
const bundled = await build({ entryPoints: [join(here, "host.mjs")], bundle: true, format: "esm", write: false });
const proxy = await sandboxProxy();
const host = await chat(bundled.outputFiles[0].contents, stage);
const done = [];

async function open(url, { viewport = WIDE, dark = false, reduced = false } = {}) {
  const context = await browser.newContext({
    viewport,
    colorScheme: dark ? "dark" : "light",
    reducedMotion: reduced ? "reduce" : "no-preference",
  });
  const page = await context.newPage();
  page.problems = [];
  page.on("pageerror", (error) => page.problems.push(String(error)));
  await page.route("https://*.runapi.ai/**", (route) =>
    route.fulfill({ status: 200, contentType: "video/mp4", body: clip, headers: { "accept-ranges": "bytes" } }),
  );
  await page.goto(url);
  return page;
}

async function openChat(current, options = {}, look = {}) {
  stage.current = current;
  const given = {
    sandbox: `http://localhost:${proxy.port}/`,
    context: { theme: look.dark ? "dark" : "light" },
    ...options,
  };
  const page = await open(`http://127.0.0.1:${host.port}/?options=${encodeURIComponent(JSON.stringify(given))}`, look);
  await page.waitForFunction(() => window.bridge || window.asked.some(([what]) => what === "failed"));
  assert.deepEqual(
    (await askedFor(page)).filter(([what]) => what === "failed"),
    [],
  );
  return { page, frame: page.frames().find((frame) => frame.parentFrame()?.parentFrame()) };
}

const askedFor = (page) => page.evaluate(() => window.asked);
const textOf = (frame, id) => frame.locator(`#${id}`).innerText();
const waitForText = (frame, id, words) => frame.locator(`#${id}`, { hasText: words }).waitFor();

async function checkAccessible(frame, name) {
  await frame.evaluate(AXE);
  const found = await frame.evaluate(async () => {
    const { violations } = await globalThis.axe.run(document, { resultTypes: ["violations"] });
    return violations
      .filter(({ impact }) => ["serious", "critical"].includes(impact))
      .map(
        ({ id, nodes }) =>
          `${id}: ${nodes.map((node) => `${node.html.slice(0, 100)} ${node.any[0]?.message ?? ""}`).join("; ")}`,
      );
  });
  assert.deepEqual(found, [], name);
}

// A frame of another origin is not painted below the window's edge, so the window is made as high as the page.
async function picture(page, name, { whole = true } = {}) {
  if (!pictures) return;
  mkdirSync(pictures, { recursive: true });
  const { width, height } = page.viewportSize();
  const needed = await page.evaluate(() => document.documentElement.scrollHeight);
  if (whole) await page.setViewportSize({ width, height: Math.max(height, needed) });
  await page.waitForTimeout(300);
  await page.screenshot({ path: join(pictures, `${name}.png`) });
  await page.setViewportSize({ width, height });
}

// Chats follow one another, as they share a stage; the gallery is looked at meanwhile.
const lines = { chat: Promise.resolve(), gallery: Promise.resolve() };

function scenario(line, name, work) {
  lines[line] = lines[line].then(async () => {
    const begun = Date.now();
    await work();
    done.push(name);
    console.log(`ok: ${name} (${Date.now() - begun} ms)`);
  });
}

async function close(page) {
  assert.deepEqual(page.problems, []);
  await page.context().close();
}

// What a host with canned answers does: `tasks` are those that there are, `changes` follow one another for get_task.
function canned(first, { tasks = [first], changes = [], input = { prompt: first.prompt } } = {}) {
  const tools = {
    get_task: ({ task_id }) =>
      toolResult(changes.length ? changes.shift() : tasks.find((one) => one.task_id === task_id)),
    list_tasks: () => toolResult({ tasks: tasks.map(rowOf), next_cursor: "" }),
    save_video: ({ task_id }) =>
      toolResult({ ...tasks.find((one) => one.task_id === task_id), video_path: "/home/ann/Videos/luma/saved.mp4" }),
    read_video_bytes: ({ offset }) =>
      toolResult({
        bytes: clip.subarray(offset, offset + 3000).toString("base64"),
        offset,
        byte_count: Math.min(3000, clip.length - offset),
        total_bytes: clip.length,
        has_more: offset + 3000 < clip.length,
        mime_type: "video/mp4",
      }),
  };
  return {
    start: async () => ({ page: PAGE, input, result: first && toolResult(first) }),
    tool: async ({ name, arguments: given }) => tools[name](given),
  };
}

// The gallery's policy forbids what `waitForFunction` does inside a page.
async function isPlaying(frame) {
  const plays = () =>
    document.getElementById("screen").classList.contains("two") && document.getElementById("after").currentTime > 0.1;
  for (let tries = 0; tries < 100; tries++) {
    if (await frame.evaluate(plays)) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert.fail(`The videos do not play: ${await textOf(frame, "player-note")}`);
}

// -- the page in a chat -------------------------------------------------------------------------------------------------

const videos = join(home, "Videos");
const env = {
  ...process.env,
  HOME: home,
  BROWSER: "true", // a program that opens nothing
  LUMA_MCP_SANDBOX: "true",
  LUMA_MCP_MEDIA_ROOTS: videos,
  LUMA_MCP_OUTPUT_DIR: join(home, "out"),
};

async function liveServer() {
  mkdirSync(videos, { recursive: true });
  copyFileSync(about.clip, join(videos, "walk.mp4"));
  const client = new Client({ name: "host", version: "1" }, { capabilities: APPS });
  await client.connect(new StdioClientTransport({ command, env, stderr: "ignore" }));
  const { tools } = await client.listTools();
  const modify = tools.find(({ name }) => name === "modify_video");
  const input = { prompt: "a foggy autumn morning", source_video_url: join(videos, "walk.mp4"), wait_seconds: 0 };
  const { contents } = await client.readResource({ uri: modify._meta.ui.resourceUri });
  const result = await client.callTool({ name: "modify_video", arguments: input });
  return { client, begun: { page: contents[0], input, result } };
}

const live = await liveServer(); // its task is looked at last: it takes a while

scenario("chat", "state and progress follow the task, and asking stops at its end and at the teardown", async () => {
  const { page, frame } = await openChat(
    canned(TASKS.processing, {
      changes: [
        { ...TASKS.processing, elapsed_seconds: 44 },
        { ...TASKS.finished, task_id: "task-4" },
      ],
    }),
  );
  await waitForText(frame, "state", "Luma is working on it, for 41 s");
  assert(await frame.locator("#progress").isVisible());
  await picture(page, "app-processing");
  await checkAccessible(frame, "processing");
  await waitForText(frame, "state", "Finished");
  assert(!(await frame.locator("#progress").isVisible()));
  const asked = (await askedFor(page)).filter(([what, { name } = {}]) => what === "tool" && name === "get_task").length;
  assert.equal(asked, 2);
  assert.deepEqual(await page.evaluate(() => window.bridge.teardownResource({})), {});
  assert.equal(await frame.evaluate(() => document.getElementById("after").getAttribute("src")), null);
  await close(page);
});

scenario("chat", "a slider, versions as a strip, and what the person asks of the host", async () => {
  const { page, frame } = await openChat(canned(TASKS.finished, { tasks: [TASKS.finished, TASKS.second, TASKS.snow] }));
  await isPlaying(frame);
  await frame.locator("#wipe").focus();
  await page.keyboard.press("Home");
  assert.equal(
    await frame.evaluate(() => getComputedStyle(document.getElementById("after")).clipPath),
    "inset(0px 0px 0px 0%)",
  );
  await frame.locator("#strip button").nth(2).waitFor();
  assert.equal(await frame.locator("#strip button[aria-pressed=true]").count(), 1);
  await frame.locator("#open").click();
  await frame.locator("#download").click();
  await frame.locator("#change").fill("more rain");
  await page.keyboard.press("Enter");
  await waitForText(frame, "again-note", "Asked in the chat.");
  await frame.locator("#fullscreen").click();
  await waitForText(frame, "fullscreen", "Leave full screen");
  const asked = Object.fromEntries((await askedFor(page)).filter(([what]) => what !== "size"));
  assert.deepEqual(asked.open, { url: LINK });
  assert.equal(asked.download.contents[0].uri, LINK);
  assert.match(asked.message.content[0].text, /luma:\/\/tasks\/task-1": more rain$/);
  assert.match(asked.context.content[0].text, /task-1/);
  assert.deepEqual(asked.mode, { mode: "fullscreen" });
  await picture(page, "app-finished");
  await checkAccessible(frame, "finished");
  await frame.locator("#strip button", { hasText: "lanterns" }).click();
  await waitForText(frame, "prompt", "deep snow");
  await frame
    .locator("#compare-with")
    .selectOption({ label: "a foggy autumn morning; keep the people as they are (take 2)" });
  await waitForText(frame, "before-name", "take 2");
  await isPlaying(frame);
  await close(page);
});

scenario("chat", "what the host's theme, size and means allow", async () => {
  const dark = { dark: true, viewport: NARROW, reduced: true };
  const { page, frame } = await openChat(
    canned(TASKS.finished, { tasks: [TASKS.finished, TASKS.second] }),
    { context: { theme: "dark", styles: { variables: { "--font-sans": "serif" } }, locale: "de-DE" } },
    dark,
  );
  await frame.waitForFunction(() => document.getElementById("screen").classList.contains("two"));
  assert.equal(await frame.evaluate(() => getComputedStyle(document.body).colorScheme), "dark");
  assert(await frame.evaluate(() => document.getElementById("after").paused));
  assert(await frame.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
  assert.match(await textOf(frame, "facts"), /\d\d\.\d\d\.\d{4}/);
  const sizes = (await askedFor(page)).filter(([what]) => what === "size");
  assert(sizes.at(-1)[1] > 300);
  await picture(page, "app-dark-narrow");
  await checkAccessible(frame, "dark");
  await close(page);
  const bare = await openChat(canned(TASKS.finished), { bare: true });
  await waitForText(bare.frame, "state", "Finished");
  for (const id of ["open", "download", "again"]) assert(!(await bare.frame.locator(`#${id}`).isVisible()), id);
  await close(bare.page);
});

const STATES = {
  failed: [/Failed/, /shows no motion.*Nothing was charged/s],
  unconfirmed: [/Nobody knows yet/, /Whether it was charged is not known.*cannot be charged twice/s],
  expired: [/its video is gone/, /keeps videos for seven days/],
};

scenario("chat", "failed, unconfirmed, expired, unsaved and odd tasks have words", async () => {
  for (const [name, [state, failure]] of Object.entries(STATES)) {
    const { page, frame } = await openChat(canned(TASKS[name]), {}, { viewport: NARROW });
    await frame.locator("#failure").waitFor();
    assert.match(await textOf(frame, "state"), state);
    assert.match(await textOf(frame, "failure"), failure);
    assert(!(await frame.locator("#player").isVisible()));
    await picture(page, `app-${name}`);
    await checkAccessible(frame, name);
    await close(page);
  }
  const unsaved = await openChat(canned(TASKS.unsaved));
  await waitForText(unsaved.frame, "player-note", "save or open it");
  assert(!(await unsaved.frame.locator("#screen").isVisible()));
  await picture(unsaved.page, "app-unsaved");
  await unsaved.frame.locator("#save").click();
  await waitForText(unsaved.frame, "action-note", "Saved as /home/ann/Videos/luma/saved.mp4");
  await waitForText(unsaved.frame, "player-note", "The source lies elsewhere");
  await close(unsaved.page);
  const error = {
    error: {
      code: "missing_api_key",
      message: "No RunAPI key is configured.",
      charged: "no",
      hint: "Type luma-mcp login.",
    },
  };
  const nothing = await openChat({
    ...canned(TASKS.finished),
    start: async () => ({ page: PAGE, result: toolResult(error) }),
  });
  await waitForText(nothing.frame, "failure", "luma-mcp login");
  await close(nothing.page);
});

async function checkWholePrompt(frame) {
  const height = () => frame.locator("#prompt").evaluate((heading) => heading.clientHeight);
  const short = await height();
  await frame.locator("#whole-prompt").click();
  assert((await height()) > 3 * short);
}

scenario("chat", "prompts of any kind stay text", async () => {
  for (const [name, prompt] of Object.entries({ long: LONG, rtl: RTL, markup: MARKUP })) {
    const { page, frame } = await openChat(
      canned(TASKS[name], { tasks: [TASKS[name], TASKS.second, TASKS.rtl, TASKS.long] }),
      {},
      { viewport: NARROW },
    );
    await frame.locator("#strip button").nth(2).waitFor();
    assert.equal(await frame.evaluate(() => document.getElementById("prompt").textContent), prompt);
    assert.equal(await frame.evaluate(() => parent.hacked), undefined);
    assert(await frame.evaluate(() => document.documentElement.scrollWidth <= innerWidth), name);
    await picture(page, `app-${name}`);
    await checkAccessible(frame, name);
    if (name === "long") await checkWholePrompt(frame);
    await close(page);
  }
});

scenario("chat", "a server that does not answer is told, and asked again", async () => {
  const flaky = canned(TASKS.processing, { changes: [{ ...TASKS.finished, task_id: "task-4" }] });
  let failures = 1;
  const tool = async (given) => {
    if (given.name === "get_task" && failures-- > 0) throw new Error("no connection");
    return flaky.tool(given);
  };
  const { page, frame } = await openChat({ ...flaky, tool });
  await waitForText(frame, "notice", "does not answer");
  await waitForText(frame, "state", "Finished");
  assert.equal(await textOf(frame, "notice"), "");
  await close(page);
});

scenario("chat", "around the installed server: a local clip and its result, in step", async () => {
  const { page, frame } = await openChat({
    start: async () => live.begun,
    tool: (given) => live.client.callTool(given),
  });
  await waitForText(frame, "state", "Finished");
  await isPlaying(frame);
  assert.equal(await frame.evaluate(() => document.getElementById("before").src.slice(0, 5)), "data:");
  assert.match(await textOf(frame, "facts"), /Sandbox: nothing was charged/);
  const apart = await frame.evaluate(() =>
    Math.abs(document.getElementById("before").currentTime - document.getElementById("after").currentTime),
  );
  assert(apart < 0.5, `The videos are ${apart} s apart.`);
  const names = new Set((await askedFor(page)).filter(([what]) => what === "tool").map(([, { name }]) => name));
  assert(names.has("read_video_bytes") && !names.has("modify_video"));
  await picture(page, "app-live");
  await close(page);
  await live.client.close();
});

// Starts the installed gallery, and gives its address and how to end it.
async function installedGallery() {
  const server = spawn(command, ["gallery"], { env });
  const address = new Promise((resolve, reject) => {
    let said = "";
    const hear = (more) => {
      said += more;
      const found = /http:\/\/\S+#token=\S+/.exec(said);
      if (found) resolve(found[0]);
    };
    server.stdout.on("data", hear);
    server.stderr.on("data", hear);
    server.on("exit", () => reject(new Error(said)));
  });
  return { url: await address, end: () => server.kill("SIGTERM") };
}

scenario(
  "chat",
  "the installed gallery shows what was made in the chat, and plays both clips from the disk",
  async () => {
    if (spawnSync(command, ["gallery", "--help"], { env }).status) return console.log("skipped: it has no gallery yet");
    const server = await installedGallery();
    const page = await open(server.url);
    await page.locator("#cards .card").first().click();
    await waitForText(page, "prompt", "a foggy autumn morning");
    await isPlaying(page);
    assert(!page.url().includes("token"));
    const [saved] = await Promise.all([page.waitForEvent("download"), page.locator("#download").click()]);
    assert.match(saved.suggestedFilename(), /a-foggy-autumn-morning.*\.mp4$/);
    await picture(page, "gallery-installed");
    await checkAccessible(page, "installed gallery");
    await close(page);
    server.end();
  },
);

// -- clips of people who are elsewhere ------------------------------------------------------------------------------------

const TOKEN = "ann-0123456789abcdef";

// Starts the installed server on a port, under which it gives addresses for uploads, and a client of it.
async function serverForUploads() {
  const { port, close: free } = await listen(async () => {});
  free();
  const url = `http://127.0.0.1:${port}`;
  const settings = { LUMA_MCP_AUTH_TOKENS: `ann:${TOKEN}`, LUMA_MCP_PUBLIC_URL: url, LUMA_MCP_DATA_DIR: join(home, "http") };
  const server = spawn(command, ["--transport", "http", "--port", String(port)], { env: { ...env, ...settings } });
  await new Promise((resolve, reject) => {
    server.stderr.on("data", (said) => String(said).includes("http://") && resolve());
    server.on("exit", () => reject(new Error("The server ended.")));
  });
  const client = new Client({ name: "uploads", version: "1" });
  const requestInit = { headers: { Authorization: `Bearer ${TOKEN}` } };
  await client.connect(new StreamableHTTPClientTransport(new URL(`${url}/mcp`), { requestInit }));
  const call = async (name, given) => (await client.callTool({ name, arguments: given })).structuredContent;
  return { url, call, end: async () => (await client.close(), server.kill("SIGTERM")) };
}

async function upload(page, name, content) {
  await page.locator("#clip").setInputFiles({ name, mimeType: "video/mp4", buffer: content });
  await page.locator("#upload button.primary").click();
}

scenario("gallery", "a clip is sent on the page that its address shows, and by the gallery's form", async () => {
  const server = await serverForUploads();
  const { upload_url, source_video_url } = await server.call("request_upload", {});
  const page = await open(upload_url, { viewport: NARROW });
  await upload(page, "notes.mp4", Buffer.from("no video at all, but a text"));
  await waitForText(page, "upload-note", "The address is not used up");
  await upload(page, "walk.mp4", clip);
  await waitForText(page, "upload-note", "The clip has arrived.");
  assert.equal(await page.locator("#source").inputValue(), source_video_url);
  assert(await page.locator("#upload button.primary").isDisabled(), "an address takes one clip");
  await picture(page, "upload");
  await checkAccessible(page, "upload");
  await close(page);
  const made = await server.call("modify_video", { prompt: "fog", source_video_url, wait_seconds: 40 });
  assert.equal(made.status, "completed");

  const gallery = await open(`${server.url}/#token=${TOKEN}`);
  await gallery.locator("#cards .card").first().waitFor();
  await upload(gallery, "walk.mp4", clip);
  await waitForText(gallery, "upload-note", "The clip has arrived.");
  const named = await gallery.locator("#source").inputValue();
  assert.match(named, /^luma:\/\/uploads\//);
  await checkAccessible(gallery, "gallery with uploads");
  await close(gallery);
  const joined = await server.call("modify_video", { prompt: "fog", source_video_url: named });
  assert.deepEqual([joined.task_id, joined.joined], [made.task_id, true], "the same content is the same request");
  const gone = await open(upload_url);
  assert.match(await gone.locator("body").innerText(), /used|expired/);
  await close(gone);
  await server.end();
});

// -- the page as a gallery ----------------------------------------------------------------------------------------------

function galleryServer(tasks, { token = "" } = {}) {
  let known = !token;
  const seen = [];
  const select = (query) => {
    const words = query.get("words").toLowerCase();
    const fitting = tasks.filter(
      (one) => one.prompt.toLowerCase().includes(words) && [one.status, ""].includes(query.get("status")),
    );
    const begin = Number(query.get("cursor"));
    const end = begin + Number(query.get("limit"));
    return {
      tasks: fitting.slice(begin, end),
      next_cursor: end < fitting.length ? String(end) : "",
      spent_month_usd: 12.5,
    };
  };
  const server = listen(async (request, response) => {
    const { pathname, searchParams } = new URL(request.url, "http://x");
    const [, what, id, more] = /^\/gallery\/api\/(\w+)(?:\/([^/]+))?(?:\/(\w+))?$/.exec(pathname) ?? [];
    seen.push(`${request.method} ${pathname}`);
    if (pathname === "/")
      return response
        .writeHead(200, { "content-type": "text/html; charset=utf-8", "content-security-policy": about.policy })
        .end(about.gallery);
    if (pathname === "/gallery/session") {
      known = (await bodyOf(request)).token === token;
      return response.writeHead(known ? 204 : 401).end();
    }
    if (!known) return sendJson(response, { error: { message: "a token is needed" } }, 401);
    const found = tasks.find((one) => one.task_id === id);
    if (what === "account") return sendJson(response, { balance_usd: 30.25, next_step: "" });
    if (what === "tasks" && !id) return sendJson(response, select(searchParams));
    if (!found) return sendJson(response, { error: { message: "There is no such task." } }, 404);
    if (what === "videos" && id === "many-1" && more === "source")
      return sendJson(response, { error: { message: "walk.mp4 is outside the folders." } }, 404);
    if (what === "videos") return sendVideo(request, response, clip);
    return sendJson(response, more === "save" ? { ...found, video_path: "/home/ann/Videos/luma/saved.mp4" } : found);
  });
  return server.then((opened) => ({ ...opened, seen, url: `http://127.0.0.1:${opened.port}/` }));
}

scenario(
  "gallery",
  "two hundred tasks: filtered, searched, one opened, compared with any other, repeated",
  async () => {
    const server = await galleryServer(manyTasks(200));
    const page = await open(server.url);
    await page.locator("#cards .card").nth(49).waitFor();
    await waitForText(page, "money", "Sandbox, play money · Spent this month: 12.50 USD · Balance: 30.25 USD");
    await page.locator("#more").click();
    await waitForText(page, "list-note", "The newest 100 tasks");
    await page.evaluate(() => scrollTo(0, 0));
    await picture(page, "gallery-light-wide", { whole: false });
    await checkAccessible(page, "gallery");
    await page.locator("#status-filter").selectOption("failed");
    await waitForText(page, "list-note", /^1\d tasks/);
    await page.locator("#words").fill("nothing has this");
    await waitForText(page, "list-note", "No task matches");
    await page.locator("#status-filter").selectOption("");
    await page.locator("#words").fill("lanterns");
    await waitForText(page, "list-note", /^1\d tasks/);
    await page.locator("#cards .card").first().focus();
    await page.keyboard.press("Enter");
    await isPlaying(page);
    assert.equal(await page.evaluate(() => document.activeElement.id), "prompt");
    await page.locator("#compare-with").selectOption({ index: 3 });
    await isPlaying(page);
    assert.match(
      await page.locator("#command").inputValue(),
      /^luma-mcp modify '\/home\/ann\/Videos\/walk.mp4' --prompt='deep snow at night, lanterns' --take \d+$/,
    );
    await page.locator("#repeat button").click();
    await page
      .locator("#repeat-note")
      .filter({ hasText: /Copied|selected/ })
      .waitFor();
    await picture(page, "gallery-task");
    await checkAccessible(page, "gallery task");
    await page.locator("#back").click();
    await page.locator("#list").waitFor();
    assert(server.seen.every((one) => !one.includes("modify")));
    await close(page);
    server.close();
  },
);

scenario("gallery", "the gallery in the dark, on a phone, empty, and with a token", async () => {
  const many = await galleryServer(manyTasks(30));
  const small = await open(many.url, { viewport: NARROW, dark: true });
  await small.locator("#cards .card").nth(29).waitFor();
  assert(await small.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
  await picture(small, "gallery-dark-narrow", { whole: false });
  await checkAccessible(small, "gallery dark");
  await close(small);
  const wide = await open(many.url, { dark: true });
  await wide.locator("#cards .card").nth(29).waitFor();
  await picture(wide, "gallery-dark-wide", { whole: false });
  await close(wide);
  many.close();
  const none = await galleryServer([]);
  const empty = await open(none.url);
  await waitForText(empty, "list-note", "No videos yet");
  await picture(empty, "gallery-empty");
  await checkAccessible(empty, "gallery empty");
  await close(empty);
  none.close();
});

scenario("gallery", "a source that cannot be read is missed with the server's words", async () => {
  const server = await galleryServer(manyTasks(3));
  const page = await open(`${server.url}#task=many-1`);
  await waitForText(page, "player-note", "Only the result is shown. walk.mp4 is outside the folders.");
  await waitForText(page, "money", /^Spent this month/); // none of these three is of the sandbox
  await close(page);
  server.close();
});

scenario("gallery", "a token comes by the address, which forgets it, or is typed", async () => {
  const server = await galleryServer([TASKS.finished], { token: "one-time" });
  const page = await open(server.url);
  await page.locator("#token").waitFor();
  await page.locator("#token").fill("wrong");
  await page.keyboard.press("Enter");
  await waitForText(page, "sign-in-problem", "does not know that token");
  await picture(page, "gallery-sign-in");
  await checkAccessible(page, "sign in");
  await page.goto("about:blank");
  await page.goto(`${server.url}#token=one-time`);
  await page.locator("#cards .card").first().waitFor();
  assert(!page.url().includes("one-time"));
  await close(page);
  server.close();
});

await Promise.all(Object.values(lines));
await browser.close();
for (const server of [proxy, host]) server.close();
console.log(`The page was looked at in ${done.length} ways.`);
process.exit(0);
