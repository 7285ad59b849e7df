"""What models read about the tools and their arguments before they call one.

The texts are constants rather than docstrings, which `python -OO` takes away. `{price}` is that of a task; `{wait}`,
`{bound}` and `{preview}` are this server's seconds: how long a call is advised to wait, and within how many it answers.
"""

from collections.abc import Mapping

from luma_mcp.core.models import MODEL, Status
from luma_mcp.core.settings import DEFAULT_WAIT_SECONDS

MODIFY_VIDEO = """\
Use this when the user wants an existing video changed: weather, light, season, style, setting or materials, \
while the motion stays. Luma re-renders the clip from a prompt; it does not cut, trim, subtitle, or make video from \
nothing.

Each new task costs {price}, charged only if it succeeds, and takes 30 seconds to 20 minutes. The same request is \
the same task, at any time: repeating a call joins its task or gives its result, and costs nothing. After a failure \
that cost nothing it starts anew.

The answer comes within about {bound} seconds. If done is false, the work goes on: do what next_step says, usually \
get_task with the task_id and wait_seconds {wait} until done is true. When it is done, tell the user where the video \
is, as next_step says: video_path, or the link in video_urls."""
GET_TASK = """\
Use this to see how a modify_video task is doing, or to wait for its end. It costs nothing.

With wait_seconds {wait} it answers as soon as the task ends and at the latest after {wait} seconds, which saves \
calls; with 0 it answers at once. If done is false, call it again."""
LIST_TASKS = """\
Use this to find earlier modify_video tasks, newest first: after a restart, when a task_id was lost, or to see \
what was made. It costs nothing and asks nobody: the list is kept by this server. It shows each task in short, with \
the first words of its prompt; get_task has the rest and next_step. A page may hold fewer tasks than limit: while \
next_cursor is not empty, there are more."""
SAVE_VIDEO = """\
Use this to put the finished video of a task on disk: when video_path is empty, when the saved file was moved \
or deleted, or when the user wants it under another name. Only completed tasks have one.

It costs nothing and takes seconds to minutes. RunAPI deletes videos 7 days after they are finished, so save before \
expires_at. Saving a video again under the same name, or without one, gives the same file.

The answer comes within about {bound} seconds. video_path is where the file is, in the output folder; if it is empty, \
do what next_step says."""
PREVIEW_VIDEO = """\
Use this to see what a completed task made, before telling the user that it worked. It returns one small picture: \
frames of the source in the upper row, and frames of the result at the same moments below them; where the source \
cannot be had, frames of the result alone. With it comes what the video is: size, pixels, length, frames a second, \
codec and sound.

It costs nothing and takes a few seconds, at most {preview}. If the result is not what the user asked for, say so: \
another take is paid for, and only for a user who wants it."""
CHECK_ACCOUNT = """\
Use this before many tasks, or when the user asks what a video costs, what is left, or what was spent. It tells \
the price of one task, the balance of the RunAPI account, what was spent, and how many tasks the limits still allow.

It costs nothing and takes a second. Without a RunAPI key it tells the price. Then do what next_step says."""
REQUEST_UPLOAD = """\
Use this when the clip to modify is a file that only the user has, on a computer or a phone, without a public link. It \
gives an address to which one clip (MP4 or MOV) can be uploaded within an hour. It costs nothing.

Give the user upload_url to open in a browser: there they pick the file. If you can run commands where the file is, \
send it yourself: curl -T clip.mp4 followed by upload_url. Then call modify_video with the source_video_url that this \
answer names; if that says that nothing has arrived yet, wait for the user. RunAPI keeps an uploaded clip for about an \
hour. The same file, uploaded again, makes the same request."""
READ_VIDEO_BYTES = """\
Use this from the page that shows a task, never from a model: it gives a piece of the saved video, or of the local \
clip that it was made of, as base64. It costs nothing and asks nobody."""
TOOLS: Mapping[str, str] = {
    "modify_video": MODIFY_VIDEO,
    "get_task": GET_TASK,
    "list_tasks": LIST_TASKS,
    "save_video": SAVE_VIDEO,
    "preview_video": PREVIEW_VIDEO,
    "check_account": CHECK_ACCOUNT,
    "request_upload": REQUEST_UPLOAD,
    "read_video_bytes": READ_VIDEO_BYTES,
}

PROMPT = (
    "How the video should look, in English, as one description of the result: setting, light, weather, style, and what"
    " must stay as it is."
)
SOURCE = (
    "The clip to modify, MP4 or MOV: an http(s) URL that anyone on the internet can open, an absolute path, ~ path or"
    " file:// URI in an allowed folder (uploaded first), or luma://tasks/<task_id> to continue from an earlier result."
)
ATTACHED = (
    "The video that the user attached, MP4 or MOV: always pass that file here, and the host makes a link of it. Give"
    " either this or source_video_url. It is uploaded with this call."
)
SOURCE_BESIDE_ATTACHED = (
    "The clip to modify where the user attached none, MP4 or MOV: an http(s) URL that anyone on the internet can open,"
    " or luma://tasks/<task_id> to continue from an earlier result."
)
REMOTE_SOURCE = (
    "The clip to modify, MP4 or MOV: an http(s) URL that anyone on the internet can open, or luma://tasks/<task_id> to"
    " continue from an earlier result."
)
SOURCE_WITHOUT_FILES = f"{REMOTE_SOURCE} This server reads no files; ask the user for a public link."
SOURCE_UPLOADED = (
    " For a file that only the user has, call request_upload, and give the luma://uploads/<id> that its answer names."
)
MODEL_NAME = f"The model; {MODEL} is the only one."
WATERMARK = "True adds RunAPI's watermark."
CALLBACK_URL = (
    "A URL of the user's own that RunAPI calls when the task ends. For a clip of the user's own (a file, or an earlier"
    " result), only a host that this server's settings name."
)
TAKE = (
    "Which version of this request: 1 to 100. It is no attempt counter: never raise it to retry, as each new take is"
    " paid for. Only for a user who wants another version of the same request: 2, 3 and so on."
)
WAIT = (
    f"How many seconds to wait for the end before answering; -1 means the setting ({DEFAULT_WAIT_SECONDS} by default)."
    " Hosts often cut a call at 60. With 0 it answers as soon as RunAPI has named the task, after 5 seconds at most."
)
WAIT_FOR_END = (
    f"How many seconds to wait for the end before answering; -1 means the setting ({DEFAULT_WAIT_SECONDS} by default),"
    " 0 not at all. Hosts often cut a call at 60."
)
TASK_ID = "The task_id that modify_video or list_tasks gave."
SAVED_TASK_ID = "The task_id of a completed task."
FILE_NAME = (
    "A plain file name for the video, such as foggy-morning.mp4 (.mp4 is added if it lacks that); empty for one made of"
    " date, prompt and id. It always goes into the output folder, and never over another file."
)
NAME_ON_SERVER = (
    "A plain file name for the video, such as foggy-morning.mp4; empty for one made of date, prompt and id. The file"
    " stays on the server's machine, one for each task: once there is one, another name is ignored."
)
*STATES, LAST_STATE = Status
STATUS = f"Only tasks in this state: {', '.join(STATES)} or {LAST_STATE}; empty for all."
LIMIT = "How many tasks at most, 1 to 100."
WHICH = "Which video of the task: result, or source for the local clip that it was made of."
OFFSET = "From which byte on; a piece has at most 500,000."
CURSOR = "next_cursor of the page before; empty for the first page."
