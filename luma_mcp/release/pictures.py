"""Make the pictures of README from the sandbox: `python -m luma_mcp.release.pictures`. Needs PyAV and Chromium."""

import json
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from luma_mcp.cli.console import print_result
from luma_mcp.release.png import black_share, png_of
from luma_mcp.release.sandbox_user import CLIP, SandboxUser
from luma_mcp.release.terminal import draw_terminal

FOLDER = Path(__file__).parent
MORE_PROMPTS = ("thick fog at first light", "mist in late October, leaves turning gold", "a cold and hazy morning")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WINDOW = "1200,460"
MAX_ATTEMPTS = 10
MAX_BLACK = 0.05  # of the picture; one video is more
LOADED_MILLISECONDS = 10_000  # of the browser's own time, which runs ahead while nothing is fetched


def main() -> None:
    """Make all three, in the order in which the sandbox is used."""
    with tempfile.TemporaryDirectory() as folder:
        user = SandboxUser(Path(folder).resolve())
        user.add_clip()
        print_result(write_picture(FOLDER / "terminal.svg", draw_terminal(user.type_commands()).encode()))
        print_result(write_picture(FOLDER / "contact-sheet.png", png_of(contact_sheet(user))))
        print_result(write_picture(FOLDER / "gallery.png", gallery(user)))


def write_picture(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)


def contact_sheet(user: SandboxUser) -> bytes:
    """Give what `preview_video` shows of the newest task, a JPEG."""
    listed = json.loads(user.run("tasks", "--sandbox", "--json"))
    picture = user.home / "sheet.jpg"
    user.run("preview", listed["tasks"][0]["task_id"], "--sandbox", "--output", str(picture))
    return picture.read_bytes()


def gallery(user: SandboxUser) -> bytes:
    """Give a picture of the gallery with some more tasks, a PNG.

    Headless browsers often take it before they have drawn the videos, which are black then.
    """
    prompts = [word for prompt in MORE_PROMPTS for word in ("--prompt", prompt)]
    user.run("modify", CLIP, *prompts, "--yes", "--sandbox")
    for _ in range(MAX_ATTEMPTS):
        picture = gallery_as_it_opens(user)
        if black_share(picture) < MAX_BLACK:
            return picture
    sys.exit(f"The browser did not draw the videos in {MAX_ATTEMPTS} attempts.")


def gallery_as_it_opens(user: SandboxUser) -> bytes:
    with user.start("gallery", "--sandbox") as server:
        try:
            address = next(line.strip() for line in server.stderr or () if line.startswith("http://"))
            return screenshot(user, address)
        finally:
            server.send_signal(signal.SIGTERM)


def screenshot(user: SandboxUser, address: str) -> bytes:
    """Give what a browser shows at an address, a PNG."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit(f"The picture of the gallery needs one of these in PATH: {', '.join(BROWSERS)}")
    picture = user.home / "gallery.png"
    flags = ("--headless=new", "--no-sandbox", "--hide-scrollbars", f"--user-data-dir={user.home / 'browser'}")
    shot = (f"--window-size={WINDOW}", f"--virtual-time-budget={LOADED_MILLISECONDS}", f"--screenshot={picture}")
    subprocess.run(  # noqa: S603 - a browser from PATH, at our own server
        [browser, *flags, *shot, address], env=user.environment, stderr=subprocess.DEVNULL, check=True, timeout=60
    )
    return picture.read_bytes()


if __name__ == "__main__":
    main()
