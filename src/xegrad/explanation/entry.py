"""One entry of dL/dW, followed through every factor as a sum for a pocket calculator."""

from __future__ import annotations

from xegrad.explanation.row import TERMS, WorkedRow, product, summed
from xegrad.explanation.values import WorkedEntry


def follow(row: WorkedRow, j: int, i: int) -> WorkedEntry:
    outer, column = row.cross_entropy_jacobian, row.softmax_jacobian(row.classes, i)
    named, number, probabilities = row.named, row.factor, row.probabilities
    products = outer * column * row.x[j]
    x, came, name = number(row.x[j]), row.outcome("chain", j, i), f"dL/dW[{j},{i}]"
    factors = [f"S[{i}] = {number(probabilities[i])},  x[{j}] = {x}"]
    worked = []
    for t in named[:TERMS]:
        quotient = f"-{number(row.targets[t])} / {number(probabilities[t])}"
        factors.append(f"DXE[{t}] = -Q[{t}] / S[{t}] = {quotient} = {number(outer[t])}")
        entry_of_ds = f"S[{t}] · (1 - S[{t}])" if t == i else f"-S[{t}] · S[{i}]"
        factors.append(f"DS[{t},{i}] = {entry_of_ds} = {number(column[t])}")
        numbers = product(number(outer[t]), number(column[t]), x)
        worked.append(f"DXE[{t}] · DS[{t},{i}] · x[{j}] = {numbers} = ")
    if len(named) == 1:
        lines = [f"{name} = {worked[0]}{came}"]
    elif named:
        lines = [f"{name} = Σ_t DXE[t] · DS[t,{i}] · x[{j}], over the {len(named)} t with Q[t] ≠ 0"]
        lines += [f"{line}{number(products[t])}" for line, t in zip(worked, named, strict=False)]
        if len(named) > TERMS:
            rest = number(products[named[TERMS:]].sum())
            lines.append(f"{len(named) - TERMS} more terms, together {rest}")
        lines.append(f"{name} = {summed([number(products[t]) for t in named])} = {came}")
    else:
        lines = [f"{name} = 0, since Q is 0: this row does not count"]
    values = {method: float(gradient[j, i]) for method, gradient in row.gradients.items()}
    return WorkedEntry(j, i, tuple(factors), tuple(lines), **values)
