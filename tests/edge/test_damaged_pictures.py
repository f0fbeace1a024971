"""Pictures that lost data but end well, and files of several pictures: each is one clear line."""

import io
import struct

import cv2
import numpy as np
import pytest
from picture_files import UPRIGHT, encoded, with_exif
from PIL import Image

from anomalib_lite.data.parts import render
from anomalib_lite.edge import FrameError, decode_frame, open_source, read_frame

PART = render("flange", seed=0, index=0, size=160).image
SMOOTH = cv2.GaussianBlur(PART, (0, 0), 1)
END = b"\xff\xd9"
RESTARTS = (cv2.IMWRITE_JPEG_RST_INTERVAL, 3)
JPEGS = {
    "baseline": encoded(".jpg", PART, 1, 90),
    "optimised": encoded(".jpg", PART, cv2.IMWRITE_JPEG_OPTIMIZE, 1),
    "grey": encoded(".jpg", PART[:, :, 1].copy()),
    "4:4:4": encoded(".jpg", PART, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111),
    "restarts": encoded(".jpg", PART, *RESTARTS),
}


def refused(data, message="part: "):
    with pytest.raises(FrameError, match=message) as caught:
        decode_frame(bytes(data), name="part")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7, 0.9, 0.98])
@pytest.mark.parametrize("kind", JPEGS)
def test_a_jpeg_that_was_cut_and_closed_is_refused(kind, share):
    data = JPEGS[kind]
    cut = max(int(len(data) * share), data.index(b"\xff\xda") + 30)
    cut -= data[cut - 1] == 0xFF
    refused(data[:cut] + END, "the JPEG is damaged")


@pytest.mark.parametrize("length", [64, 300, 3000])
@pytest.mark.parametrize("share", [0.4, 0.6])
@pytest.mark.parametrize("kind", JPEGS)
def test_a_jpeg_with_zeros_in_the_middle_or_at_the_end_is_refused(kind, share, length):
    data = JPEGS[kind]
    at = int(len(data) * share)
    at -= data[at - 1] == 0xFF
    refused(data[:at] + bytes(length) + data[at + length : -2] + END, "the JPEG is damaged")
    refused(data[:at] + bytes(length) + END, "the JPEG is damaged")


def test_another_picture_in_the_middle_of_a_jpeg_is_refused():
    data = JPEGS["baseline"]
    half = len(data) // 2
    refused(data[:half] + data, "another one begins inside it")


def test_a_lost_or_a_double_restart_marker_is_refused():
    data = JPEGS["restarts"]
    at = data.index(b"\xff\xd2")
    refused(data[:at] + data[at + 2 :], "restart markers, expected")
    refused(data[:at] + b"\xff\xd1" + data[at + 2 :], "restart markers out of order")
    refused(data[:at] + b"\xff\xd2" + data[at:], "restart markers")


