"""Image folders: classes by name, pixels as in the file, scaling, limits, and changes between passes."""

import os
import struct
import sys
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from hessent.data.registry import open_dataset
from hessent.data.stream import BatchStream
from hessent.errors import DataError

RANDOM = np.random.default_rng(0)


def save(path, shape=(8, 8, 3), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RANDOM.integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return pixels


@pytest.fixture
def folder(tmp_path):
    for name in ("zebra", "ant"):
        for number in range(3):
            save(tmp_path / "pictures" / name / f"{number}.png")
    return tmp_path / "pictures"


def everything(dataset):
    return dataset.fetch(torch.arange(len(dataset)))


def test_classes_are_numbered_by_name_and_pixels_are_kept(tmp_path):
    ant, zebra = save(tmp_path / "ant" / "b.png"), save(tmp_path / "zebra" / "a.png")
    dataset = open_dataset(f"images:{tmp_path}?mean=0.5,0.5,0.5&std=0.25")
    inputs, targets = everything(dataset)
    expected = torch.stack([torch.from_numpy(pixels).permute(2, 0, 1) for pixels in (ant, zebra)])
    torch.testing.assert_close(inputs, (expected / 255 - 0.5) / 0.25)
    assert targets.tolist() == [0, 1]
    assert (dataset.spec.input_shape, dataset.spec.num_classes, dataset.splits) == ((3, 8, 8), 2, ("train",))


def test_the_bare_folder_is_enough(folder):
    assert len(open_dataset(str(folder))) == 6


def test_splits_are_folders_and_val_serves_as_test(tmp_path):
    for split in ("train", "val"):
        for name in ("a", "b"):
            save(tmp_path / split / name / "0.png")
    assert open_dataset(f"images:{tmp_path}").splits == ("train", "test")
    assert len(open_dataset(f"images:{tmp_path}", split="test")) == 2
    save(tmp_path / "val" / "c" / "0.png")
    with pytest.raises(DataError, match="'c' is only in one"):
        open_dataset(f"images:{tmp_path}", split="test")


def test_a_folder_without_splits_has_no_test_split(folder):
    with pytest.raises(DataError, match="no split 'test'"):
        open_dataset(f"images:{folder}", split="test")


def test_size_scales_the_shorter_side_and_cuts_the_middle(tmp_path):
    for name in ("a", "b"):
        pixels = np.zeros((10, 30, 3), dtype=np.uint8)
        pixels[:, 10:20] = 200  # the middle third
        (tmp_path / name).mkdir()
        Image.fromarray(pixels).save(tmp_path / name / "0.png")
    inputs, _ = everything(open_dataset(f"images:{tmp_path}?size=10"))
    assert inputs.shape == (2, 3, 10, 10)
    torch.testing.assert_close(inputs, torch.full_like(inputs, 200 / 255))
    larger, _ = everything(open_dataset(f"images:{tmp_path}?size=10&resize=20&interpolation=bicubic"))
    torch.testing.assert_close(larger, torch.full_like(larger, 200 / 255))
    with pytest.raises(DataError, match="resize=5 is below size=10"):
        open_dataset(f"images:{tmp_path}?size=10&resize=5")


def test_grey_images_and_jpegs_serve_both_channel_counts(tmp_path):
    save(tmp_path / "a" / "0.jpg", (8, 8))
    save(tmp_path / "b" / "0.JPEG", (8, 8, 3))
    assert everything(open_dataset(f"images:{tmp_path}"))[0].shape == (2, 3, 8, 8)
    assert everything(open_dataset(f"images:{tmp_path}?channels=1&mean=0.5"))[0].shape == (2, 1, 8, 8)


def test_images_of_different_sizes_need_a_size(folder):
    save(folder / "ant" / "9.png", (9, 8, 3))
    dataset = open_dataset(f"images:{folder}")
    with pytest.raises(DataError, match=r"9\.png.*\(3, 9, 8\).*\n.*\n.*size=224"):
        everything(dataset)
    assert everything(open_dataset(f"images:{folder}?size=8"))[0].shape == (7, 3, 8, 8)


def test_a_second_pass_gives_the_same_pixels_from_memory(folder):
    dataset = open_dataset(f"images:{folder}")
    first = everything(dataset)[0]
    for path in folder.rglob("*.png"):
        path.unlink()
    assert torch.equal(everything(dataset)[0], first)


def test_a_file_that_changes_between_passes_is_noticed(folder, monkeypatch):
    monkeypatch.setattr("hessent.data.images._CACHE_BYTES", 0)
    stream = BatchStream(open_dataset(f"images:{folder}"), batch_size=4)
    assert len(list(stream)) == 2
    save(folder / "zebra" / "1.png", (8, 8, 3), compress_level=0)
    with pytest.raises(DataError, match="changed while"):
        list(stream)


def test_a_file_that_changes_after_the_fingerprint_is_noticed(folder):
    stream = BatchStream(open_dataset(f"images:{folder}"), batch_size=4)
    assert len(stream.sha256) == 64
    save(folder / "zebra" / "1.png", (8, 8, 3), compress_level=0)
    with pytest.raises(DataError, match="changed while"):
        list(stream)


def test_the_fingerprint_follows_files_and_parameters(folder):
    def fingerprint(query=""):
        return BatchStream(open_dataset(f"images:{folder}{query}"), batch_size=4).sha256

    first = fingerprint()
    assert first == fingerprint()
    assert first != fingerprint("?mean=0.5")
    assert first != fingerprint("?size=4")
    save(folder / "ant" / "1.png")
    assert first != fingerprint()


def test_sixteen_bit_images_are_refused_not_cut_off(folder):
    Image.fromarray(np.full((8, 8), 40_000, dtype=np.uint16)).save(folder / "ant" / "0.png")
    with pytest.raises(DataError, match="eight bits"):
        open_dataset(f"images:{folder}")


def test_a_palette_with_transparency_is_a_sound_image(folder):
    image = Image.fromarray(RANDOM.integers(0, 256, (8, 8, 3), dtype=np.uint8)).quantize(16)
    image.save(folder / "ant" / "0.png", transparency=bytes(range(16)))
    inputs, _ = open_dataset(f"images:{folder}").fetch(torch.tensor([0]))
    expected = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1) / 255
    torch.testing.assert_close(inputs[0], expected)


