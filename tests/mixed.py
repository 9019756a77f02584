"""Gradients in mixed precision, as the recipes make them: emulated in numpy, and by PyTorch where it is installed.

Each function takes a problem and "bfloat16" or "float16", and returns the loss and the gradients of W, b and x.  The
roundings are those that the sources named in `xegrad.recipes` make; sums are numpy's, in float32.

`python tests/mixed.py` saves what PyTorch makes as tests/data/torch_mixed.npz.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace

from xegrad import METHODS, Evaluation, Problem, Targets, bounds
from xegrad.recipes import HALF
from xegrad.slips.formulas import in_format

Results = dict[str, Any]


def single(values: Any) -> Any:
    return np.asarray(values, dtype=np.float32)


def to(half: str, values: Any) -> Any:
    """Rounded to the format, as float32."""
    with np.errstate(over="ignore"):
        return single(in_format(single(values), half))


def parts(problem: Problem, half: str) -> tuple[Any, Any, Any]:
    bias = np.zeros(problem.n_classes) if problem.bias is None else problem.bias
    return to(half, problem.inputs), to(half, problem.weights), to(half, bias)


def one_hot(problem: Problem) -> Any:
    return single(problem.targets.label_of_rows[:, None] == np.arange(problem.n_classes))


def count(problem: Problem) -> float:
    return float(problem.targets.kept.sum()) if problem.targets.reduction == "mean" else 1.0


def softmax(z: Any) -> Any:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def cost(z: Any, y: Any) -> Any:
    """-log S of the labels, row by row, in float32."""
    top = z.max(axis=1, keepdims=True)
    return (y * (np.log(np.exp(z - top).sum(axis=1, keepdims=True)) - (z - top))).sum(axis=1)


def pulled_back(x: Any, w: Any, r: Any, half: str) -> Results:
    return {"weights": to(half, x.T @ r), "bias": to(half, r.sum(axis=0)), "inputs": to(half, r @ w.T)}


def torch_linear(problem: Problem, half: str) -> Results:
    """A layer of half precision, as torch's kernels for the CPU compute it; those for CUDA round less."""
    x, w, b = parts(problem, half)
    y, n = one_hot(problem), to(half, count(problem))
    z = to(half, x @ w + b)
    shifted = z - z.max(axis=1, keepdims=True)
    log_sum = to(half, np.log(to(half, np.exp(shifted).sum(axis=1, keepdims=True))))
    log_s = to(half, shifted - log_sum)
    q = to(half, y / n)
    r = to(half, np.exp(log_s) * q.sum(axis=1, keepdims=True) - q)
    total = single(0)
    for loss in (y * -log_s).sum(axis=1):
        total = to(half, total + loss)
    return pulled_back(x, w, r, half) | {"loss": to(half, total / n)}


def autocast(problem: Problem, half: str) -> Results:
    """The layer in half precision, the loss in float32."""
    x, w, b = parts(problem, half)
    y, n = one_hot(problem), single(count(problem))
    z = to(half, x @ w + b)
    r = to(half, (softmax(z) * y.sum(axis=1, keepdims=True) - y) / n)
    return pulled_back(x, w, r, half) | {"loss": cost(z, y).sum() / n}


