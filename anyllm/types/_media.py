"""Images, documents and audio for messages: from a URL, a file or bytes to a URL or base64."""

from __future__ import annotations

import base64
import mimetypes
import os
from pathlib import Path
from typing import Optional, Union

#: A URL, a data URL, the path of a file, or the bytes themselves.
Source = Union[str, "os.PathLike[str]", bytes]

_URLS = ("http://", "https://", "data:", "gs://", "s3://")
#: The first bytes of the formats that models accept.
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"%PDF-", "application/pdf"),
    (b"ID3", "audio/mpeg"),
    (b"fLaC", "audio/flac"),
    (b"OggS", "audio/ogg"),
)
_AUDIO_FORMATS = {"audio/mpeg": "mp3", "audio/x-wav": "wav", "audio/wav": "wav"}


def as_url(source: Source, media_type: Optional[str] = None) -> str:
    """A URL as it is, everything else as a data URL; ValueError if the media type is unknown."""
    if isinstance(source, str) and source.lower().startswith(_URLS):
        return source
    data, detected = _read(source)
    kind = media_type or detected
    if kind is None:
        raise ValueError("the bytes do not show the media type: pass media_type='image/png', for example")
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def as_sound(source: Source) -> tuple[str, str]:
    """The bytes in base64, and the format ("wav", "mp3")."""
    data, kind = _read(source)
    if kind is None or not kind.startswith("audio/"):
        raise ValueError("the bytes do not show the audio format: pass format='wav', for example")
    return base64.b64encode(data).decode(), _AUDIO_FORMATS.get(kind, kind[len("audio/") :])


def file_name(source: Source) -> Optional[str]:
    """The name of the file, if *source* is the path of one."""
    if isinstance(source, bytes) or (isinstance(source, str) and source.lower().startswith(_URLS)):
        return None
    return Path(source).name


def _read(source: Source) -> tuple[bytes, Optional[str]]:
    """The bytes and their media type, from the bytes or the file name; None if it is unknown."""
    if isinstance(source, (bytes, bytearray)):
        return bytes(source), media_type_of(source)
    path = Path(source)
    data = path.read_bytes()
    return data, media_type_of(data) or mimetypes.guess_type(path.name)[0]


def media_type_of(data: bytes) -> Optional[str]:
    """The media type by the first bytes of *data*; None if it is unknown."""
    if data[:4] == b"RIFF":
        return {b"WEBP": "image/webp", b"WAVE": "audio/wav"}.get(data[8:12])
    return next((kind for magic, kind in _MAGIC if data.startswith(magic)), None)
