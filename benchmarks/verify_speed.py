"""The time and the memory of `xegrad verify` at the size of a kernel, against a script in float64.

    python benchmarks/verify_speed.py [right]

Both read the same NPZ, on one thread each, in processes of their own.  The script compares with the shortcut in float64
and has no error bound; xegrad says what is so of each entry.  One claim is right, others have a mistake in them.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from side_by_side import Command, Measured, Row, measure, report

SIZE = (512, 1024, 8192)  # B, N, T
LARGER = (4096, 1024, 8192)
WRONG = "right" not in sys.argv  # whether wrong claims are timed, too, which takes a quarter of an hour
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}
SCRIPT = """
import sys
import numpy as np
with np.load(sys.argv[1]) as file:
    W, X, labels, claimed = (file[key] for key in ("W", "x", "label", "gradient"))
Z = X.astype(np.float64) @ W.astype(np.float64)
Z -= Z.max(axis=1, keepdims=True)
np.exp(Z, out=Z)
Z /= Z.sum(axis=1, keepdims=True)
Z[np.arange(len(labels)), labels] -= 1
Z /= len(labels)
print(np.abs(X.T.astype(np.float64) @ Z - claimed).max())
"""


def problem(size: tuple[int, int, int], dtype: str) -> dict[str, Any]:
    """W, x and labels; logits of a size near one."""
    n_rows, n_inputs, n_classes = size
    random = np.random.default_rng(0)
    weights = (random.normal(size=(n_inputs, n_classes)) / np.sqrt(n_inputs)).astype(dtype)
    inputs = random.normal(size=(n_rows, n_inputs)).astype(dtype)
    return {"W": weights, "x": inputs, "label": random.integers(n_classes, size=n_rows)}


def residual(arrays: dict[str, Any]) -> Any:
    """(S - Y) / B, in the precision of the arrays."""
    logits = arrays["x"] @ arrays["W"]
    logits -= logits.max(axis=1, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=1, keepdims=True)
    logits[np.arange(len(logits)), arrays["label"]] -= 1
    return logits / len(logits)


def mistaken(arrays: dict[str, Any], mistake: str) -> Any:
    """dL/dW with a mistake in it."""
    of_logits = residual(arrays)
    if mistake == "sign-flipped":
        of_logits = -of_logits
    if mistake == "row 17 left out":
        of_logits[17] = 0
    gradient = arrays["x"].T @ of_logits
    if mistake == "no mistake that has a name":
        gradient = gradient * (1 + np.random.default_rng(1).random(gradient.shape)).astype(gradient.dtype)
    return gradient


def timed(folder: Path, arrays: dict[str, Any], gradient: Any) -> tuple[Measured, Measured]:
    """xegrad and the script on one claim."""
    file, script = folder / "claim.npz", folder / "script.py"
    np.savez(file, gradient=gradient, **arrays)
    script.write_text(SCRIPT)
    sides = (
        Command(
            "xegrad verify", [sys.executable, "-m", "xegrad", "verify", str(file)], environment=ONE_THREAD
        ),
        Command("numpy script", [sys.executable, str(script), str(file)], environment=ONE_THREAD),
    )
    ours, peer = measure(*sides)
    return ours, peer


if __name__ == "__main__":
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder, of_size = Path(name), f"at {SIZE}"
        narrow = problem(SIZE, "float32")
        ours, peer = timed(folder, narrow, mistaken(narrow, "none"))
        rows.append(Row(f"right float32 claim {of_size}", ours, peer, goal=3, by="cpu"))
        for mistake in ("sign-flipped", "row 17 left out", "no mistake that has a name") if WRONG else ():
            wrong, _ = timed(folder, narrow, mistaken(narrow, mistake))
            check = ours._replace(name="the right claim")
            rows.append(Row(f"wrong claim {of_size}: {mistake}", wrong, check, goal=3, by="cpu"))
        wide = problem(SIZE, "float64")
        sides = timed(folder, wide, mistaken(wide, "none"))
        rows.append(Row(f"right float64 claim {of_size}", *sides, goal=15, by="cpu"))
        larger = problem(LARGER, "float32")
        sides = timed(folder, larger, mistaken(larger, "none"))
        rows.append(Row(f"right float32 claim at {LARGER}", *sides, goal=3, memory_goal=2048, by="cpu"))
    report("Verify at the size of a kernel", rows)
