"""The size that a compressed frame claims, before a decoder believes it."""

from __future__ import annotations

_J2K_START, _JPEG_START = b"\xff\x4f\xff\x51", b"\xff\xd8"
_JP2_BOX = b"jP  "
_END, _SCAN, _TILE_DATA = b"\xff\xd9", b"\xff\xda", b"\xff\x93"
"""EOI or EOC, SOS (JPEG, JPEG-LS), SOD (JPEG 2000)."""
_FRAME_HEADERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
"""SOF0 ... SOF15 of JPEG (ISO 10918-1, B.1.1.3) and SOF55 of JPEG-LS (ISO 14495-1)."""


def stream_size(frame: bytes) -> tuple[int, int] | None:
    """Rows and columns of a JPEG, JPEG-LS or JPEG 2000 stream, None where it doesn't say.

    JPEG 2000 has them in its SIZ marker (ISO 15444-1, A.5.1), the others in their frame header.
    """
    if frame[4:8] == _JP2_BOX:
        frame = frame[max(0, frame.find(_J2K_START)) :]
    if frame.startswith(_J2K_START):
        right, bottom, left, top = (int.from_bytes(frame[at : at + 4], "big") for at in (8, 12, 16, 20))
        return bottom - top, right - left
    return _jpeg_size(frame) if frame.startswith(_JPEG_START) else None


def has_end(frame: bytes) -> bool:
    """Whether a JPEG, JPEG-LS or JPEG 2000 stream continues to its end marker; what follows it is padding of any kind.

    In the data of a scan or a tile no FF is followed by a byte as high as that of a marker (ISO 10918-1, B.1.1.5;
    ISO 14495-1, A.1; ISO 15444-1, B.10.1), so an end marker behind the last start of data is that of the stream: a
    picture within its header has its own.
    """
    return frame.rfind(_END) > max(frame.rfind(_SCAN), frame.rfind(_TILE_DATA))


def _jpeg_size(frame: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker in _FRAME_HEADERS:
            return int.from_bytes(frame[at + 5 : at + 7], "big"), int.from_bytes(frame[at + 7 : at + 9], "big")
        if marker == 0xFF:  # a fill byte
            at += 1
        else:
            at += 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    return None
