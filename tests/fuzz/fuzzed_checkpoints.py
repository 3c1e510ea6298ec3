"""Strategies for safetensors checkpoints: headers and data, metadata, shards with their index, optimizer states."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from mutations import Members, Raw, changed_tree, damaged, odd_texts, odd_values, tree, written
from reading_law import Case
from small_networks import MLP, NETWORKS, Shapes

SIZES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0"), 1),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 2),
    **dict.fromkeys(("I32", "U32", "F32"), 4),
    **dict.fromkeys(("C64", "F64", "I64", "U64"), 8),
}
MOST_DATA = 2**20

METADATA = {
    "hessent.format": "1",
    "hessent.arch": "mlp",
    "hessent.arch_options": '{"sizes":[64,6,10],"activation":"relu","bias":true}',
    "hessent.data": "digits?split=train",
    "hessent.loss": "cross-entropy",
    "hessent.samples": "32",
    "hessent.batch_size": "16",
    "hessent.step": "4",
    "hessent.total_steps": "9",
    "hessent.seed": "0",
    "hessent.optimizer": '{"name":"sgd","lr":0.1,"betas":[0.9,0.99]}',
    "hessent.metrics": '{"train_loss":0.5,"test_accuracy":1}',
}


def safetensors(header: Any, data: bytes) -> bytes:
    """The bytes of a file from a header's tree and its data."""
    raw = written(header).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(raw)) + raw + data


def header_of(shapes: Shapes, metadata: dict[str, Any] | None = None, dtype: str = "F32") -> tuple[Members, bytes]:
    """A valid header and its data: small numbers, the same every time."""
    header, position = Members(), 0
    if metadata is not None:
        header.append(("__metadata__", tree(metadata)))
    for name, shape in shapes.items():
        end = position + math.prod(shape) * SIZES[dtype]
        header.append((name, tree({"dtype": dtype, "shape": list(shape), "data_offsets": [position, end]})))
        position = end
    return header, _numbers(position, dtype)


