// Servers on loopback that the browser is shown: a chat with a sandboxed frame, and a gallery.

import http from "node:http";

const HTML = { "content-type": "text/html; charset=utf-8" };

// The proxy document of the specification: it writes the page into an inner frame, and passes messages on.
const PROXY = `<!doctype html><style>html,body{margin:0;height:100%}iframe{border:0;width:100%;height:100%;display:block}</style><script>
const inner = document.createElement("iframe");
inner.setAttribute("sandbox", "allow-scripts allow-same-origin allow-forms");
document.documentElement.append(inner);
addEventListener("message", (event) => {
  if (event.source !== parent) return event.source === inner.contentWindow && parent.postMessage(event.data, "*");
  if (event.data?.method !== "ui/notifications/sandbox-resource-ready") return inner.contentWindow.postMessage(event.data, "*");
  inner.contentDocument.open();
  inner.contentDocument.write(event.data.params.html);
  inner.contentDocument.close();
});
parent.postMessage({ jsonrpc: "2.0", method: "ui/notifications/sandbox-proxy-ready", params: {} }, "*");
</script>`;

export function listen(answer) {
  const server = http.createServer((request, response) => {
    answer(request, response).catch((error) => response.writeHead(500).end(String(error)));
  });
  return new Promise((resolve) => {
    server.listen(0, "127.0.0.1", () =>
      resolve({ port: server.address().port, close: () => server.closeAllConnections() ?? server.close() }),
    );
  });
}

export async function bodyOf(request) {
  let text = "";
  for await (const piece of request) text += piece;
  return JSON.parse(text || "{}");
}

export function sendJson(response, value, status = 200) {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
}

// The policy that the specification derives from what a resource declares.
function policyOf(csp) {
  const resources = (csp?.resourceDomains ?? []).join(" ");
  const connections = (csp?.connectDomains ?? []).join(" ") || "'none'";
  return [
    "default-src 'none'",
    `script-src 'self' 'unsafe-inline' ${resources}`,
    `style-src 'self' 'unsafe-inline' ${resources}`,
    `connect-src ${connections}`,
    `img-src 'self' data: ${resources}`,
    `font-src 'self' ${resources}`,
    `media-src 'self' data: ${resources}`,
    "frame-src 'self'",
    "object-src 'none'",
    "base-uri 'self'",
  ].join("; ");
}

export function sandboxProxy() {
  return listen(async (request, response) => {
    const csp = JSON.parse(new URL(request.url, "http://x").searchParams.get("csp"));
    response.writeHead(200, { ...HTML, "content-security-policy": policyOf(csp) }).end(PROXY);
  });
}

// The chat; `stage.start()` gives the page and the first result, `stage.tool(params)` answers tools.
export function chat(script, stage) {
  return listen(async (request, response) => {
    try {
      if (request.url === "/start") return sendJson(response, await stage.current.start());
      if (request.url === "/tools") return sendJson(response, await stage.current.tool(await bodyOf(request)));
    } catch (error) {
      return sendJson(response, { failed: String(error.message ?? error) });
    }
    if (request.url === "/host.js") return response.writeHead(200, { "content-type": "text/javascript" }).end(script);
    const page =
      '<!doctype html><html lang="en"><title>A chat</title><body style="margin:0"><script type="module" src="/host.js"></script>';
    return response.writeHead(200, HTML).end(page);
  });
}

export function sendVideo(request, response, bytes) {
  const range = /bytes=(\d+)-(\d*)/.exec(request.headers.range ?? "");
  const headers = { "content-type": "video/mp4", "accept-ranges": "bytes" };
  if (!range) return response.writeHead(200, headers).end(bytes);
  const end = range[2] ? Math.min(Number(range[2]), bytes.length - 1) : bytes.length - 1;
  headers["content-range"] = `bytes ${range[1]}-${end}/${bytes.length}`;
  return response.writeHead(206, headers).end(bytes.subarray(Number(range[1]), end + 1));
}
