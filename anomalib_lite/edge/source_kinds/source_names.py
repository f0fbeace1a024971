"""How people name cameras, streams and folders, and how it is written here."""

from __future__ import annotations

import os
import re

_STREAM = (
    "network streams are not read; record a video file, or hand each frame to EdgeModel.predict in "
    "a program of yours; a camera of this machine is camera:N"
)
_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):/+", re.IGNORECASE)  # a `Path` keeps one slash
_DEVICE = re.compile(r"/dev/video(\d+)")
_NUMBER = re.compile(r"-?\d+")
_CAMERA = re.compile(r"(usb|web|ip)?[\s:_-]*cam(era)?(?![a-z])[^/\\.]*", re.IGNORECASE)
_LOCAL_KINDS = "avfoundation cam camera dshow libcamera msmf picam usb v4l v4l2 webcam"
_MAKERS_KINDS = (
    "aravis basler daheng flir genicam gev gige gigevision gvsp hik hikrobot ids matrix mvs pylon "
    "realsense spinnaker u3v usb3vision vimba zed"
)
_LOCAL, _MAKERS = frozenset(_LOCAL_KINDS.split()), frozenset(_MAKERS_KINDS.split())
_KIND = re.compile(r"([a-z0-9]+?)(:.*|[_-]?\d+)?", re.IGNORECASE)
_IP = re.compile(r"((\d{1,3}\.){3}\d{1,3}|\[[0-9a-f:]+\])(:\d+)?(/.*)?", re.IGNORECASE)
_HOST = re.compile(r"(localhost|[a-z0-9-]+(\.[a-z0-9-]+)+):\d{2,5}(/.*)?", re.IGNORECASE)
_WRITE_CAMERA = "a camera is written camera:N, N counted from 0; write camera:0 for the first"
_STREAMS = frozenset(["rtsp", "rtsps", "rtmp", "rtp", "udp", "tcp", "srt", "mms", "gst"])


def spelling_of(text: str) -> str:
    """What to write instead of a name under which there is nothing; empty where nobody can tell.

    Args:
        text: as it was given.
    """
    if text in ("-", "/dev/stdin", "/dev/fd/0"):
        return "standard input is not read; write a folder, a file, or camera:N for a camera"
    kind = None if text.lower() in _LOCAL else _KIND.fullmatch(text)
    named = kind.group(1).lower() if kind else ""
    if named in _MAKERS:
        return (
            "cameras of industrial interfaces are read by their maker's program, which hands each "
            "frame to EdgeModel.predict; what the system shows as a webcam is camera:N"
        )
    if named in _LOCAL:
        device = _DEVICE.search(text)
        number = device.group(1) if device else re.sub(r"\D*(\d*).*", r"\1", text[len(named) :])
        return _camera(number)
    if text.startswith("/dev/v4l"):
        device = _DEVICE.fullmatch(os.path.realpath(text))
        return _camera(device.group(1) if device else "")
    if _IP.fullmatch(text) or _HOST.fullmatch(text):
        return _STREAM
    address = _ADDRESS.match(text)
    if address:
        return _address(address.group(1).lower(), text[address.end() :])
    device = _DEVICE.fullmatch(text)
    if device:
        return _camera(device.group(1))
    if _NUMBER.fullmatch(text):
        number = max(0, int(text))
        return f"a camera is written camera:N; write camera:{number} if the camera is meant"
    if _CAMERA.fullmatch(text):
        return _WRITE_CAMERA
    if text.startswith("~"):
        return "'~' in quotes is not the home folder; write the whole path"
    return ""


def _camera(number: str) -> str:
    if not number:
        return _WRITE_CAMERA
    return f"a camera is written camera:N; write camera:{int(number)}"


def _address(scheme: str, rest: str) -> str:
    if scheme == "file":
        return f"write the path alone: /{rest or 'path/to/folder'}"
    if scheme in _STREAMS:
        return _STREAM
    return (
        "nothing is fetched from the network; copy the pictures or the video here and name the "
        "folder or file (a camera of this machine is camera:N)"
    )
