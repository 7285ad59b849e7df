// The page, in a chat (MCP App) and in a browser (gallery). Whatever came from a task is put in as text, never as HTML,
// and the page never spends: it calls no tool that costs money.
//
// Sections: words · small tools · the chat's host · surroundings · the task · before and after · versions · actions ·
// all tasks · start.
(() => {
  "use strict";

  const FACE = document.body.dataset.face;
  const SANDBOX_HOST = "runapi.sandbox.invalid";
  const RESULT_HOST = /(^|\.)runapi\.ai$/; // as the page's CSP has it
  const MAX_BYTES_IN_CHAT = 64e6; // of a video that is read piece by piece
  const TAKES_LOOKED_AT = 20;
  const POLL_SECONDS = [3, 3, 3, 3, 5, 5, 5, 5, 10]; // the last one goes on
  const SAVING_SECONDS = 60; // after its end, a task without a file may still be getting one
  const PAGE_SIZE = 50;
  const JSON_BODY = { "Content-Type": "application/json" };

  // -- words -----------------------------------------------------------------------------------------------------------

  const STATES = {
    submitting: "Being submitted",
    pending: "Waiting at RunAPI",
    processing: "Luma is working on it",
    completed: "Finished",
    failed: "Failed",
    unconfirmed: "Nobody knows yet whether RunAPI took it",
  };
  const SHORT_STATES = { ...STATES, pending: "Waiting", processing: "Running", unconfirmed: "Unconfirmed" };
  const CHARGES = {
    no: "Nothing was charged.",
    yes: "It was charged.",
    unknown: "Whether it was charged is not known.",
  };
  const SANDBOX_WORDS = "Sandbox: nothing was charged, and the video is a stand-in.";
  const TONES = { completed: "good", failed: "bad", unconfirmed: "bad" };

  let locale;

  function useLocale(name) {
    try {
      locale = Intl.getCanonicalLocales(name)[0];
    } catch {
      locale = undefined; // what the host calls a locale is none
    }
  }

  function dateWords(timestamp, dateStyle = "medium") {
    const date = new Date(timestamp);
    return isNaN(date) ? "" : date.toLocaleString(locale, { dateStyle, timeStyle: "short" });
  }

  function durationWords(seconds) {
    const whole = Math.max(0, Math.round(seconds));
    return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
  }

  const money = (usd) => `${usd.toFixed(2)} USD`;
  const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;

  function isExpired(task) {
    return Boolean(task.expires_at) && new Date(task.expires_at) <= Date.now();
  }

  function stateWords(task) {
    if (task.status === "completed" && isGone(task)) return "Finished, and its video is gone";
    const elapsed =
      task.done || task.status === "unconfirmed" ? "" : `, for ${durationWords(task.elapsed_seconds ?? 0)}`;
    return `${STATES[task.status] ?? "Unknown state"}${elapsed}`;
  }

  function isGone(task) {
    return task.status === "completed" && !task.video_path && (isExpired(task) || !task.video_urls?.length);
  }

  function factsWords(task) {
    const running =
      task.done || task.status === "unconfirmed"
        ? ""
        : "Most take 30 to 120 seconds, some 20 minutes. You can go on chatting.";
    const until =
      task.expires_at && !task.video_path && !isGone(task) ? `link until ${dateWords(task.expires_at)}` : "";
    const parts = [
      task.created_at && dateWords(task.created_at),
      task.take > 1 && `take ${task.take}`,
      task.cost_usd !== undefined && !isSandbox(task) && money(task.cost_usd),
      task.finished_at && `took ${durationWords(task.elapsed_seconds)}`,
      until,
      task.video_path && `saved as ${task.video_path}`,
    ];
    const sentence = parts.filter(Boolean).join(" · ");
    return [sentence, isSandbox(task) && SANDBOX_WORDS, running].filter(Boolean).join(" · ");
  }

  // -- small tools -----------------------------------------------------------------------------------------------------

  const $ = (id) => document.getElementById(id);
  const wait = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

  function show(element, shown) {
    element.hidden = !shown;
  }

  function say(id, words) {
    if ($(id).textContent !== words) $(id).textContent = words; // what is the same is not read out again
  }

  // Makes an element; children are elements or text, and text stays text.
  function make(tag, properties = {}, ...children) {
    const { data = {}, ...plain } = properties;
    const element = Object.assign(document.createElement(tag), plain);
    Object.assign(element.dataset, data);
    element.append(...children);
    return element;
  }

  function parsedUrl(text) {
    try {
      return new URL(text);
    } catch {
      return null;
    }
  }

  const isWeb = (text) => ["http:", "https:"].includes(parsedUrl(text)?.protocol);
  const isSandbox = (task) => (task.video_urls ?? []).some((url) => parsedUrl(url)?.hostname === SANDBOX_HOST);

  function earlierTask(task) {
    const found = /^luma:\/\/tasks\/([^/?#]+)$/i.exec(task.source_video_url ?? "");
    try {
      return found && decodeURIComponent(found[1]);
    } catch {
      return null;
    }
  }

  // The link to a result, if it still works and leads where this page may load videos from.
  function playableLink(task) {
    const links = isExpired(task) ? [] : (task.video_urls ?? []);
    return links.find((link) => isLoadable(link)) ?? null;
  }

  function isLoadable(link) {
    const url = parsedUrl(link);
    return url?.protocol === "https:" && RESULT_HOST.test(url.hostname);
  }

  function openableLink(task) {
    const links = isExpired(task) || isSandbox(task) ? [] : (task.video_urls ?? []);
    return links.find(isWeb) ?? null;
  }

  // -- the chat's host: JSON-RPC by postMessage (MCP Apps, 2026-01-26) ---------------------------------------------------

  const host = { context: {}, capabilities: {}, answers: new Map(), lastId: 0, closed: false, size: "" };

  const HOST_NEWS = {
    "ui/notifications/tool-input": ({ arguments: given }) => showIntention(given),
    "ui/notifications/tool-input-partial": ({ arguments: given }) => showIntention(given),
    "ui/notifications/tool-result": (result) => takeToolResult(result),
    "ui/notifications/tool-cancelled": () => showCancelled(),
    "ui/notifications/host-context-changed": (changed) => useContext(changed),
  };
  const HOST_REQUESTS = {
    ping: () => ({}),
    "ui/resource-teardown": () => {
      closePage();
      return {};
    },
  };

  const post = (message) => parent.postMessage({ jsonrpc: "2.0", ...message }, "*");
  const notify = (method, params = {}) => post({ method, params });

  function request(method, params) {
    return new Promise((resolve, reject) => {
      const id = ++host.lastId;
      host.answers.set(id, { resolve, reject });
      post({ id, method, params });
    });
  }

  function receive(event) {
    const message = event.data;
    if (event.source !== parent || message?.jsonrpc !== "2.0") return;
    if (!message.method) settleAnswer(message);
    else if (message.id === undefined) hearHost(message);
    else answerHost(message);
  }

  function hearHost({ method, params = {} }) {
    if (Object.hasOwn(HOST_NEWS, method)) HOST_NEWS[method](params);
  }

  function settleAnswer({ id, result, error }) {
    const waiting = host.answers.get(id);
    host.answers.delete(id);
    if (error) waiting?.reject(new Error(error.message || "The host refused."));
    else waiting?.resolve(result ?? {});
  }

  function answerHost({ id, method, params }) {
    const handler = Object.hasOwn(HOST_REQUESTS, method) && HOST_REQUESTS[method];
    if (handler) post({ id, result: handler(params) });
    else post({ id, error: { code: -32601, message: `This page has no ${method}.` } });
  }

  function useContext(changed = {}) {
    Object.assign(host.context, changed);
    const root = document.documentElement;
    const { theme, styles, displayMode, safeAreaInsets, containerDimensions } = host.context;
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
    for (const [name, value] of Object.entries(styles?.variables ?? {})) {
      if (name.startsWith("--") && typeof value === "string") root.style.setProperty(name, value);
    }
    for (const side of ["top", "right", "bottom", "left"]) {
      root.style.setProperty(`--safe-${side}`, `${Number(safeAreaInsets?.[side]) || 0}px`);
    }
    if (containerDimensions?.maxHeight > 300)
      $("player").style.setProperty("--room", `${containerDimensions.maxHeight - 160}px`);
    if (host.context.locale) useLocale(host.context.locale);
    document.body.dataset.mode = displayMode ?? "inline";
    showFullscreenButton();
  }

  function reportSize() {
    if (host.closed) return;
    const root = document.documentElement;
    const size = {
      width: Math.ceil(root.scrollWidth),
      height: Math.ceil(document.body.getBoundingClientRect().height),
    };
    if (host.size === JSON.stringify(size)) return;
    host.size = JSON.stringify(size);
    notify("ui/notifications/size-changed", size);
  }

  async function connectToHost() {
    addEventListener("message", receive);
    const answer = await request("ui/initialize", {
      protocolVersion: "2026-01-26",
      appInfo: { name: "luma-task", version: "1" },
      appCapabilities: { availableDisplayModes: ["inline", "fullscreen"] },
    });
    host.capabilities = answer.hostCapabilities ?? {};
    useContext(answer.hostContext);
    notify("ui/notifications/initialized");
    new ResizeObserver(() => requestAnimationFrame(reportSize)).observe(document.body);
  }

  // -- surroundings: what the page can ask of the chat, or of the gallery's server ---------------------------------------

  // `sources` gives functions that each try to give the address of a video, best first.
  const appSurroundings = {
    can(what) {
      const { openLinks, downloadFile, message, serverTools } = host.capabilities;
      return Boolean({ open: openLinks, download: downloadFile, message, save: serverTools, ask: serverTools }[what]);
    },

    async call(tool, given) {
      return resultObject(await request("tools/call", { name: tool, arguments: given }));
    },

    sources(task, which) {
      const link = which === "result" ? playableLink(task) : isLoadable(task.source_video_url) && task.source_video_url;
      const local = which === "result" ? task.video_path : !isWeb(task.source_video_url) && !earlierTask(task);
      return [link && (async () => link), local && ((job) => videoByPieces(task, which, job))].filter(Boolean);
    },

    async task(id) {
      return this.call("get_task", { task_id: id, wait_seconds: 0 });
    },

    async takesOf(task) {
      const { tasks = [] } = await this.call("list_tasks", { status: "completed", limit: TAKES_LOOKED_AT });
      const found = [];
      for (const row of tasks) {
        if (host.closed) break;
        if (row.task_id) found.push(row.task_id === task.task_id ? task : await this.knownTask(row));
      }
      return found;
    },

    // What has ended changes in nothing but its file.
    async knownTask({ task_id: id, video_path: path }) {
      const known = view.known.get(id);
      if (known && known.video_path === path) return known;
      const task = await this.task(id);
      view.known.set(id, task);
      return task;
    },

    open: (url) => request("ui/open-link", { url }).then(refuseFailure),
    message: (text) => request("ui/message", { role: "user", content: [{ type: "text", text }] }).then(refuseFailure),

    async download(task) {
      const link = openableLink(task);
      const name = fileName(task);
      const contents = link
        ? { type: "resource_link", uri: link, name, mimeType: "video/mp4" }
        : await embeddedVideo(task, name);
      return request("ui/download-file", { contents: [contents] }).then(refuseFailure);
    },

    // Tells the model, where the host lets it know, which version the person is looking at.
    async lookAt(task) {
      if (!host.capabilities.updateModelContext) return;
      const text = `The user is looking at the result of Luma task ${task.task_id} (take ${task.take ?? 1}).`;
      await request("ui/update-model-context", { content: [{ type: "text", text }] });
    },

    async fullscreen() {
      const mode = host.context.displayMode === "fullscreen" ? "inline" : "fullscreen";
      const answer = await request("ui/request-display-mode", { mode });
      useContext({ displayMode: answer.mode ?? mode });
    },
  };

  const gallerySurroundings = {
    can: (what) => what !== "message",

    async call(tool, given) {
      const task = `tasks/${encodeURIComponent(given.task_id)}`;
      return tool === "save_video" ? askGallery("POST", `${task}/save`) : askGallery("GET", task);
    },

    sources(task, which) {
      const link = which === "result" ? playableLink(task) : isLoadable(task.source_video_url) && task.source_video_url;
      const local = which === "result" ? task.video_path : !isWeb(task.source_video_url);
      return [local && (() => readableVideo(task, which)), link && (async () => link)].filter(Boolean);
    },

    task: (id) => askGallery("GET", `tasks/${encodeURIComponent(id)}`),
    takesOf: async () => [...gallery.tasks.values()],
    lookAt: async () => {},
    open: async (url) => void window.open(url, "_blank", "noopener,noreferrer"),

    async download(task) {
      const href = task.video_path ? galleryVideo(task, "result") : openableLink(task);
      make("a", { href, download: fileName(task), rel: "noopener" }).click();
    },

    async fullscreen() {
      if (document.fullscreenElement) await document.exitFullscreen();
      else await $("screen").requestFullscreen();
    },
  };

  const surroundings = FACE === "app" ? appSurroundings : gallerySurroundings;

  async function embeddedVideo(task, name) {
    const { base64, mimeType } = await readPieces(task, "result", { current: true });
    say("player-note", "");
    return { type: "resource", resource: { uri: `file:///${encodeURIComponent(name)}`, mimeType, blob: base64 } };
  }

  function fileName(task) {
    return task.video_path?.split(/[\\/]/).pop() || `luma-${task.task_id}.mp4`;
  }

  function refuseFailure(answer) {
    if (answer?.isError) throw new Error("The host did not do it.");
    return answer;
  }

  // The object in a tool's result, whether the host passes on the structure or only the text.
  function resultObject(result) {
    if (result?.structuredContent) return result.structuredContent;
    const text = (result?.content ?? []).find((block) => block.type === "text")?.text ?? "";
    try {
      return JSON.parse(text);
    } catch {
      throw new Error(text || "The server gave no answer that this page understands.");
    }
  }

  function refuseError(answer) {
    if (answer.error && !answer.task_id) throw new Error(`${answer.error.message} ${answer.error.hint ?? ""}`.trim());
    return answer;
  }

  async function videoByPieces(task, which, job) {
    const { base64, mimeType } = await readPieces(task, which, job);
    return `data:${mimeType};base64,${base64}`;
  }

  // Reads a video through the chat; the pieces are whole groups of three bytes, so their base64 can be joined.
  async function readPieces(task, which, job) {
    const parts = [];
    let piece = { offset: 0, byte_count: 0, has_more: true };
    while (piece.has_more) {
      const offset = piece.offset + piece.byte_count;
      const next = refuseError(await surroundings.call("read_video_bytes", { task_id: task.task_id, which, offset }));
      if (!job.current || host.closed) throw new Error("It is not needed any more.");
      checkPiece(next, offset, piece.total_bytes);
      parts.push(next.bytes);
      say("player-note", `Loading: ${megabytes(offset + next.byte_count)} of ${megabytes(next.total_bytes)}`);
      piece = next;
    }
    return { base64: parts.join(""), mimeType: piece.mime_type === "video/quicktime" ? piece.mime_type : "video/mp4" };
  }

  function checkPiece(piece, offset, total = piece.total_bytes) {
    if (piece.total_bytes > MAX_BYTES_IN_CHAT)
      throw new Error(`With ${megabytes(piece.total_bytes)} it is too large to be shown in a chat.`);
    const whole = piece.byte_count % 3 === 0 || !piece.has_more;
    if (piece.offset !== offset || piece.total_bytes !== total || !whole || (piece.has_more && !piece.byte_count))
      throw new Error("The file changed while it was read.");
  }

  // -- the task: state, progress, failure ---------------------------------------------------------------------------------

  const view = { task: null, job: null, beforeJob: null, takes: [], known: new Map(), polling: 0 };

  function showIntention(given) {
    if (view.task) return;
    show($("task"), true);
    say("notice", "");
    showPrompt(given?.prompt ?? "");
    say("state", STATES.submitting);
    show($("progress"), true);
  }

  function showCancelled() {
    show($("progress"), false);
    say("state", "The call was cancelled. If the task had begun, it goes on: ask for your tasks.");
  }

  async function takeToolResult(result) {
    show($("task"), true);
    say("notice", "");
    try {
      const told = resultObject(result);
      if (told.status) return openTask(told);
      showFailure(told.error, told.next_step);
      say("state", "Nothing was made");
      $("state").dataset.tone = "bad";
    } catch (error) {
      say("state", error.message);
    }
    show($("progress"), false);
  }

  // Shows a task, and follows it until its end.
  function openTask(task) {
    view.task = null;
    showTask(task);
    followTask();
  }

  function showTask(task) {
    const before = view.task;
    view.task = task;
    showPrompt(task.prompt ?? "");
    say("state", stateWords(task));
    $("state").dataset.tone = isGone(task) ? "bad" : (TONES[task.status] ?? "");
    show($("progress"), !task.done && task.status !== "unconfirmed");
    say("facts", factsWords(task));
    showFailure(
      task.error ??
        (isGone(task)
          ? { message: "RunAPI keeps videos for seven days, and there is no saved file.", hint: "" }
          : null),
    );
    showActions(task);
    if (hasChangedVideo(before, task)) showVideos(task);
  }

  function hasChangedVideo(before, task) {
    const facts = (one) => one && [one.task_id, one.status, one.video_path, one.video_urls?.[0]].join(" ");
    return facts(before) !== facts(task);
  }

  function showPrompt(prompt) {
    say("prompt", prompt);
    const heading = $("prompt");
    const opened = $("whole-prompt").getAttribute("aria-expanded") === "true";
    heading.classList.toggle("long", !opened);
    show($("whole-prompt"), opened || heading.scrollHeight > heading.clientHeight + 2);
  }

  function toggleWholePrompt() {
    const opened = $("whole-prompt").getAttribute("aria-expanded") === "true";
    $("whole-prompt").setAttribute("aria-expanded", String(!opened));
    $("whole-prompt").textContent = opened ? "Show the whole prompt" : "Show less of the prompt";
    $("prompt").classList.toggle("long", opened);
  }

  function showFailure(error, nextStep = "") {
    show($("failure"), Boolean(error));
    const advice = error?.hint || nextStep;
    const charge = CHARGES[error?.charged] ?? "";
    const words = error ? [error.message, advice.startsWith(charge) ? "" : charge, advice].filter(Boolean) : [];
    if ($("failure").dataset.words === words.join("\n")) return;
    $("failure").dataset.words = words.join("\n");
    $("failure").replaceChildren(...words.map((line) => make("p", { dir: "auto" }, line)));
  }

  function isSettled(task) {
    const fresh = task.finished_at && Date.now() - new Date(task.finished_at) < SAVING_SECONDS * 1000;
    const saving = task.status === "completed" && !task.video_path && fresh;
    return (task.done && !saving) || task.status === "unconfirmed";
  }

  // Asks for the task at a polite pace until nothing new can come, or another task is looked at.
  async function followTask() {
    const turn = ++view.polling;
    if (!isSettled(view.task) && !surroundings.can("ask"))
      return say("notice", "This chat does not let the page ask how the task is doing: ask the assistant.");
    for (let asked = 0; !isSettled(view.task); asked++) {
      await wait(POLL_SECONDS[Math.min(asked, POLL_SECONDS.length - 1)]);
      if (turn !== view.polling || host.closed) return;
      if (!document.hidden) await askAboutTask(turn);
    }
  }

  async function askAboutTask(turn) {
    try {
      const task = await freshTask(view.task);
      if (turn !== view.polling || host.closed) return;
      say("notice", "");
      if (task) showTask(task);
    } catch (error) {
      say("notice", `The server does not answer (${error.message}). The task goes on; asking again.`);
    }
  }

  // A task that RunAPI has not named yet is found in the list, by when it was made.
  async function freshTask(task) {
    if (task.task_id) return refuseError(await surroundings.task(task.task_id));
    const { tasks = [] } = await surroundings.call("list_tasks", { limit: TAKES_LOOKED_AT });
    const row = tasks.find((one) => one.created_at === task.created_at && task.prompt.startsWith(one.prompt));
    return row?.task_id
      ? refuseError(await surroundings.task(row.task_id))
      : row && { ...task, ...row, prompt: task.prompt };
  }

  function closePage() {
    host.closed = true;
    view.polling++;
    stopPlayer();
    for (const { reject } of host.answers.values()) reject(new Error("The page was closed."));
    host.answers.clear();
  }

  // -- before and after: two videos in one place, in step -----------------------------------------------------------------

  const before = $("before");
  const after = $("after");
  const STEP_TOLERANCE = 0.12; // seconds that the two may be apart

  async function showVideos(task) {
    stopPlayer();
    show($("player"), task.status === "completed" && !isGone(task));
    showTakes(task);
    if ($("player").hidden) return;
    const job = (view.job = { current: true });
    say("player-note", "Loading the video…");
    for (const id of ["screen", "controls"]) show($(id), false);
    const loaded = await loadVideo(after, task, "result", job);
    if (!job.current) return;
    for (const id of ["screen", "controls"]) show($(id), loaded);
    if (loaded) say("player-note", "");
    else return say("player-note", missingWords(task, job));
    surroundings.lookAt(task).catch(() => {});
    $("after-name").textContent = "After";
    await showBefore(task, "");
    if (job.current) playIfWanted();
  }

  function missingWords(task, job) {
    if (job.problem) return job.problem;
    const saving = !isSettled(task) ? "The video is being saved." : "The video is not on this machine";
    if (!isSettled(task)) return saving;
    return isSandbox(task)
      ? `${saving}: save it to look at the stand-in.`
      : `${saving}, and its link cannot be shown here: save or open it.`;
  }

  // Puts the source, or the result of another task (`otherId`), beside the result.
  async function showBefore(task, otherId) {
    clearVideo(before, "beforeJob");
    $("screen").classList.remove("two");
    const job = (view.beforeJob = { current: true });
    const other = otherId && view.takes.find((one) => one.task_id === otherId);
    const loaded = other ? await loadVideo(before, other, "result", job) : await loadSource(task, job);
    if (!job.current) return;
    $("screen").classList.toggle("two", loaded);
    show($("wipe-label"), loaded);
    $("before-name").textContent = other ? nameOfTake(other) : "Before";
    $("after-name").textContent = other ? nameOfTake(task) : "After";
    say("player-note", loaded ? "" : noSourceWords(task, Boolean(other), job.problem));
    keepInStep(true);
  }

  function noSourceWords(task, isTake, problem) {
    if (isTake) return "That version cannot be shown here.";
    const elsewhere = isWeb(task.source_video_url);
    return `Only the result is shown. ${elsewhere ? "The source lies elsewhere on the internet." : (problem ?? "")}`;
  }

  async function loadSource(task, job) {
    if (await loadVideo(before, task, "source", job)) return true;
    const id = earlierTask(task);
    const earlier = id && (await surroundings.task(id).catch(() => null));
    return Boolean(earlier && job.current) && loadVideo(before, earlier, "result", job);
  }

  async function loadVideo(video, task, which, job) {
    for (const source of surroundings.sources(task, which)) {
      try {
        const url = await source(job);
        if (!job.current) return false;
        await loaded(video, url);
        return true;
      } catch (error) {
        if (job.current) job.problem = error.message;
      }
    }
    return false;
  }

  function loaded(video, url) {
    return new Promise((resolve, reject) => {
      video.onloadeddata = () => resolve();
      video.onerror = () => reject(new Error("The video cannot be played here."));
      video.src = url;
    });
  }

  // Empties a video, and ends what was being loaded into it.
  function clearVideo(video, job) {
    if (view[job]) view[job].current = false;
    video.onloadeddata = video.onerror = null;
    video.pause();
    video.removeAttribute("src");
    video.load();
  }

  function stopPlayer() {
    clearVideo(after, "job");
    clearVideo(before, "beforeJob");
    $("screen").classList.remove("two");
    show($("wipe-label"), false);
  }

  function playIfWanted() {
    if (!matchMedia("(prefers-reduced-motion: reduce)").matches) startPlaying();
  }

  function startPlaying() {
    after.play().catch(() => {});
    if ($("screen").classList.contains("two")) before.play().catch(() => {});
  }

  function togglePlaying() {
    if (after.paused) startPlaying();
    else [before, after].forEach((video) => video.pause());
  }

  // The result leads; the other video follows it, and stands still at its end if it is shorter.
  function keepInStep(exactly = false) {
    const target = Math.min(after.currentTime, before.duration || 0);
    if (exactly || Math.abs(before.currentTime - target) > STEP_TOLERANCE) before.currentTime = target;
    if (!after.paused && before.paused && target < (before.duration || 0)) before.play().catch(() => {});
  }

  function beginAgain() {
    after.currentTime = 0;
    keepInStep(true);
    startPlaying();
  }

  function showPosition() {
    if (after.duration) $("position").value = Math.round((after.currentTime / after.duration) * 1000);
    $("position").setAttribute(
      "aria-valuetext",
      `${after.currentTime.toFixed(1)} of ${(after.duration || 0).toFixed(1)} seconds`,
    );
    if ($("screen").classList.contains("two")) keepInStep();
  }

  function seek() {
    if (!after.duration) return;
    after.currentTime = ($("position").value / 1000) * after.duration;
    keepInStep(true);
  }

  function wipe() {
    $("screen").style.setProperty("--x", `${$("wipe").value}%`);
    $("wipe").setAttribute(
      "aria-valuetext",
      `${$("wipe").value} percent before, ${100 - $("wipe").value} percent after`,
    );
  }

  function dragWipe(event) {
    if (!$("screen").classList.contains("two") || (event.type === "pointermove" && !event.buttons)) return;
    const box = $("screen").getBoundingClientRect();
    $("wipe").value = Math.round(((event.clientX - box.left) / box.width) * 100);
    wipe();
  }

  function showShape() {
    if (after.videoWidth) $("player").style.setProperty("--shape", (after.videoWidth / after.videoHeight).toFixed(4));
  }

  function toggleSound() {
    after.muted = !after.muted;
    $("sound").setAttribute("aria-pressed", String(!after.muted));
  }

  function showFullscreenButton() {
    const offered =
      FACE === "app" ? host.context.availableDisplayModes?.includes("fullscreen") : document.fullscreenEnabled;
    show($("fullscreen"), Boolean(offered));
    $("fullscreen").textContent = host.context.displayMode === "fullscreen" ? "Leave full screen" : "Full screen";
  }

  function preparePlayer() {
    after.addEventListener("loadedmetadata", showShape);
    after.addEventListener("timeupdate", showPosition);
    after.addEventListener("ended", beginAgain);
    for (const event of ["play", "pause"])
      after.addEventListener(event, () => ($("play").textContent = after.paused ? "Play" : "Pause"));
    $("play").onclick = togglePlaying;
    $("sound").onclick = toggleSound;
    $("position").oninput = seek;
    $("wipe").oninput = wipe;
    $("screen").onpointerdown = dragWipe;
    $("screen").onpointermove = dragWipe;
    $("fullscreen").onclick = () => surroundings.fullscreen().catch((error) => say("player-note", error.message));
    $("compare-with").onchange = () => showBefore(view.task, $("compare-with").value);
    wipe();
  }

  // -- versions of the same clip ------------------------------------------------------------------------------------------

  const nameOfTake = (task) => `${task.prompt}${task.take > 1 ? ` (take ${task.take})` : ""}`;

  async function showTakes(task) {
    showComparisons([], task);
    if (task.status !== "completed") return show($("takes"), false);
    const all = await surroundings.takesOf(task).catch(() => []);
    if (view.task?.task_id !== task.task_id) return;
    const shown = all.filter((one) => one.status === "completed" && !isGone(one));
    const versions = shown.filter((one) => one.source_video_url === task.source_video_url);
    view.takes = shown.filter((one) => one.task_id !== task.task_id);
    show($("takes"), versions.length > 1);
    $("strip").replaceChildren(...versions.map((one) => takeButton(one, task)));
    showComparisons(FACE === "gallery" ? shown : versions, task);
  }

  function takeButton(one, task) {
    const button = make(
      "button",
      { type: "button" },
      make("b", { dir: "auto" }, one.prompt),
      make("span", {}, `take ${one.take ?? 1} · ${dateWords(one.created_at, "short")}`),
    );
    button.setAttribute("aria-pressed", String(one.task_id === task.task_id));
    button.onclick = () => lookAtTask(one);
    return make("li", {}, button);
  }

  function lookAtTask(task) {
    if (FACE === "gallery") location.hash = `task=${encodeURIComponent(task.task_id)}`;
    else openTask(task);
  }

  function showComparisons(tasks, task) {
    const others = tasks.filter((one) => one.task_id !== task.task_id && surroundings.sources(one, "result").length);
    const option = (value, words) => make("option", { value }, words);
    $("compare-with").replaceChildren(
      option("", "the source clip"),
      ...others.map((one) => option(one.task_id, nameOfTake(one).slice(0, 90))),
    );
    show($("compare"), others.length > 0);
  }

  // -- actions ----------------------------------------------------------------------------------------------------------

  function showActions(task) {
    const completed = task.status === "completed" && !isGone(task);
    const link = openableLink(task);
    show($("save"), completed && !task.video_path && surroundings.can("save"));
    show($("open"), completed && surroundings.can("open") && Boolean(link || (FACE === "gallery" && task.video_path)));
    show($("download"), completed && surroundings.can("download") && Boolean(link || task.video_path));
    show($("open-source"), isWeb(task.source_video_url) && surroundings.can("open") && task.done);
    show($("again"), completed && surroundings.can("message"));
    show($("repeat"), FACE === "gallery" && task.done && Boolean(task.task_id));
    if (FACE === "gallery") $("command").value = commandFor(task);
  }

  async function act(button, note, begun, work) {
    button.disabled = true;
    say(note, begun);
    try {
      say(note, await work());
    } catch (error) {
      say(note, `That did not work: ${error.message}`);
    }
    button.disabled = false;
    if (button.hidden) [...$("actions").children].find((other) => !other.hidden)?.focus(); // saved: there is nothing left to save
  }

  async function saveVideo() {
    const task = refuseError(await surroundings.call("save_video", { task_id: view.task.task_id }));
    showTask(task);
    if (!isSettled(task)) followTask();
    return task.video_path ? `Saved as ${task.video_path}` : task.next_step;
  }

  async function openVideo() {
    const local = FACE === "gallery" && view.task.video_path;
    await surroundings.open(local ? galleryVideo(view.task, "result") : openableLink(view.task));
    return "";
  }

  async function askAgain(event) {
    event.preventDefault();
    const change = $("change").value.trim();
    const { task_id } = view.task;
    if (!change) return;
    await act(event.submitter ?? $("again").querySelector("button"), "again-note", "Asking…", async () => {
      await surroundings.message(
        `Modify the result of Luma task ${task_id} again, with modify_video and source_video_url "luma://tasks/${encodeURIComponent(task_id)}": ${change}`,
      );
      $("change").value = "";
      return "Asked in the chat.";
    });
  }

  // The command that makes the next version of the same request. Control characters could act in a terminal.
  function commandFor(task) {
    const isSame = (one) => one.source_video_url === task.source_video_url && one.prompt === task.prompt;
    const takes = [...gallery.tasks.values(), task].filter(isSame).map((one) => one.take ?? 1);
    const take = Math.max(...takes) + 1;
    const sandbox = isSandbox(task) ? " --sandbox" : "";
    return `luma-mcp modify ${quoted(task.source_video_url)} --prompt=${quoted(task.prompt)} --take ${take}${sandbox}`;
  }

  function quoted(text) {
    const plain = text.replace(/[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]+/gu, " ");
    const windows = /win/i.test(navigator.userAgentData?.platform ?? navigator.platform);
    return `'${plain.replaceAll("'", windows ? "''" : "'\\''")}'`;
  }

  async function copyCommand(event) {
    event.preventDefault();
    $("command").select();
    try {
      await navigator.clipboard.writeText($("command").value);
      say("repeat-note", "Copied.");
    } catch {
      say(
        "repeat-note",
        "The browser does not let this page copy: the command is selected, copy it with the keyboard.",
      );
    }
  }

  function prepareActions() {
    const working = (id, begun, work) => ($(id).onclick = () => act($(id), "action-note", begun, work));
    working("save", "Saving…", saveVideo);
    working("open", "", openVideo);
    working("download", "Preparing the download…", async () => (await surroundings.download(view.task), ""));
    working("open-source", "", async () => (await surroundings.open(view.task.source_video_url), ""));
    $("whole-prompt").onclick = toggleWholePrompt;
    $("again").onsubmit = askAgain;
    $("repeat").onsubmit = copyCommand;
  }

  // -- all tasks (gallery) ------------------------------------------------------------------------------------------------

  const gallery = { tasks: new Map(), cursor: "", turn: 0, timer: 0 };

  const galleryVideo = (task, which) =>
    new URL(`gallery/api/videos/${encodeURIComponent(task.task_id)}/${which}`, document.baseURI).href;

  // The address of a video on the server's disk; a player would not say why there is none.
  async function readableVideo(task, which) {
    const url = galleryVideo(task, which);
    const answer = await fetch(url, { headers: { Range: "bytes=0-0" }, credentials: "same-origin", cache: "no-store" });
    if (answer.ok) return url;
    const told = await answer.json().catch(() => null);
    throw new Error(told?.error?.message ?? `the server answered ${answer.status}`);
  }

  async function askGallery(method, path) {
    const options = method === "POST" ? { method, body: "{}", headers: JSON_BODY } : { method };
    const answer = await fetch(`gallery/api/${path}`, { ...options, credentials: "same-origin", cache: "no-store" });
    if (answer.status === 401) {
      showSignIn();
      throw new Error("a token is needed");
    }
    const told = await answer.json().catch(() => null);
    if (told?.error && !told.status) throw new Error(told.error.message ?? String(told.error));
    if (!told || (!answer.ok && !told.status)) throw new Error(`the server answered ${answer.status}`);
    return told;
  }

  function showSignIn() {
    for (const id of ["list", "task", "top"]) show($(id), false);
    show($("sign-in"), true);
    $("token").focus();
  }

  async function signIn(token) {
    const answer = await fetch("gallery/session", {
      method: "POST",
      body: JSON.stringify({ token }),
      headers: JSON_BODY,
      credentials: "same-origin",
    });
    if (!answer.ok)
      throw new Error(
        answer.status === 401 || answer.status === 403
          ? "This server does not know that token."
          : `The server answered ${answer.status}.`,
      );
  }

  // The one-time token of `luma-mcp gallery` comes after the #, which no server sees, and leaves the address at once.
  async function useTokenInAddress() {
    const token = new URLSearchParams(location.hash.slice(1)).get("token");
    if (!token) return false;
    history.replaceState(null, "", location.pathname);
    await signIn(token).catch((error) => say("sign-in-problem", error.message));
    return true;
  }

  async function changePlace() {
    if (await useTokenInAddress()) await showGallery();
    else await showPlace();
  }

  async function submitToken(event) {
    event.preventDefault();
    say("sign-in-problem", "");
    try {
      await signIn($("token").value.trim());
      $("token").value = "";
      await showGallery();
    } catch (error) {
      say("sign-in-problem", error.message);
    }
  }

  async function showGallery() {
    show($("sign-in"), false);
    show($("top"), true);
    await loadTasks();
    if (!$("sign-in").hidden) return;
    await showPlace();
    askGallery("GET", "account").then(showAccount, () => {});
  }

  async function loadTasks(cursor = "") {
    const turn = ++gallery.turn;
    const query = new URLSearchParams({
      words: $("words").value.trim(),
      status: $("status-filter").value,
      limit: PAGE_SIZE,
      cursor,
    });
    try {
      const page = await askGallery("GET", `tasks?${query}`);
      if (turn === gallery.turn) takePage(page, cursor);
    } catch (error) {
      if (turn === gallery.turn) say("list-note", `The tasks cannot be shown: ${error.message}.`);
    }
  }

  function takePage({ tasks, next_cursor: next, spent_month_usd: spent }, cursor) {
    if (!cursor) $("cards").replaceChildren();
    for (const task of tasks) gallery.tasks.set(task.task_id || task.created_at, task);
    $("cards").append(...tasks.map(card));
    gallery.cursor = next ?? "";
    show($("more"), Boolean(gallery.cursor));
    say("list-note", countWords($("cards").childElementCount));
    if (spent !== undefined) gallery.spent = `Spent this month: ${money(spent)}`;
    showMoney();
    refreshRunning();
  }

  function countWords(count) {
    const filtered = $("words").value.trim() || $("status-filter").value;
    if (count)
      return gallery.cursor ? `The newest ${count} tasks` : `${count} ${count === 1 ? "task" : "tasks"}, newest first`;
    return filtered
      ? "No task matches. Change the words or the state."
      : "No videos yet. Ask for one in your MCP host, or type: luma-mcp modify CLIP PROMPT";
  }

  function showMoney() {
    const played = [...gallery.tasks.values()].some(isSandbox) ? "Sandbox, play money" : "";
    say("money", [played, gallery.spent, gallery.balance].filter(Boolean).join(" · "));
  }

  function showAccount({ balance_usd: balance }) {
    if (balance !== undefined) gallery.balance = `Balance: ${money(balance)}`;
    showMoney();
  }

  function card(task) {
    const state = make(
      "b",
      { data: { tone: isGone(task) ? "bad" : (TONES[task.status] ?? "") } },
      isGone(task) ? "Video gone" : (SHORT_STATES[task.status] ?? "Unknown"),
    );
    const more = [
      task.take > 1 && `take ${task.take}`,
      dateWords(task.created_at),
      task.cost_usd !== undefined && !isSandbox(task) && money(task.cost_usd),
      isSandbox(task) && "sandbox",
    ].filter(Boolean);
    const words = make("span", { className: "words", dir: "auto" }, task.prompt);
    const text = make(
      "span",
      { className: "text" },
      words,
      make("span", { className: "small" }, state, ` · ${more.join(" · ")}`),
    );
    const thumb = make("span", { className: "thumb" }, task.video_path ? "" : thumbWords(task));
    const button = make("button", { type: "button", className: "card", disabled: !task.task_id }, thumb, text);
    button.onclick = () => lookAtTask(task);
    const item = make("li", { data: { task: task.task_id } }, button);
    if (task.video_path) thumbs.observe(item);
    return item;
  }

  function thumbWords(task) {
    if (isGone(task)) return "expired, not saved";
    if (task.status === "completed") return "not saved yet";
    return { failed: "no video", unconfirmed: "no video yet" }[task.status] ?? "in the making";
  }

  // Videos load only for the cards that can be seen.
  const thumbs = new IntersectionObserver(
    (seen) => {
      for (const { target, isIntersecting } of seen) {
        const thumb = target.querySelector(".thumb");
        thumb.replaceChildren(...(isIntersecting ? [thumbVideo(target.dataset.task)] : []));
      }
    },
    { rootMargin: "200px" },
  );

  function thumbVideo(id) {
    const video = make("video", {
      muted: true,
      playsInline: true,
      preload: "metadata",
      tabIndex: -1,
      src: `${galleryVideo({ task_id: id }, "result")}#t=0.1`,
    });
    video.setAttribute("aria-hidden", "true");
    return video;
  }

  function refreshRunning() {
    clearTimeout(gallery.timer);
    const running = [...gallery.tasks.values()].filter((task) => task.task_id && !isSettled(task)).slice(0, 10);
    if (running.length) gallery.timer = setTimeout(() => refresh(running), 8000);
  }

  async function refresh(tasks) {
    for (const { task_id: id } of document.hidden ? [] : tasks) {
      const task = await surroundings.task(id).catch(() => null);
      if (!task?.status) continue;
      gallery.tasks.set(id, task);
      document.querySelector(`#cards [data-task="${CSS.escape(id)}"]`)?.replaceWith(card(task));
    }
    refreshRunning();
  }

  // What the address names: one task, or all of them.
  async function showPlace() {
    const id = new URLSearchParams(location.hash.slice(1)).get("task");
    show($("list"), !id);
    show($("task"), Boolean(id));
    const turn = ++view.polling;
    stopPlayer();
    view.task = null;
    for (const note of ["notice", "action-note", "repeat-note", "player-note"]) say(note, "");
    if (!id) return;
    try {
      const task = await surroundings.task(id);
      if (turn !== view.polling) return;
      openTask(task);
      $("prompt").focus();
    } catch (error) {
      if (turn !== view.polling || !$("sign-in").hidden) return;
      show($("task"), false);
      show($("list"), true);
      say("notice", `That task cannot be shown: ${error.message}`);
    }
  }

  function goBack() {
    const { task_id: id } = view.task ?? {};
    location.hash = "";
    requestAnimationFrame(() => document.querySelector(`#cards [data-task="${CSS.escape(id ?? "")}"] button`)?.focus());
  }

  function prepareGallery() {
    const choices = { "": "all", ...SHORT_STATES };
    $("status-filter").replaceChildren(
      ...Object.entries(choices).map(([value, words]) => make("option", { value }, words)),
    );
    let typing;
    $("words").oninput = () => (clearTimeout(typing), (typing = setTimeout(loadTasks, 250)));
    $("status-filter").onchange = () => loadTasks();
    $("filter").onsubmit = (event) => (event.preventDefault(), loadTasks());
    $("more").onclick = () => loadTasks(gallery.cursor);
    $("sign-in").onsubmit = submitToken;
    $("back").onclick = goBack;
    show($("back"), true);
    showFullscreenButton();
    addEventListener("hashchange", changePlace);
  }

  // -- start --------------------------------------------------------------------------------------------------------------

  async function startApp() {
    say("notice", "Connecting to the chat…");
    const silence = setTimeout(
      () => say("notice", "This page belongs into a chat that shows MCP Apps; nothing answers here."),
      10_000,
    );
    await connectToHost();
    clearTimeout(silence);
    if (!view.task && $("task").hidden) say("notice", "Waiting for the task…");
  }

  async function startGallery() {
    prepareGallery();
    await useTokenInAddress();
    await showGallery();
  }

  preparePlayer();
  prepareActions();
  (FACE === "app" ? startApp() : startGallery()).catch((error) => say("notice", error.message));
})();
