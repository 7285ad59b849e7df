"""What can go wrong with files: the ledger, the folder for videos, and a finished video on its way there."""

from luma_mcp.core.errors import BadAnswer, Charged, LumaError, ServiceUnavailable


class OutputNotWritable(LumaError):
    """A folder that this server writes to cannot be written."""

    code = "output_not_writable"
    hint = "Make the folder writable, or name another one with LUMA_MCP_OUTPUT_DIR."


class LedgerUnusable(OutputNotWritable):
    """The ledger of tasks cannot be opened, read or written."""

    hint = (
        "Make the data folder readable and writable for this user; or move it, with the ledger in it, and name its new"
        " place with LUMA_MCP_DATA_DIR."
    )


class TaskUnreadable(LedgerUnusable):
    """What the ledger holds of one task makes no sense: somebody else wrote it, or the disk is failing."""

    retry_safe = False
    hint = (
        "Nothing is done with it. Look at the RunAPI account for the task before it is asked for again; if the file was"
        " not changed by anybody, have its disk looked at."
    )


class LedgerDamaged(LedgerUnusable):
    """The ledger's file was damaged; it is kept aside, and a new one is in its place."""

    retry_safe = False
    hint = (
        "Call list_tasks. A task that is missing may have been charged: look at the RunAPI account before repeating it."
    )


class VideoNotWritten(OutputNotWritable):
    """The finished video was paid for, and there is no place to save it."""

    charged: Charged = "yes"
    hint = (
        "Make the output folder writable and room on its disk: the video is then saved by itself, or at once by"
        " save_video. Or download it from video_urls before expires_at."
    )


class DownloadFailed(LumaError):
    """The finished video could not be saved; it exists and was paid for."""

    code = "download_failed"
    transient = True
    charged: Charged = "yes"
    hint = (
        "This server keeps trying to save it. Call save_video later to try at once, or give the user the link in"
        " video_urls, which works until expires_at."
    )


class VideoGone(DownloadFailed):
    """The finished video was not saved while RunAPI kept it."""

    transient = False
    hint = (
        "Tell the user that it was paid for and is gone: its link has expired, and there is no saved file where this"
        " server looks."
    )


class LinkRefused(DownloadFailed):
    """RunAPI's storage refuses the link to the finished video."""

    hint = (
        "The link in video_urls is refused at the moment, so do not give it to the user: call save_video later, and"
        " this server asks RunAPI for a new one. It was paid for; RunAPI's support can help with the task_id."
    )


class NoVideoThere(DownloadFailed):
    """What lies where the finished video should is no whole video."""

    hint = (
        "What the link in video_urls leads to is no whole video at the moment: call save_video later, or let the user"
        " look at it there. It was paid for; RunAPI's support can help with the task_id."
    )


class DownloadRefused(DownloadFailed):
    """The finished video is not fetched from where it lies."""

    transient = False
    hint = "Give the user the link in video_urls; it works until expires_at."


class VideoTooLarge(DownloadRefused):
    """What should be the finished video is too large for one; it is not fetched by itself again."""


class UploadRefused(ServiceUnavailable):
    """RunAPI's storage does not take a clip, and would not if it were sent again."""

    transient = False
    hint = "Nothing was submitted. Repeat the call in a few minutes, or give an http(s) URL that RunAPI can fetch."


class UploadAddressRefused(BadAnswer):
    """RunAPI named an address that clips are not sent to."""

    transient = False