def _numbers(num_bytes: int, dtype: str) -> bytes:
    if dtype == "F32":
        return np.random.default_rng(0).standard_normal(num_bytes // 4).astype("<f4").tobytes()
    return bytes(num_bytes)


def valid(shapes: Shapes = MLP, metadata: dict[str, Any] | None = None) -> bytes:
    """A valid file."""
    return safetensors(*header_of(shapes, metadata))


def shifted(header: Members, place: int, by: int) -> Members:
    """Move the range of one tensor, which keeps its length: it overlaps its neighbours, or leaves a gap."""
    name, entry = header[place]
    moved = Members(
        (key, [number + by for number in value] if key == "data_offsets" else value) for key, value in entry
    )
    return Members([*header[:place], (name, moved), *header[place + 1 :]])


@st.composite
def damaged_files(draw: st.DrawFn, task: str = "checkpoint") -> Case:
    """A file whose header, data or bytes do not fit together."""
    header, data = header_of(draw(st.sampled_from(NETWORKS)), draw(st.sampled_from((None, METADATA))))
    kind = draw(st.sampled_from(("tree", "tree", "shift", "none")))
    if kind == "shift":
        place = draw(st.integers(header[0][0] == "__metadata__", len(header) - 1))
        header = shifted(header, place, 4 * draw(st.integers(-9, 9)))
    elif kind == "tree":
        numbers = st.integers(-4, 1700).map(lambda quarter: 4 * quarter)
        header = draw(changed_tree(header, odd_values | numbers | st.sampled_from(tuple(SIZES))))
    if draw(st.integers(0, 3)) == 0:
        data = draw(st.sampled_from((b"", data[:-1], data + b"\0", data * 2, b"\xff" * len(data))))
    content = safetensors(header, data)
    if draw(st.integers(0, 3)) == 0:
        content = draw(damaged(content, near=range(40)))
    command = "inspect" if task == "command" else ()
    arguments = (command, "{folder}/model.safetensors") if command else ("{folder}/model.safetensors",)
    return Case(task, arguments, {"model.safetensors": content})


@st.composite
def other_shapes(draw: st.DrawFn) -> Shapes:
    """A network's tensors, some of other shapes or names, some missing."""
    shapes = dict(draw(st.sampled_from(NETWORKS)))
    lengths = st.sampled_from((0, 1, 2, 3, 7, 8, 64, 97, 1024, 65_537, 1_000_003))
    for _ in range(draw(st.integers(0, 4))):
        name = draw(st.sampled_from(tuple(shapes)))
        kind = draw(st.sampled_from(("length", "length", "shape", "rename", "remove", "prefix", "more")))
        shape = shapes.pop(name)
        if kind == "length" and shape:
            index = draw(st.integers(0, len(shape) - 1))
            shape = (*shape[:index], draw(lengths), *shape[index + 1 :])
        elif kind == "shape":
            shape = tuple(draw(st.lists(lengths, max_size=5)))
        elif kind == "rename":
            name = draw(odd_texts | st.just(name.replace("0", "999999")) | st.just(name.replace("1", "2")))
        elif kind == "prefix":
            shapes = {f"module.{key}": value for key, value in shapes.items()}
        elif kind == "more":
            shapes |= {name.replace("0", str(index)): shape for index in range(draw(st.sampled_from((5, 60))))}
        if kind != "remove" and math.prod(shape) <= MOST_DATA:
            shapes[name] = shape
    return shapes or MLP


@st.composite
def other_networks(draw: st.DrawFn) -> Case:
    """A whole file of a network that may be none: it is described and compared with every architecture."""
    dtype = draw(st.sampled_from(("F32", "F32", "U8", "F8_E5M2", "BF16", "C64")))
    shapes = {}
    for name, shape in draw(other_shapes()).items():
        if math.prod(shape) * SIZES[dtype] + sum(map(math.prod, shapes.values())) <= 2 * MOST_DATA:
            shapes[name] = shape
    content = safetensors(*header_of(shapes or MLP, None, dtype))
    words = draw(
        st.sampled_from((("inspect",), ("inspect", "--json")))
        | st.sampled_from(("auto", "mlp", "resnet", "vit", "gpt")).map(
            lambda arch: ("spectrum", "--dry-run", "--data", "synthetic", "--samples", "4", "--arch", arch)
        )
    )
    # Weights of a network that fits may give a loss that is no number: that is for the computation to say.
    return Case("command", (*words, "{folder}/model.safetensors"), {"model.safetensors": content}, codes=(0, 2, 3))


@st.composite
def told_by_metadata(draw: st.DrawFn) -> Case:
    """A sound network whose metadata says something odd, on its way to a measurement."""
    metadata: dict[str, Any] = dict(METADATA)
    often = st.sampled_from(("hessent.metrics", "hessent.arch_options", "hessent.data", "hessent.optimizer"))
    keys = st.sampled_from(tuple(METADATA)) | often
    for key in draw(st.lists(keys, min_size=1, max_size=2)):
        text = METADATA[key]
        if text.startswith("{"):
            metadata[key] = written(draw(changed_tree(tree(json.loads(text)))))
        else:
            metadata[key] = draw(odd_texts | st.sampled_from(_NAMED) | st.integers(-9, 10**18).map(str))
    if draw(st.integers(0, 7)) == 0:
        metadata["hessent." + draw(odd_texts)] = "x"
    told = Members((key, Raw(json.dumps(value))) for key, value in metadata.items())
    header, data = header_of(MLP)
    content = safetensors(Members([("__metadata__", told), *header]), data)
    words = draw(st.sampled_from((("spectrum", "--dry-run"), ("spectrum", "--dry-run"), ("inspect",))))
    files = {"model.safetensors": content}
    return Case("command", (*words, "{folder}/model.safetensors"), files, named=("--", "unknown loss", "images:"))


_NAMED = (
    *("auto", "resnet18", "gpt2", "hf:.", "timm:x", "outside.py:factory", "os.path:join", "mse", "next-token"),
    *(
        "cross-entropy?label_smoothing=7",
        "arrays:../outside.npz",
        "arrays:model.safetensors",
        "tokens:model.safetensors",
    ),
    *("synthetic", "synthetic:images?shape=9999x9999x9999", "synthetic:vectors?shape=64&samples=60000000"),
    *(
        "synthetic:vectors?shape=64&classes=4611686018427387904",
        "synthetic:tokens?shape=64&seed=4611686018427387904",
    ),
    *("images:.", "cifar10:.", "digits?split=all", "digits?split=x", "synthetic:vectors?shape=64&samples=33"),
)


@st.composite
def shards(draw: st.DrawFn) -> Case:
    """Two shards and their index, one of the three damaged."""
    names = tuple(MLP)
    parts = {name: {key: MLP[key] for key in keys} for name, keys in (("a", names[:2]), ("b", names[2:]))}
    files = {f"{part}.safetensors": valid(shapes) for part, shapes in parts.items()}
    index: Any = tree(
        {
            "metadata": {"total_size": 1800},
            "weight_map": {key: f"{part}.safetensors" for part, shapes in parts.items() for key in shapes},
        }
    )
    targets = st.sampled_from(
        ("../outside.safetensors", "a.safetensors", "sub/a.safetensors", "..\\a.safetensors", "gone.safetensors")
    )
    if draw(st.integers(0, 4)):
        index = draw(changed_tree(index, targets | odd_values))
    else:
        name = draw(st.sampled_from(tuple(files)))
        header, data = header_of(parts[name[0]])
        files[name] = safetensors(draw(changed_tree(header)), data)
    content = written(index).encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 4)) == 0:
        content = draw(damaged(content))
    files["model.safetensors.index.json"] = content
    return Case(
        "checkpoint", (draw(st.sampled_from(("{folder}", "{folder}/model.safetensors.index.json"))),), files
    )


@st.composite
def trainer_folders(draw: st.DrawFn) -> Case:
    """A folder as a trainer leaves it, its state damaged."""
    state = draw(changed_tree(tree({"global_step": 5, "max_steps": 9, "log_history": [{"loss": 0.5, "step": 1}]})))
    content = written(state).encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 3)) == 0:
        content = draw(damaged(content))
    return Case("checkpoint", ("{folder}",), {"model.safetensors": valid(), "trainer_state.json": content})


@st.composite
def optimizer_states(draw: st.DrawFn) -> Case:
    """Sound weights beside a damaged state of the optimizer."""
    shapes = {f"{name}/{state}": shape for name, shape in MLP.items() for state in ("exp_avg", "exp_avg_sq")}
    header, data = header_of(shapes | {"layers.0.weight/step": ()}, {"hessent.format": "1", "hessent.step": "4"})
    names = st.sampled_from(("layers.0.weight/", "/exp_avg", "layers.9.weight/exp_avg", "layers.0.weight"))
    header = draw(changed_tree(header, odd_values | names))
    content = safetensors(header, data)
    if draw(st.integers(0, 4)) == 0:
        content = draw(damaged(content, near=range(40)))
    files = {"model.safetensors": valid(MLP, METADATA), "model.optim.safetensors": content}
    return Case("optimizer", ("{folder}/model.safetensors",), files)


CHECKPOINTS: dict[str, SearchStrategy[Case]] = {
    "damaged": damaged_files(),
    "inspected": damaged_files("command"),
    "networks": other_networks(),
    "metadata": told_by_metadata(),
    "shards": shards(),
    "trainer": trainer_folders(),
    "optimizer": optimizer_states(),
}
