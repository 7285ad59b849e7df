"""The suite's resources, and the pieces of content that its tools and prompts embed."""

import json
import re

import mcp.types as wire

Contents = wire.TextResourceContents | wire.BlobResourceContents

STATIC_TEXT = "test://static-text"
STATIC_BINARY = "test://static-binary"
WATCHED = "test://watched-resource"
TEMPLATE = "test://template/{id}/data"
TEMPLATE_URIS = re.compile(r"test://template/([^/]+)/data")

RED_PIXEL = (  # a PNG of one pixel
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
)
SILENCE = "UklGRiUAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQEAAACA"  # a WAV of one sample

IMAGE = wire.ImageContent(type="image", data=RED_PIXEL, mime_type="image/png")
AUDIO = wire.AudioContent(type="audio", data=SILENCE, mime_type="audio/wav")


def text_contents(uri: str, text: str, mime_type: str = "text/plain") -> wire.TextResourceContents:
    """Make the contents of a text resource."""
    return wire.TextResourceContents(uri=uri, mime_type=mime_type, text=text)


def embedded(contents: Contents) -> wire.EmbeddedResource:
    """Embed contents in an answer."""
    return wire.EmbeddedResource(type="resource", resource=contents)


STATIC: dict[str, Contents] = {
    STATIC_TEXT: text_contents(STATIC_TEXT, "This is the content of the static text resource."),
    STATIC_BINARY: wire.BlobResourceContents(uri=STATIC_BINARY, mime_type="image/png", blob=RED_PIXEL),
    WATCHED: text_contents(WATCHED, "This resource can be subscribed to; it never changes."),
}
RESOURCES = [
    wire.Resource(uri=uri, name=uri.removeprefix("test://"), mime_type=contents.mime_type)
    for uri, contents in STATIC.items()
]
TEMPLATES = [wire.ResourceTemplate(uri_template=TEMPLATE, name="template", mime_type="application/json")]


def read(uri: str) -> Contents | None:
    """Give the contents of a resource of the suite, or None for any other URI."""
    if match := TEMPLATE_URIS.fullmatch(uri):
        data = {"id": match[1], "templateTest": True, "data": f"Data for ID: {match[1]}"}
        return text_contents(uri, json.dumps(data), "application/json")
    return STATIC.get(uri)
