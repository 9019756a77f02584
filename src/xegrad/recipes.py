"""Recipes of mixed precision: what frameworks round, and where.  Imports nothing, so that --help stays fast.

Each row sets fields of a `Tolerance`, and names the source that says so.  See docs/recipes.md and docs/numerics.md,
section 5.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

HALF: Mapping[str, str] = {"bf16": "bfloat16", "f16": "float16"}


class Recipe(NamedTuple):
    """What is rounded where, and what says so."""

    summary: str
    source: str
    fields: Mapping[str, Any]


def liger_chunks(problem: Any, name: str) -> int:
    """How many chunks of rows there are at most: T / N, rounded up; the gradients of x are not added up."""
    chunks = -(-problem.n_classes // problem.n_inputs) if name in ("weights", "bias") else 1
    return min(chunks, problem.n_rows)


def cce_blocks(problem: Any, name: str) -> int:
    """How many blocks there are at most: of 64 rows for W, of 32 classes for x; that of b is added up in float32."""
    sizes = {"weights": (problem.n_rows, 64), "inputs": (problem.n_classes, 32)}
    count, block = sizes.get(name, (1, 1))
    return -(-count // block)


def _recipes() -> dict[str, Recipe]:
    rows = {}
    for short, half in HALF.items():
        rows[f"torch-{short}-linear"] = Recipe(
            f"nn.Linear and F.cross_entropy, all of {half}: each operation adds up in float32 and keeps {half}",
            "pytorch aten/src/ATen/native/cpu/LogSoftmaxKernelImpl.h serial_vec_log_softmax_lastdim_range, "
            "cuda/SoftMax.cu LogSoftMaxBackwardEpilogue, LossNLL.cpp nll_loss_backward_out_frame",
            {
                **dict.fromkeys(("inputs_as", "targets_as", "logits_as", "log_sums_as"), half),
                **dict.fromkeys(("log_probabilities_as", "residual_as", "losses_as", "stored_as"), half),
            },
        )
        rows[f"torch-{short}-autocast"] = Recipe(
            f"torch.autocast: the layer in {half}, F.cross_entropy in float32, its gradient back to {half}",
            "pytorch aten/src/ATen/autocast_mode.h AT_FORALL_LOWER_PRECISION_FP, AT_FORALL_FP32",
            dict.fromkeys(("inputs_as", "logits_as", "residual_as", "stored_as"), half),
        )
        rows[f"liger-{short}"] = Recipe(
            f"Liger's fused linear cross entropy: logits and their gradient kept as {half}, chunks added up in it",
            "Liger-Kernel src/liger_kernel/ops/fused_linear_cross_entropy.py fused_linear_cross_entropy_forward, "
            "ops/cross_entropy.py liger_cross_entropy_kernel",
            {
                **dict.fromkeys(("inputs_as", "products_as", "logits_as", "residual_as", "stored_as"), half),
                "partial_sums_as": half,
                "partial_sums": liger_chunks,
            },
        )
        rows[f"cce-{short}"] = Recipe(
            f"Cut Cross-Entropy: logits in float32, their gradient as {half}, the small ones dropped, blocks added up "
            f"in {half}",
            "ml-cross-entropy cut_cross_entropy/cce_backward.py _cce_backward_kernel, tl_utils.py tl_lock_add, "
            "utils.py _handle_eps",
            {
                **dict.fromkeys(("inputs_as", "residual_as", "stored_as", "partial_sums_as"), half),
                "partial_sums": cce_blocks,
                "dropped_below": 2.0**-12 if half == "bfloat16" else 2.0**-15,  # eps / 32
            },
        )
        rows[f"cce-exact-{short}"] = Recipe(
            "Cut Cross-Entropy as cce_exact: nothing is dropped, blocks are added up in float32",
            "ml-cross-entropy cut_cross_entropy/linear_cross_entropy.py linear_cross_entropy, "
            "cce_backward.py _cce_backward_kernel",
            dict.fromkeys(("inputs_as", "residual_as", "stored_as"), half),
        )
    return rows


# What a field does not say is float32, in any order of the sums.
RECIPES: Mapping[str, Recipe] = _recipes()
