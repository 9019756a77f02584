"""One entry of dL/dW, followed through every factor as a sum for a pocket calculator."""

from __future__ import annotations

import numpy as np

from xegrad.explanation.row import TERMS, WorkedRow, product, summed
from xegrad.explanation.values import WorkedEntry
from xegrad.methods import chain


def follow(view: WorkedRow, j: int, i: int) -> WorkedEntry:
    outer, column = chain.cross_entropy_jacobian(view.probabilities, view.targets), view.softmax_column(i)
    named = np.flatnonzero(view.targets).tolist()
    products = outer * column * view.x[j]
    x, came = view.factor(view.x[j]), view.outcome("chain", j, i)
    symbols = [f"DXE[{t}] · DS[{t},{i}] · x[{j}]" for t in named]
    numbers = [product(view.factor(outer[t]), view.factor(column[t]), x) for t in named]
    factors = [f"S[{i}] = {view.factor(view.probabilities[i])},  x[{j}] = {x}"]
    for t in named[:TERMS]:
        factors.append(
            f"DXE[{t}] = -Q[{t}] / S[{t}] = -{view.factor(view.targets[t])} / {view.factor(view.probabilities[t])} "
            f"= {view.factor(outer[t])}"
        )
        entry_of_ds = f"S[{t}] · (1 - S[{t}])" if t == i else f"-S[{t}] · S[{i}]"
        factors.append(f"DS[{t},{i}] = {entry_of_ds} = {view.factor(column[t])}")
    name = f"dL/dW[{j},{i}]"
    if len(named) == 1:
        lines = [f"{name} = {symbols[0]} = {numbers[0]} = {came}"]
    elif named:
        lines = [f"{name} = Σ_t DXE[t] · DS[t,{i}] · x[{j}], over the {len(named)} t with Q[t] ≠ 0"]
        lines += [
            f"{symbol} = {number} = {view.factor(products[t])}"
            for symbol, number, t in zip(symbols[:TERMS], numbers, named, strict=False)
        ]
        if len(named) > TERMS:
            rest = view.factor(products[named[TERMS:]].sum())
            lines.append(f"{len(named) - TERMS} more terms, together {rest}")
        lines.append(f"{name} = {summed([view.factor(products[t]) for t in named])} = {came}")
    else:
        lines = [f"{name} = 0, since Q is 0: this row does not count"]
    return WorkedEntry(
        input=j,
        class_=i,
        factors=tuple(factors),
        lines=tuple(lines),
        chain=float(view.chain[j, i]),
        shortcut=float(view.shortcut[j, i]),
        exact=None if view.exact is None else float(view.exact[j, i]),
    )