def png(width, height, data=b""):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def text_bomb():
    content = b"comment\0\0" + zlib.compress(bytes(50 * 2**20))
    chunk = struct.pack(">I", len(content)) + b"zTXt" + content + struct.pack(">I", zlib.crc32(b"zTXt" + content))
    whole = png(8, 8, bytes(25 * 8))
    return whole[:33] + chunk + whole[33:]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no sound image"),
        (b"not an image", "no sound image"),
        (png(8, 8, bytes(3)), "no sound image"),
        (png(9_000, 9_000), "pixels"),
        (png(60_000, 60_000), "no sound image"),
        (text_bomb(), "no sound image"),
        (b"GIF89a" + bytes(100), "no sound image"),
    ],
)
def test_broken_and_hostile_images_are_refused_by_name(folder, content, message):
    (folder / "ant" / "0.png").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        open_dataset(f"images:{folder}")
    assert "ant/0.png" in str(caught.value)


def test_a_pipe_among_the_images_does_not_make_it_wait(folder):
    os.mkfifo(folder / "ant" / "0a.png")
    with pytest.raises(DataError, match="not a regular file"):
        everything(open_dataset(f"images:{folder}"))


def test_a_huge_file_is_not_read(folder):
    with (folder / "ant" / "0.png").open("wb") as file:
        file.truncate(2**28)
    with pytest.raises(DataError, match="268,435,456 bytes"):
        open_dataset(f"images:{folder}")


def test_control_characters_in_file_names_are_shown_harmless(folder):
    (folder / "ant" / "0\x1b[31m.png").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        everything(open_dataset(f"images:{folder}"))
    assert "\x1b" not in str(caught.value)


def test_images_of_other_kinds_are_not_left_out_silently(folder):
    (folder / "ant" / "x.webp").write_bytes(b"")
    (folder / "ant" / "notes.txt").write_text("fine")
    with pytest.raises(DataError, match=r"1 images of other kinds, such as 'x\.webp'"):
        open_dataset(f"images:{folder}")


@pytest.mark.parametrize(
    ("made", "message"),
    [([], "0 class folders"), (["one"], "1 class folder$|1 class folder\n"), (["one", "two"], "holds no image")],
)
def test_a_folder_of_another_form_is_refused(tmp_path, made, message):
    for name in made:
        (tmp_path / name).mkdir()
    with pytest.raises(DataError, match=message):
        open_dataset(f"images:{tmp_path}")


def test_without_pillow_the_message_says_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(DataError, match="pip install pillow"):
        open_dataset(f"images:{folder}")


def test_a_mean_for_the_wrong_number_of_channels_is_refused(folder):
    with pytest.raises(DataError, match="2 values for the mean of 3 channels"):
        open_dataset(f"images:{folder}?mean=0.5,0.5")
