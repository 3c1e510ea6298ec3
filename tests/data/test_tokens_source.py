"""Token files: windows, targets one later, vocabulary, and files that change, lie or fall short."""

import numpy as np
import pytest
import torch

from hessent.data.registry import open_dataset
from hessent.data.stream import BatchStream
from hessent.errors import DataError


def write(path, tokens, dtype="<u2"):
    path.write_bytes(np.asarray(tokens).astype(dtype).tobytes())
    return path


def everything(dataset):
    return dataset.fetch(torch.arange(len(dataset)))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "int32", "int64"])
def test_sample_i_is_the_i_th_window_and_its_targets_come_one_later(tmp_path, dtype):
    tokens = np.random.default_rng(0).integers(0, 200, 30)
    file = write(tmp_path / "t.bin", tokens, np.dtype(dtype).newbyteorder("<"))
    dataset = open_dataset(f"tokens:{file}?dtype={dtype}&block=7")
    inputs, targets = everything(dataset)
    assert inputs.shape == targets.shape == (4, 7)
    assert inputs.dtype == targets.dtype == torch.int64
    assert inputs.flatten().tolist() == tokens[:28].tolist()
    assert targets.flatten().tolist() == tokens[1:29].tolist()
    assert dataset.spec.num_classes == tokens.max() + 1


@pytest.mark.parametrize(("count", "windows"), [(8, 1), (14, 1), (15, 2), (700, 99)])
def test_no_target_is_missing_and_no_token_made_up(tmp_path, count, windows):
    dataset = open_dataset(f"tokens:{write(tmp_path / 't.bin', np.arange(count))}?block=7")
    assert len(dataset) == windows
    assert everything(dataset)[1].max() <= count - 1


def test_windows_can_be_fetched_in_any_order(tmp_path):
    dataset = open_dataset(f"tokens:{write(tmp_path / 't.bin', np.arange(100))}?block=10")
    assert dataset.fetch(torch.tensor([8, 0]))[0][:, 0].tolist() == [80, 0]
    with pytest.raises(IndexError):
        dataset.fetch(torch.tensor([9]))


def test_a_named_vocabulary_is_kept_and_enforced(tmp_path):
    file = write(tmp_path / "t.bin", [1, 2, 3, 4, 9, 1, 2])
    assert open_dataset(f"tokens:{file}?block=3&vocab=50").spec.num_classes == 50
    with pytest.raises(DataError, match=r"token 1 of sample 1 is 9\n.*0 to 7"):
        everything(open_dataset(f"tokens:{file}?block=3&vocab=8"))


def test_the_folder_of_both_splits_has_one_vocabulary_and_its_pickle_is_not_read(tmp_path):
    write(tmp_path / "train.bin", np.arange(50))
    write(tmp_path / "val.bin", np.arange(100, 140))
    (tmp_path / "meta.pkl").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    train, test = (open_dataset(f"tokens:{tmp_path}?block=4", split=split) for split in ("train", "test"))
    assert train.spec == test.spec
    assert train.spec.num_classes == 140
    assert train.splits == ("train", "test")
    assert everything(test)[0].min() == 100
    assert open_dataset(f"{tmp_path}?block=4").digest() == train.digest()


def test_a_single_file_has_no_test_split(tmp_path):
    with pytest.raises(DataError, match="no split 'test'"):
        open_dataset(f"tokens:{write(tmp_path / 't.bin', np.arange(50))}?block=4", split="test")


def test_a_file_that_changes_between_passes_is_noticed(tmp_path):
    file = write(tmp_path / "t.bin", np.arange(100))
    stream = BatchStream(open_dataset(f"tokens:{file}?block=4"), batch_size=3)
    assert len(list(stream)) == 8
    write(file, np.arange(99))
    with pytest.raises(DataError, match="changed while it was in use"):
        list(stream)
    file.unlink()
    with pytest.raises(DataError, match="No such file"):
        list(stream)


def test_the_fingerprint_covers_the_chosen_windows_only(tmp_path):
    first = open_dataset(f"tokens:{write(tmp_path / 'a.bin', np.arange(100))}?block=4&vocab=200")
    longer = open_dataset(f"tokens:{write(tmp_path / 'b.bin', np.arange(150))}?block=4&vocab=200")
    chosen = torch.tensor([0, 5])
    assert first.digest(chosen) == longer.digest(chosen)
    assert first.digest() != longer.digest()


@pytest.mark.parametrize(
    ("content", "query", "message"),
    [
        (b"", "", "0 bytes"),
        (bytes(7), "", "whole number of uint16"),
        (bytes(512), "", r"256 tokens\n.*block \+ 1 = 257"),
        (np.array([5, -3, 2], dtype="<i4").tobytes(), "?dtype=int32&block=1", "token -3"),
        (bytes(512), "?dtype=float32", "uint8 or uint16"),
        (bytes(512), "?block=0", "positive integer"),
        (bytes(512), "?blok=3", "did you mean 'block'"),
    ],
)
def test_what_cannot_be_tokens_is_refused(tmp_path, content, query, message):
    file = tmp_path / "t.bin"
    file.write_bytes(content)
    with pytest.raises(DataError, match=message):
        open_dataset(f"tokens:{file}{query}")
