"""Films of a few bytes, as legal as any: made box by box, so that each part can be left out, moved or broken."""

import struct

PICTURES = bytes(range(256)) * 4


def box(kind: bytes, *contents: bytes, wide: bool = False, to_the_end: bool = False) -> bytes:
    """Make a box with the short or the long form of its size, or with the one that means the rest of the file."""
    content = b"".join(contents)
    if wide:
        return struct.pack(">I4sQ", 1, kind, len(content) + 16) + content
    return struct.pack(">I4s", 0 if to_the_end else len(content) + 8, kind) + content


FTYP = box(b"ftyp", b"mp42\0\0\0\0mp42isom")


def mvhd(scale: int, length: int) -> bytes:
    return box(b"mvhd", struct.pack(">B3x8xII80x", 0, scale, length))


def table(first: int, size: int, samples: int = 1, *, chunks: int = 1) -> bytes:
    """Make a sample table: so many chunks of as many samples each, all of one size, one after the other."""
    each = samples // chunks if chunks else 0
    offsets = [first + size * each * number for number in range(chunks)]
    return box(
        b"stbl",
        box(b"stsd", struct.pack(">4xI", 1), box(b"avc1", bytes(78))),
        box(b"stts", struct.pack(">4xIII", 1, samples, 100)),
        box(b"stsc", struct.pack(">4xIIII", 1, 1, each, 1)),
        box(b"stsz", struct.pack(f">4xII{samples}I", 0, samples, *[size] * samples)),
        box(b"stco", struct.pack(f">4xI{chunks}I", chunks, *offsets)),
    )


def track(samples: bytes, kind: bytes = b"vide", number: int = 1) -> bytes:
    """Make a track of a kind with a sample table."""
    handler = box(b"hdlr", struct.pack(">4x4x4s12x", kind), b"\0")
    header = box(b"tkhd", struct.pack(">4x8xI68x", number))
    return box(b"trak", header, box(b"mdia", handler, box(b"minf", samples)))


def movie(*tracks: bytes, wide: bool = False) -> bytes:
    """Make a movie header that says 5 seconds."""
    return box(b"moov", mvhd(600, 3000), *tracks, wide=wide)


def film(pictures: bytes = PICTURES, *, before: bytes = FTYP, behind: bytes = b"") -> bytes:
    """Make a film with its content before its header, in one sample."""
    return before + box(b"mdat", pictures) + movie(track(table(len(before) + 8, len(pictures)))) + behind


def film_header_first(pictures: bytes = PICTURES, *, to_the_end: bool = False, behind: bytes = b"") -> bytes:
    """Make a film with its header before its content."""
    start = len(FTYP) + len(movie(track(table(0, len(pictures)))))
    header = movie(track(table(start + 8, len(pictures))))
    return FTYP + header + box(b"mdat", pictures, to_the_end=to_the_end) + behind


def fragment(pictures: bytes = PICTURES, number: int = 1) -> bytes:
    """Make a fragment with one sample of a track."""
    run = box(b"trun", struct.pack(">II", 0x200, 1), struct.pack(">I", len(pictures)))
    part = box(b"traf", box(b"tfhd", struct.pack(">II", 0x20000, number)), run)
    return box(b"moof", box(b"mfhd", struct.pack(">4xI", 1)), part) + box(b"mdat", pictures)


def film_in_fragments(fragments: int = 3) -> bytes:
    """Make a film whose header names no sample, followed by fragments."""
    extends = box(b"mvex", box(b"trex", struct.pack(">4xIIIII", 1, 1, 0, 0, 0)))
    return FTYP + movie(track(table(0, 0, 0, chunks=0)), extends) + fragment() * fragments
