"""What is refused before it is decoded: other things than files, and more pixels than agreed."""

import os
import socket
import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest
from picture_files import encoded

from anomalib_lite.edge import FrameError, SourceError, decode_frame, open_source, read_frame
from anomalib_lite.edge.pictures.header import peek_bytes, read_header

PICTURE = np.arange(64 * 48 * 3, dtype=np.uint32).astype(np.uint8).reshape(64, 48, 3)
SUFFIXES = (".jpg", ".png", ".bmp", ".tiff", ".webp", ".ppm", ".jp2", ".gif", ".avif", ".ras")


def giant(kind, side):
    """A file of a few bytes whose header announces `side` x `side` pixels."""
    data = bytearray(encoded(kind, PICTURE))
    if kind == ".png":
        data[16:24] = struct.pack(">II", side, side)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    elif kind == ".jpg":
        start = data.index(b"\xff\xc0")
        data[start + 5 : start + 9] = struct.pack(">HH", side, side)
    elif kind == ".bmp":
        data[18:26] = struct.pack("<ii", side, side)
    elif kind == ".gif":
        data[6:10] = struct.pack("<HH", side, side)
    elif kind == ".ppm":
        data = bytearray(data.replace(b"48 64", b"%d %d" % (side, side)))
    elif kind == ".jp2":
        at = data.index(b"\xff\x4f\xff\x51")
        data[at + 8 : at + 16] = struct.pack(">II", side, side)
    elif kind == ".tiff":
        directory = struct.unpack_from("<I", data, 4)[0]
        for entry in range(directory + 2, directory + 2 + 12 * data[directory], 12):
            if struct.unpack_from("<H", data, entry)[0] in (256, 257):
                data[entry : entry + 12] = data[entry : entry + 2] + struct.pack("<HII", 4, 1, side)
    return bytes(data)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_header_tells_the_size_of_every_format_that_is_read(suffix):
    header = read_header(peek_bytes(encoded(suffix, PICTURE)), "x")
    assert (header.height, header.width) == (64, 48)
    assert decode_frame(encoded(suffix, PICTURE)).shape == (64, 48, 3)


@pytest.mark.parametrize("kind", [".png", ".jpg", ".bmp", ".gif", ".ppm", ".jp2", ".tiff"])
def test_a_bomb_is_refused_by_its_header(kind, tmp_path):
    path = tmp_path / f"bomb{kind}"
    path.write_bytes(giant(kind, 30_000))
    for read in (lambda: read_frame(path), lambda: decode_frame(path.read_bytes(), name="bomb")):
        with pytest.raises(
            FrameError, match=r"is 30000x30000 pixels, 900 megapixels; more than 100"
        ):
            read()


@pytest.mark.parametrize(
    ("limit", "refused"), [(0.0030, True), (0.0031, False), (100, False), (1e-9, True)]
)
def test_the_limit_is_the_callers(limit, refused, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encoded(".png", PICTURE))
    jobs = [*open_source(tmp_path, max_megapixels=limit).jobs()]
    jobs += [*open_source([path], max_megapixels=limit).jobs()]
    for job in jobs:
        if refused:
            with pytest.raises(FrameError, match="raise --max-megapixels"):
                job.load()
        else:
            assert job.load().shape == (64, 48, 3)


def test_a_huge_sparse_file_costs_no_memory(tmp_path):
    for name, head in (("a.png", b""), ("b.png", encoded(".png", PICTURE)), ("c.tif", b"II*\0")):
        with (tmp_path / name).open("wb") as file:
            file.write(head)
            file.truncate(6 << 30)
    program = (
        "import resource, sys\n"
        "from anomalib_lite.edge import FrameError, read_frame\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak()\n"
        "for name in 'a.png', 'b.png', 'c.tif':\n"
        "    try: read_frame(sys.argv[1] + '/' + name)\n"
        "    except FrameError as error: print(error)\n"
        "print((peak() - before) // 1024)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert "a.png: not a readable image" in lines[0]
    assert "b.png: the file has 6442 MB for 64x48 pixels" in lines[1]
    assert "c.tif: not a readable image" in lines[2]
    assert int(lines[3]) < 20


@pytest.fixture
def special(tmp_path):
    """One of each thing that is no file, under a picture's name."""
    os.mkfifo(tmp_path / "pipe.png")
    os.symlink("/dev/zero", tmp_path / "zero.png")
    os.symlink("pipe.png", tmp_path / "linked.png")
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "s.png"))
    yield tmp_path
    server.close()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("pipe.png", "a named pipe"),
        ("linked.png", "a named pipe"),
        ("zero.png", "a character device"),
        ("s.png", "a socket"),
    ],
)
def test_what_is_no_file_is_named_and_not_opened(name, kind, special):
    with pytest.raises(FrameError, match=f"is {kind}, not a regular file; it is not opened"):
        read_frame(special / name)
    with pytest.raises(SourceError, match=f"is {kind}, expected a folder, a picture or a video"):
        open_source(special / name)


def test_a_folder_with_things_that_are_no_files_gives_an_error_for_each(special):
    (special / "a.png").write_bytes(encoded(".png", PICTURE))
    said = []
    for job in open_source(special).jobs():
        try:
            said.append(job.load().shape)
        except FrameError as error:
            said.append(str(error).removeprefix(f"{special}/"))
    assert said == [
        (64, 48, 3),
        *(
            f"{name}: is {kind}, not a regular file; it is not opened"
            for name, kind in (
                ("pipe.png", "a named pipe"),
                ("s.png", "a socket"),
                ("zero.png", "a character device"),
            )
        ),
    ]


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (
            b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
            "is a HEIF/HEIC file, which cannot be decoded here",
        ),
        (b"\xff\x0a" + bytes(40), "is a JPEG XL file"),
        (b"8BPS\0\x01" + bytes(40), "is a Photoshop file"),
    ],
)
def test_pictures_that_cannot_be_decoded_are_named(head, message, tmp_path):
    path = tmp_path / "picture"
    path.write_bytes(head)
    (job,) = open_source(tmp_path).jobs()
    with pytest.raises(FrameError, match=message):
        job.load()


def test_camera_raw_files_are_not_taken_for_their_preview():
    data = bytearray(encoded(".tiff", PICTURE))
    directory = struct.unpack_from("<I", data, 4)[0]
    entry = struct.pack("<HHII", 254, 4, 1, 1)
    count = data[directory]
    entries = data[directory + 2 : directory + 2 + 12 * count]
    data[4:8] = struct.pack("<I", len(data))
    data += struct.pack("<H", count + 1) + entry + entries + bytes(4)
    with pytest.raises(FrameError, match="begins with a preview, as camera raw files do"):
        decode_frame(bytes(data))


def test_every_picture_of_a_folder_is_judged_by_its_own_header(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), PICTURE)
    (tmp_path / "bomb.png").write_bytes(giant(".png", 20_000))
    outcomes = []
    for job in open_source(tmp_path).jobs():
        try:
            outcomes.append(job.load().shape)
        except FrameError:
            outcomes.append("refused")
    assert outcomes == [(64, 48, 3), "refused"]
