"""Strategies for the names that data have: parameters after a name, and names that lead nowhere."""

from __future__ import annotations

from hypothesis import strategies as st
from mutations import ODD_TEXTS, odd_texts
from reading_law import Case

VALUES: dict[str, tuple[str, ...]] = {
    "split": ("train", "test", "all", "validation"),
    "x": ("x", "y", "z", "x_test", "."),
    "y": ("x", "y", "y_test", "../y"),
    "layout": ("auto", "nchw", "nhwc", "x"),
    "normalize": ("0.5,0.5", "0,0", "0,-1", "1e-320,1e-320", "nan,1", "0.5", "1,2,3", "1e39,1", "inf,1"),
    "mean": ("0.5", "0.5,0.5,0.5", "0.5,0.5", "1e39", "nan", ",", "1e-320"),
    "std": ("0.5", "1,1,1", "0", "-1", "1e-320", "1e39", "inf"),
    "dtype": ("uint8", "uint16", "uint32", "int32", "int64", "float32", "uint64"),
    "block": ("1", "2", "3", "256", "4611686018427387904", "0", "-1", "99999999999999999999"),
    "vocab": ("1", "256", "4611686018427387904", "0"),
    "classes": ("1", "3", "4611686018427387904", "0", "-1", "1.5", "٣", "1_0", " 3"),
}


_PLAIN = tuple(text for text in ODD_TEXTS if text.isprintable())


@st.composite
def queries(draw: st.DrawFn, *names: str) -> str:
    """The parameters after a name: mostly sensible, sometimes odd, often none."""
    pieces = []
    for _ in range(draw(st.sampled_from((0, 0, 1, 1, 2)))):
        name = draw(st.sampled_from(names))
        likely, odd = st.sampled_from(VALUES[name]), st.sampled_from(_PLAIN)
        value = draw(odd if draw(st.integers(0, 4)) == 0 else likely)
        forms = (*(f"{name}={value}",) * 8, name, f"={value}", f"{name}x={value}", "%00=%ff")
        pieces.append(draw(st.sampled_from(forms)))
    return "?" + "&".join(pieces) if pieces else ""


@st.composite
def names_of_data(draw: st.DrawFn) -> Case:
    """Names that lead nowhere, or somewhere odd; made-up data of modest size among them."""
    plain = st.sampled_from(
        (
            *("digits", "digits:x", "digits?split=all", "arrays:", "arrays:{folder}", "tokens:{folder}/gone.bin"),
            *(
                "cifar10:{folder}",
                "images:{folder}",
                "hf:{folder}",
                "{folder}",
                "{folder}/" + "n" * 300,
                "a\0b",
                "",
            ),
            *(
                "arrays:{folder}/\udc80.npz",
                "arrays:/dev/zero",
                "/dev/stdin",
                "tokens:/dev/null",
                "synthetic",
                "?",
                ":",
            ),
            *(
                "synthetic:images",
                "synthetic:vectors?shape=8",
                "synthetic:tokens?shape=8&classes=3",
                "a:b:c",
                "a.b:c d",
            ),
            *(
                "synthetic:vectors?shape=8&seed=-4611686018427387904",
                "synthetic:vectors?shape=8x8",
                "arrays:~/x.npz",
            ),
            *(
                "synthetic:vectors?shape=0",
                "synthetic:images?shape=99999x99999x99999",
                "synthetic:vectors?shape=8&samples=1",
            ),
        )
    )
    typed = odd_texts.filter(lambda text: "outside" not in text)  # code that a user names is run, and rightly so
    return Case("dataset", (draw(plain | typed.map("arrays:{}".format) | typed) + draw(queries(*VALUES)),))
