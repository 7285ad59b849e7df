// Tasks as the server tells them, in every state, with prompts of all kinds.

const HOUR = 3_600_000;
const START = Date.now();
export const LINK = "https://file.runapi.ai/result.mp4";
export const LONG = "A foggy autumn morning in a mountain village, every roof wet, ".repeat(40) + "x".repeat(300);
export const RTL = "صباح خريفي ضبابي في قرية جبلية، مع الحفاظ على الأشخاص كما هم (4K, cinematic)";
export const MARKUP = `<img src=x onerror="parent.hacked=1"><script>parent.hacked=1</script> & "quotes" 'too'`;

const iso = (ago) => new Date(START - ago).toISOString();

export function task(id, more = {}) {
  return {
    task_id: id,
    status: "completed",
    done: true,
    prompt: "a foggy autumn morning; keep the people as they are",
    model: "luma-modify-video",
    source_video_url: "/home/ann/Videos/walk.mp4",
    video_urls: [LINK],
    video_path: `/home/ann/Videos/luma/2026-11-30-a-foggy-autumn-morning-${id}.mp4`,
    take: 1,
    joined: false,
    created_at: iso(2 * HOUR),
    updated_at: iso(HOUR),
    finished_at: iso(HOUR),
    elapsed_seconds: 84.2,
    expires_at: iso(-150 * HOUR),
    cost_usd: 0.5,
    next_step: "Tell the user where the finished video is.",
    ...more,
  };
}

const running = {
  done: false,
  video_urls: [],
  video_path: "",
  finished_at: undefined,
  expires_at: undefined,
  cost_usd: undefined,
};
const failure = { code: "generation_failed", charged: "no", retry_safe: true };

export const TASKS = {
  finished: task("task-1"),
  second: task("task-2", { take: 2, created_at: iso(1.5 * HOUR) }),
  snow: task("task-3", { prompt: "deep snow at night, lanterns", created_at: iso(3 * HOUR) }),
  processing: task("task-4", { ...running, status: "processing", elapsed_seconds: 41, created_at: iso(41_000) }),
  unnamed: task("", { ...running, status: "submitting", elapsed_seconds: 6, created_at: iso(6000) }),
  failed: task("task-5", {
    ...running,
    status: "failed",
    done: true,
    error: {
      ...failure,
      message: 'RunAPI says: "The clip shows no motion."',
      hint: "Nothing was charged. Change the prompt or the source clip, then call modify_video again.",
    },
  }),
  unconfirmed: task("", {
    ...running,
    status: "unconfirmed",
    error: {
      ...failure,
      code: "submission_unconfirmed",
      charged: "unknown",
      message: "RunAPI did not answer.",
      hint: "Repeat the same modify_video call: it cannot be charged twice.",
    },
  }),
  expired: task("task-6", {
    video_path: "",
    expires_at: iso(HOUR),
    created_at: iso(200 * HOUR),
    finished_at: iso(199 * HOUR),
  }),
  unsaved: task("task-7", {
    video_path: "",
    video_urls: ["https://elsewhere.example/result.mp4"],
    source_video_url: "https://example.com/clip.mp4",
  }),
  sandbox: task("task-8", { video_urls: ["https://runapi.sandbox.invalid/outputs/x.mp4"] }),
  long: task("task-9", { prompt: LONG }),
  rtl: task("task-10", { prompt: RTL }),
  markup: task("task-11", { prompt: MARKUP }),
};

export function manyTasks(count) {
  const kinds = Object.values(TASKS).filter((one) => one.task_id);
  return Array.from({ length: count }, (_, index) => ({
    ...kinds[index % kinds.length],
    task_id: `many-${index}`,
    created_at: iso(index * HOUR),
  }));
}

export function toolResult(told) {
  return {
    content: [{ type: "text", text: JSON.stringify(told) }],
    structuredContent: told,
    isError: Boolean(told.error),
  };
}

export function rowOf({ task_id, status, prompt, take, created_at, cost_usd, video_path }) {
  return { task_id, status, prompt: prompt.slice(0, 80), take, created_at, cost_usd, video_path };
}