def test_a_progressive_jpeg_whose_last_scans_are_missing_is_refused():
    data = encoded(".jpg", PART, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    decode_frame(data)
    scans = [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xda"]
    for at in scans[1:]:
        refused(data[:at] + END, "some of its scans are missing")


@pytest.mark.parametrize("scan", range(3))
def test_zeros_in_the_first_passes_of_a_progressive_jpeg_are_refused(scan):
    data = encoded(".jpg", PART, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    scans = [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xda"]
    at, size = scans[scan] + 20, (scans[scan + 1] - scans[scan]) // 2
    refused(data[:at] + bytes(size) + data[at + size :], "do not hold the picture")


def test_exact_mid_grey_is_no_damage_where_the_data_say_so():
    for frame in (np.full((64, 64, 3), 128, np.uint8), np.full((64, 64), 128, np.uint8)):
        np.testing.assert_array_equal(decode_frame(encoded(".jpg", frame)), frame)
    grounds = PART.copy()
    grounds[100:] = 128
    for options in ((), (cv2.IMWRITE_JPEG_OPTIMIZE, 1), RESTARTS):
        assert decode_frame(encoded(".jpg", grounds, *options)).shape == grounds.shape


@pytest.mark.parametrize("value", [0, 128, 255])
@pytest.mark.parametrize("optimise", [0, 1])
def test_a_picture_of_one_colour_is_no_damage(value, optimise):
    frame = np.full((200, 300, 3), value, np.uint8)
    data = encoded(".jpg", frame, cv2.IMWRITE_JPEG_OPTIMIZE, optimise)
    np.testing.assert_array_equal(decode_frame(data), frame)


@pytest.mark.parametrize("size", [(7, 9), (8, 8), (17, 15), (33, 64), (1, 50), (160, 90)])
@pytest.mark.parametrize("sampling", [0x111111, 0x211111, 0x221111, 0x411111])
@pytest.mark.parametrize("optimise", [0, 1])
def test_the_codes_of_whole_jpegs_of_any_shape_are_followed_to_their_end(size, sampling, optimise):
    from anomalib_lite.edge.pictures.jpeg import read_layout
    from anomalib_lite.edge.pictures.jpeg_entropy import follow_codes

    frame = np.random.default_rng(0).integers(0, 255, (*size, 3)).astype(np.uint8)
    options = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling, cv2.IMWRITE_JPEG_OPTIMIZE, optimise)
    data = encoded(".jpg", frame, *options)
    layout = read_layout(data, "part")
    (scan,) = layout.scans
    follow_codes(data, layout.frame, scan, "part")
    lost = scan._replace(end=scan.end - max(4, (scan.end - scan.start) // 4))
    with pytest.raises(FrameError, match="do not hold the picture"):
        follow_codes(data, layout.frame, lost, "part")


@pytest.mark.parametrize("kind", [".webp", ".tiff", ".jp2", ".jpg", ".png", ".avif", ".gif"])
@pytest.mark.parametrize("share", [0.4, 0.9])
def test_a_compressed_file_with_a_tail_of_zeros_is_refused(kind, share):
    data = encoded(kind, SMOOTH)
    at = int(len(data) * share)
    refused(data[:at] + bytes(len(data) - at))


def test_a_tiff_that_is_told_whole_but_lacks_strips_is_refused():
    data = encoded(".tiff", PART)
    start = struct.unpack_from("<I", data, 4)[0]
    refused(data[: start // 2] + bytes(start - start // 2) + data[start:], "end in zero bytes")
    directory = bytearray(data)
    for entry in range(start + 2, start + 2 + 12 * data[start], 12):
        if struct.unpack_from("<H", data, entry)[0] == 279:  # strip lengths
            struct.pack_into("<H", directory, entry, 279)
            struct.pack_into("<II", directory, entry + 4, 1, 1 << 24)
    refused(directory, "truncated or still being written")


@pytest.mark.parametrize("ground", [0, 255])
def test_a_black_or_white_ground_is_no_damage(ground):
    frame = np.full((160, 160, 3), ground, np.uint8)
    frame[20:90, 40:120] = PART[20:90, 40:120]
    for kind in (".bmp", ".ppm", ".png", ".tiff", ".webp", ".jpg"):
        assert decode_frame(encoded(kind, frame)).shape == frame.shape


def test_a_mask_and_a_black_picture_are_no_damage():
    black = np.zeros((64, 64), np.uint8)
    mask = black.copy()
    mask[3:9, 3:9] = 255
    for frame in (black, mask):
        for kind in (".bmp", ".pgm", ".png", ".tiff"):
            np.testing.assert_array_equal(decode_frame(encoded(kind, frame)), frame)


def several(kind):
    """Two pictures of the same size in one file."""
    first, second = Image.fromarray(PART), Image.fromarray(PART[::-1].copy())
    stream = io.BytesIO()
    first.save(stream, kind, save_all=True, append_images=[second])
    return stream.getvalue()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("GIF", "the GIF holds 2 pictures, expected one; save each as a file of its own"),
        ("PNG", "the PNG holds 2 pictures"),
        ("WEBP", "the WebP holds 2 pictures"),
        ("AVIF", "the AVIF holds several pictures"),
        ("MPO", "the JPEG holds 2 pictures"),
        ("TIFF", "holds 2 pictures, expected one; name one"),
    ],
)
def test_several_pictures_in_one_file_are_refused_by_name(kind, message):
    refused(several(kind), message)


def test_a_second_pnm_behind_the_first_is_refused():
    refused(encoded(".ppm", PART) * 2, "the PNM holds several pictures")


def test_a_single_frame_of_an_animated_format_is_a_picture():
    for kind in (".gif", ".webp", ".png", ".avif"):
        assert decode_frame(encoded(kind, PART)).shape == PART.shape


def test_a_thumbnail_behind_a_jpeg_is_no_second_picture():
    data = encoded(".jpg", PART)
    np.testing.assert_array_equal(
        decode_frame(data + encoded(".jpg", PART[::8, ::8].copy())), decode_frame(data)
    )


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("pages", [2, 5])
def test_a_tiff_of_several_pages_gives_a_frame_for_each(pages, big, tmp_path):
    frames = [np.roll(PART, 7 * page, axis=0) for page in range(pages)]
    Image.fromarray(frames[0]).save(
        tmp_path / "stack.tif",
        save_all=True,
        append_images=[Image.fromarray(frame) for frame in frames[1:]],
        big_tiff=big,
    )
    (tmp_path / "a.png").write_bytes(encoded(".png", PART))
    source = open_source(tmp_path)
    jobs = list(source.jobs())
    names = [job.name.removeprefix(f"{tmp_path}/") for job in jobs]
    assert names == ["a.png", *(f"stack.tif#{page + 1}" for page in range(pages))]
    assert len(source) == pages + 1
    for job, frame in zip(jobs[1:], frames, strict=True):
        np.testing.assert_array_equal(job.load(), frame)
        np.testing.assert_array_equal(read_frame(job.name), frame)
    with pytest.raises(FrameError, match=f"has {pages} pages, no page {pages + 1}"):
        read_frame(f"{tmp_path}/stack.tif#{pages + 1}")


def test_pages_may_differ_in_size_depth_and_orientation(tmp_path):
    upright = Image.Exif()
    upright[0x0112] = 6
    path = tmp_path / "mixed.tif"
    cv2.imwritemulti(str(path), [PART, PART[:80, :, 0].copy(), PART.astype(np.uint16) * 200])
    shapes = [(job.load().shape, str(job.load().dtype)) for job in open_source(path).jobs()]
    assert shapes == [
        ((160, 160, 3), "uint8"),
        ((80, 160), "uint8"),
        ((160, 160, 3), "uint16"),
    ]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["TIFF", "JPEG", "PNG", "WEBP"])
def test_the_orientation_is_applied_or_ignored_in_every_format_that_has_one(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream, plain = io.BytesIO(), io.BytesIO()
    picture = Image.fromarray(PART[:100])
    options = {"lossless": True} if kind == "WEBP" else {}
    picture.save(stream, kind, exif=exif, **options)
    picture.save(plain, kind, **options)
    stored = decode_frame(plain.getvalue())
    np.testing.assert_array_equal(decode_frame(stream.getvalue(), exif="ignore"), stored)
    np.testing.assert_array_equal(decode_frame(stream.getvalue()), UPRIGHT[orientation](stored))


def test_a_circle_of_tiff_pages_and_a_lost_directory_are_refused():
    data = bytearray(encoded(".tiff", PART))
    start = struct.unpack_from("<I", data, 4)[0]
    struct.pack_into("<I", data, start + 2 + 12 * data[start], start)
    refused(data, "pages lead in a circle")
    struct.pack_into("<I", data, start + 2 + 12 * data[start], 1 << 30)
    refused(data, "directory is not there")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("options", [(), RESTARTS])
def test_a_cut_jpeg_is_refused_however_it_is_turned(options, orientation):
    data = encoded(".jpg", PART[:150], *options)
    start = data.index(b"\xff\xda") + 14
    for share in (0.2, 0.8):
        cut = start + int(share * (len(data) - start))
        cut -= data[cut - 1] == 0xFF
        refused(with_exif(data[:cut] + END, orientation), "the JPEG is damaged")


@pytest.mark.parametrize("shape", [(64, 96, 3), (64, 96), (61, 83, 3)])
@pytest.mark.parametrize("options", [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), RESTARTS])
def test_a_jpeg_gives_the_pixels_that_opencv_gives_in_the_frames_order(options, shape):
    frame = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    data = encoded(".jpg", frame, *options)
    plain = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    expected = plain if plain.ndim == 2 else cv2.cvtColor(plain, cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(decode_frame(data), expected)
