// A chat as the page sees it: the official host bridge around it, in the browser. What the page asks for is noted in
// `window.asked`; tools are called by `POST /tools`, which the driver answers from a real server or from a fixture.

import { AppBridge, PostMessageTransport } from "@modelcontextprotocol/ext-apps/app-bridge";

const asked = (window.asked = []);
const options = JSON.parse(new URLSearchParams(location.search).get("options"));
const capabilities = {
  openLinks: {},
  downloadFile: {},
  serverTools: {},
  updateModelContext: { text: {} },
  message: { text: {} },
};

async function ask(path, body) {
  const answer = await fetch(path, { method: "POST", body: JSON.stringify(body) });
  const told = await answer.json();
  if (told.failed) throw new Error(told.failed);
  return told;
}

// The frame in a frame of another origin that the specification wants, under the CSP that the resource declares.
async function openFrame(csp) {
  const frame = document.createElement("iframe");
  frame.setAttribute("sandbox", "allow-scripts allow-same-origin allow-forms");
  frame.style.cssText = "border: 0; width: 100%; height: 300px";
  const ready = new Promise((resolve) => {
    addEventListener("message", (event) => {
      if (event.source === frame.contentWindow && event.data?.method === "ui/notifications/sandbox-proxy-ready")
        resolve();
    });
  });
  frame.src = `${options.sandbox}?csp=${encodeURIComponent(JSON.stringify(csp))}`;
  document.body.append(frame);
  await ready;
  return frame;
}

function answerPage(bridge, frame) {
  const note = (what, answer) => async (params) => {
    asked.push([what, params]);
    return answer?.(params) ?? {};
  };
  bridge.oncalltool = note("tool", (params) => ask("/tools", params));
  bridge.onmessage = note("message");
  bridge.onopenlink = note("open");
  bridge.ondownloadfile = note("download");
  bridge.onupdatemodelcontext = note("context");
  bridge.onrequestdisplaymode = note("mode", ({ mode }) => ({ mode }));
  bridge.onsizechange = ({ height }) => {
    asked.push(["size", height]);
    frame.style.height = `${height}px`;
  };
}

async function start() {
  const { page, result, input } = await ask("/start", {});
  document.documentElement.style.background = options.context.theme === "dark" ? "#171717" : "#ffffff";
  const frame = await openFrame(page._meta.ui.csp);
  const bridge = new AppBridge(null, { name: "host", version: "1" }, options.bare ? {} : capabilities, {
    hostContext: { displayMode: "inline", availableDisplayModes: ["inline", "fullscreen"], ...options.context },
  });
  answerPage(bridge, frame);
  const initialized = new Promise((resolve) => (bridge.oninitialized = resolve));
  await bridge.connect(new PostMessageTransport(frame.contentWindow, frame.contentWindow));
  await bridge.sendSandboxResourceReady({ html: page.text, csp: page._meta.ui.csp });
  await initialized;
  if (input) await bridge.sendToolInput({ arguments: input });
  if (result) await bridge.sendToolResult(result);
  window.bridge = bridge;
}

start().catch((error) => asked.push(["failed", String(error)]));
