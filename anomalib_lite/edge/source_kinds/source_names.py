"""How people name cameras, streams and folders, and how it is written here."""

from __future__ import annotations

import re

_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):/+", re.IGNORECASE)  # a `Path` keeps one slash
_DEVICE = re.compile(r"/dev/video(\d+)")
_NUMBER = re.compile(r"-?\d+")
_CAMERA = re.compile(r"(usb|web|ip)?[\s:_-]*cam(era)?(?![a-z])[^/\\.]*", re.IGNORECASE)
_STREAMS = frozenset(["rtsp", "rtsps", "rtmp", "rtp", "udp", "tcp", "srt", "mms", "gst"])


def spelling_of(text: str) -> str:
    """What to write instead of a name under which there is nothing; empty where nobody can tell.

    Args:
        text: as it was given.
    """
    address = _ADDRESS.match(text)
    if address:
        return _address(address.group(1).lower(), text[address.end() :])
    device = _DEVICE.fullmatch(text)
    if device:
        return f"a camera is written camera:N; write camera:{int(device.group(1))}"
    if _NUMBER.fullmatch(text):
        number = max(0, int(text))
        return f"a camera is written camera:N; write camera:{number} if the camera is meant"
    if _CAMERA.fullmatch(text):
        return "a camera is written camera:N, N counted from 0; write camera:0 for the first"
    if text.startswith("~"):
        return "'~' in quotes is not the home folder; write the whole path"
    return ""


def _address(scheme: str, rest: str) -> str:
    if scheme == "file":
        return f"write the path alone: /{rest or 'path/to/folder'}"
    if scheme in _STREAMS:
        return (
            "network streams are not read; record a video file, or hand each frame to "
            "EdgeModel.predict in a program of yours; a camera of this machine is camera:N"
        )
    return (
        "nothing is fetched from the network; copy the pictures or the video here and name the "
        "folder or file (a camera of this machine is camera:N)"
    )
