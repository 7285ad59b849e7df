"""A model played on loopback: it calls `modify_video`, waits with `get_task`, and repeats what the tool said last.

It speaks what the frameworks ask for: OpenAI's chat completions (streamed too) and responses, and Gemini's content.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

Json = dict[str, Any]
REQUEST: Json = {
    "prompt": "a foggy autumn morning",
    "source_video_url": "https://cdn.runapi.ai/public/samples/video.mp4",
}
# As JSON, in a string of JSON, or as Python writes it: frameworks wrap results.
TASK_ID = re.compile(r"""task_id\\*["']: *\\*["']([\w-]+)""")
RUNNING = re.compile(r"""done\\*["']: *[Ff]alse""")
USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
RESPONSE_USAGE = {
    "input_tokens": 1,
    "output_tokens": 1,
    "total_tokens": 2,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens_details": {"reasoning_tokens": 0},
}


def next_call(results: list[str]) -> tuple[str, Json] | None:
    """Decide what to call after what tools said, or `None` when the task is done or failed."""
    if not results:
        return "modify_video", REQUEST
    running = RUNNING.search(results[-1]) and TASK_ID.search(results[-1])
    return ("get_task", {"task_id": running[1], "wait_seconds": 40}) if running else None


def chat_completion(asked: Json) -> Json:
    said = texts([message["content"] for message in asked["messages"] if message["role"] == "tool"])
    message: Json = {"role": "assistant", "content": "".join(said[-1:])}
    if call := next_call(said):
        function = {"name": call[0], "arguments": json.dumps(call[1])}
        tool_call = {"index": 0, "id": f"call_{len(said)}", "type": "function", "function": function}
        message = {"role": "assistant", "content": "", "tool_calls": [tool_call]}
    choice = {"index": 0, "message": message, "delta": message, "finish_reason": "tool_calls" if call else "stop"}
    kind = "chat.completion.chunk" if asked.get("stream") else "chat.completion"
    return {"id": "1", "object": kind, "created": 0, "model": asked["model"], "usage": USAGE, "choices": [choice]}


def response(asked: Json) -> Json:
    said = texts([item["output"] for item in asked["input"] if item.get("type") == "function_call_output"])
    text = {"type": "output_text", "text": "".join(said[-1:]), "annotations": []}
    item: Json = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [text]}
    if call := next_call(said):
        item = {"type": "function_call", "id": f"fc_{len(said)}", "call_id": f"call_{len(said)}"}
        item |= {"name": call[0], "arguments": json.dumps(call[1])}
    about = {"id": "resp_1", "object": "response", "created_at": 0, "status": "completed", "model": asked["model"]}
    return about | {
        "output": [item],
        "usage": RESPONSE_USAGE,
        "tools": [],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
    }


def gemini_content(asked: Json) -> Json:
    parts = [part for content in asked["contents"] for part in content["parts"]]
    said = texts([part["functionResponse"]["response"] for part in parts if "functionResponse" in part])
    call = next_call(said)
    part: Json = {"functionCall": {"name": call[0], "args": call[1]}} if call else {"text": said[-1]}
    content = {"role": "model", "parts": [part]}
    return {"candidates": [{"content": content, "finishReason": "STOP", "index": 0}]}


def texts(results: list[Any]) -> list[str]:
    return [result if isinstance(result, str) else json.dumps(result) for result in results]


class PlayedModel(BaseHTTPRequestHandler):
    """Answers whichever dialect the path is of."""

    def do_POST(self) -> None:
        asked: Json = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith("/chat/completions"):
            self.answer(chat_completion(asked), streamed=bool(asked.get("stream")))
        elif self.path.endswith("/responses"):
            self.answer(response(asked))
        else:
            self.answer(gemini_content(asked))

    def answer(self, said: Json, *, streamed: bool = False) -> None:
        text = json.dumps(said)
        body = (f"data: {text}\n\ndata: [DONE]\n\n" if streamed else text).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream" if streamed else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the output is the example's."""


@contextmanager
def played_model() -> Iterator[str]:
    """Serve the model on a free port of this machine, and give its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), PlayedModel) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