def liger(problem: Problem, half: str) -> Results:
    """Chunks of rows; each adds its part to the gradient of W, which is kept in half precision."""
    x, w, b = parts(problem, half)
    y, n = one_hot(problem), single(count(problem))
    chunk = -(-problem.n_rows // -(-problem.n_classes // problem.n_inputs))
    chunk = min(1 << (chunk - 1).bit_length(), problem.n_rows)
    weights, bias = np.zeros_like(w), np.zeros_like(b)
    inputs, losses = [], []
    for start in range(0, problem.n_rows, chunk):
        rows = slice(start, start + chunk)
        z = to(half, x[rows] @ w)
        z = z if problem.bias is None else to(half, z + b)
        r = to(half, (softmax(z) * y[rows].sum(axis=1, keepdims=True) - y[rows]) / n)
        weights = to(half, weights + to(half, x[rows].T @ r))  # the legacy path, which rounds the most
        bias = to(half, bias + to(half, r.sum(axis=0)))
        inputs.append(to(half, r @ w.T))
        losses.append(cost(z, y[rows]) / n)
    loss = np.concatenate(losses).sum()
    return {"weights": weights, "bias": bias, "inputs": np.concatenate(inputs), "loss": loss}


def cut_cross_entropy(problem: Problem, half: str, *, exactly: bool = False) -> Results:
    """Blocks of 128 rows and 128 classes; one whose residuals are all small is left out."""
    x, w, b = parts(problem, half)
    y, n, block = one_hot(problem), single(count(problem)), 128
    kept = y.sum(axis=1, keepdims=True)
    z = x @ w + b
    top = z.max(axis=1, keepdims=True)
    lse = top + np.log(np.exp(z - top).sum(axis=1, keepdims=True))
    below = {"bfloat16": 2.0**-7, "float16": 2.0**-10}[half] / 32
    keep = single if exactly else partial(to, half)
    weights, inputs, bias = np.zeros_like(w), np.zeros_like(x), np.zeros_like(b)
    for first in range(0, problem.n_rows, block):
        rows = slice(first, first + block)
        for start in range(0, problem.n_classes, block):
            classes = slice(start, start + block)
            d = np.exp(z[rows, classes] - lse[rows]) * kept[rows] - y[rows, classes]
            if not exactly and (np.abs(d) < below).all():
                continue
            d = d / n
            bias[classes] += d.sum(axis=0)
            d = to(half, d)
            weights[:, classes] = keep(weights[:, classes] + keep(x[rows].T @ d))
            inputs[rows] = keep(inputs[rows] + keep(d @ w[:, classes].T))
    gradients = {"weights": to(half, weights), "bias": to(half, bias), "inputs": to(half, inputs)}
    return gradients | {"loss": (y * (lse - z)).sum() / n}


def by_torch(problem: Problem, half: str, *, autocast: bool = False) -> Results:
    """The same by PyTorch itself, on the CPU, with the options of the loss."""
    import torch
    from torch.nn import functional

    kept = torch.float32 if autocast else getattr(torch, half)
    x, w = (
        torch.tensor(np.array(part), dtype=torch.float64).to(kept).requires_grad_()
        for part in (problem.inputs, problem.weights.T)
    )
    b = None if problem.bias is None else torch.tensor(np.array(problem.bias)).to(kept).requires_grad_()
    given = problem.targets
    labels = torch.tensor(np.asarray(given.labels), dtype=torch.long)
    weight = None if given.class_weights is None else torch.tensor(np.array(given.class_weights)).to(kept)
    with torch.autocast("cpu", dtype=getattr(torch, half), enabled=autocast):
        loss = functional.cross_entropy(
            functional.linear(x, w, b),
            labels,
            weight=weight,
            label_smoothing=given.label_smoothing,
            ignore_index=-100 if given.ignore_index is None else int(given.ignore_index),
            reduction=given.reduction,
        )
    loss.sum().backward()
    found = {"weights": w.grad.T, "inputs": x.grad, "loss": loss.sum()}
    found |= {} if b is None else {"bias": b.grad}
    return {name: part.detach().to(torch.float64).numpy() for name, part in found.items()}


Candidate = Callable[[Problem, str], Results]

# The recipes, without the format in their middle, and what emulates them.
EMULATED: dict[str, Candidate] = {
    "torch-{}-linear": torch_linear,
    "torch-{}-autocast": autocast,
    "liger-{}": liger,
    "cce-{}": cut_cross_entropy,
    "cce-exact-{}": partial(cut_cross_entropy, exactly=True),
}
BY_TORCH: dict[str, Candidate] = {
    "torch-{}-linear": by_torch,
    "torch-{}-autocast": partial(by_torch, autocast=True),
}


def reference(problem: Problem) -> tuple[Evaluation, dict[str, Any]]:
    """Float64 values, which are exact enough here and take no minutes, and what their rounding comes to."""
    names = [name for name in ("weights", "bias", "inputs") if name != "bias" or problem.bias is not None]
    found, bound = METHODS["shortcut"].evaluate(problem, names), bounds.stable(problem, names)
    certified = {name: np.array(True) for name in (*names, "loss")}
    return replace(found, certified=certified), {**bound.gradients, "loss": bound.loss}


def random_problem(
    random: np.random.Generator,
    rows: int,
    inputs: int,
    classes: int,
    *,
    options: bool = True,
    weighted: bool = False,
) -> Problem:
    """Numbers of a half format or not, a layer that is trained or not, with and without b, some rows ignored;
    where it is `weighted`, with class weights and smoothing."""
    scale = float(random.choice([0.3, 1.0, 3.0])) / np.sqrt(inputs)
    w: Any = scale * random.normal(size=(inputs, classes))
    x: Any = random.normal(size=(rows, inputs))
    if random.random() < 0.5:
        w, x = in_format(w, "bfloat16"), in_format(x, "bfloat16")
    labels = random.integers(classes, size=rows)
    if random.random() < 0.3:
        labels = (x @ w).argmax(axis=1)
    given: dict[str, Any] = {"reduction": str(random.choice(["mean", "mean", "sum"]))} if options else {}
    if options and rows > 1 and random.random() < 0.3:
        given["ignore_index"] = labels[0] = -100
    if weighted and random.random() < 0.5:
        given["class_weights"] = random.uniform(0.1, 3, size=classes)
    if weighted and random.random() < 0.5:
        given["label_smoothing"] = float(random.choice([0.01, 0.1, 0.5]))
    bias = random.normal(size=classes) if options and random.random() < 0.5 else None
    return Problem(weights=w, inputs=x, targets=Targets(labels=labels, **given), bias=bias)


def wrong_label(problem: Problem, make: Callable[[Problem], Any]) -> Any:
    """The last row has the next label."""
    labels = np.array(problem.targets.labels)
    labels[-1] = (labels[-1] + 1) % problem.n_classes
    return make(replace(problem, targets=replace(problem.targets, labels=labels)))


def chunk_left_out(problem: Problem, make: Callable[[Problem], Any]) -> Any:
    """The last eighth of the rows contributes nothing."""
    inputs = np.array(problem.inputs)
    inputs[-max(1, problem.n_rows // 8) :] = 0
    return make(replace(problem, inputs=inputs))


def off_by_one_row(problem: Problem, make: Callable[[Problem], Any]) -> Any:
    """The mean is over one row less."""
    return make(problem) * (problem.n_rows / (problem.n_rows - 1))


# dL/dW of a problem, by what makes the right one.
MISTAKES = {"wrong label": wrong_label, "chunk left out": chunk_left_out, "off by one row": off_by_one_row}


SAVED = Path(__file__).parent / "data" / "torch_mixed.npz"


def save() -> None:
    """Two layers, and what torch makes of them, under keys such as "0 torch-bf16-linear weights"."""
    import torch

    random = np.random.default_rng(1400)
    kept: dict[str, Any] = {"origin": np.array(f"torch {torch.__version__}, CPU")}
    for index, sizes in enumerate(((8, 16, 10), (24, 40, 20))):
        problem = random_problem(random, *sizes, options=False)
        kept |= {
            f"{index} {key}": part for key, part in zip("Wx", (problem.weights, problem.inputs), strict=True)
        }
        kept[f"{index} label"] = np.asarray(problem.targets.labels)
        for pattern, make in BY_TORCH.items():
            for short, half in HALF.items():
                for name, found in make(problem, half).items():
                    kept[f"{index} {pattern.format(short)} {name}"] = found.astype(np.float32)
    np.savez_compressed(SAVED, **kept)


if __name__ == "__main__":
    save()
