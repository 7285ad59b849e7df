"""How a request over HTTP is read: in one way only, or it is not taken."""

from itertools import takewhile

import h11

SPOKEN = frozenset({b"1.0", b"1.1"})


class Unambiguous(h11.Connection):
    """Takes no request whose end another program before this one may see elsewhere (RFC 9112, 6.3 and 11.2)."""

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """Give what came; raise `h11.RemoteProtocolError` for a request that can be read in two ways."""
        head = self.trailing_data[0] if self.their_state is h11.IDLE else b""
        event = super().next_event()
        if isinstance(event, h11.Request):
            if event.http_version not in SPOKEN:
                raise h11.RemoteProtocolError("another version of HTTP is spoken")
            if is_ambiguous(head, event.http_version):
                raise h11.RemoteProtocolError("the length of the request is said in more than one way")
        return event


def is_ambiguous(request: bytes, version: bytes) -> bool:
    """Tell whether the head of a request names its length twice, or in a way that not everybody knows."""
    lines = [line.rstrip(b"\r") for line in request.lstrip(b"\r\n").split(b"\n")]
    fields = list(takewhile(bool, lines[1:]))
    named = [(name.lower(), value) for name, _, value in (field.partition(b":") for field in fields)]
    lengths = [value for name, value in named if name == b"content-length"]
    codings = [value for name, value in named if name == b"transfer-encoding"]
    folded = any(field[:1].isspace() for field in fields)
    unknown = bool(codings) and version != b"1.1"
    return folded or unknown or len(lengths) + len(codings) > 1 or any(b"," in value for value in lengths)
