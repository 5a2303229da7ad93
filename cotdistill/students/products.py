"""Large matrix products by the library that suits the processor.

torch hands products in full precision to MKL, which on processors of other makers than Intel leaves half of the width
of their registers unused. oneDNN, which torch brings along, uses all of it. There it takes the large products of this
process, forward and backward, whatever the architecture; the small ones stay where they were.
"""

from __future__ import annotations

import os
import platform
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import pad, scaled_dot_product_attention

# Multiplications from which on a product is a large one: what is saved outweighs that oneDNN writes a program for every
# new shape.
LARGE = 1 << 26
# It keeps so many of these programs, about a megabyte each.
PROGRAMS = 192

_taken: torch.library.Library | None = None
_attention: torch.library.Library | None = None


@cache
def is_faster_here() -> bool:
    """Whether MKL leaves half of this processor unused: it has AVX-512 and is not Intel's."""
    if platform.machine() not in ("x86_64", "AMD64") or torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    here = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return here and hasattr(torch.ops.mkldnn, "_linear_pointwise") and _maker() not in ("", "GenuineIntel")


def _maker() -> str:
    """Who made the processor; "" where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id")), "")


def use_onednn_matmul() -> None:
    """From now on oneDNN makes the large products of this process, if it helps. Whether it does depends on the
    processor alone, so that the same run gives the same bits in every process of a machine."""
    global _taken
    if _taken is not None or not is_faster_here():
        return
    # Read when its first program is made.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(PROGRAMS))
    _taken = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]
    plain = {name: torch.library.get_kernel(f"aten::{name}", "CPU") for name in ("mm", "addmm")}

    def mm(keys: Any, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = (
            product(left, right) if _suits(left, right) else plain["mm"].call_boxed(keys, left, right)
        )
        return result

    def addmm(
        keys: Any, added: torch.Tensor, left: torch.Tensor, right: torch.Tensor, *, beta: float = 1, alpha: float = 1
    ) -> torch.Tensor:
        result: torch.Tensor
        if beta == alpha == 1 and added.dim() == 1 and added.dtype == left.dtype and _suits(left, right):
            result = product(left, right, added)
        else:
            result = plain["addmm"].call_boxed(keys, added, left, right, beta=beta, alpha=alpha)
        return result

    with warnings.catch_warnings():
        # torch says that a function of its own is replaced, which is what is meant.
        warnings.simplefilter("ignore", UserWarning)
        _taken.impl("mm", mm, "CPU", with_keyset=True)  # type: ignore[no-untyped-call]
        _taken.impl("addmm", addmm, "CPU", with_keyset=True)  # type: ignore[no-untyped-call]


def use_fp32_attention() -> None:
    """From now on attention on a CPU is computed in fp32 where autocast asks for bf16: torch's backward pass in bf16
    takes eight times as long there, and everything around it stays in bf16."""
    global _attention
    if _attention is not None:
        return
    _attention = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]

    def attend(
        query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0, is_causal: bool = False, *, scale: float | None = None, enable_gqa: bool = False,
    ) -> torch.Tensor:  # fmt: skip
        with torch.autocast("cpu", enabled=False):
            if attn_mask is not None and attn_mask.is_floating_point():
                attn_mask = attn_mask.float()
            mixed = scaled_dot_product_attention(
                query.float(), key.float(), value.float(), attn_mask, dropout_p, is_causal, scale=scale,
                enable_gqa=enable_gqa,
            )  # fmt: skip
            return mixed.to(query.dtype)

    with warnings.catch_warnings():
        # torch says that a function of its own is replaced, which is what is meant.
        warnings.simplefilter("ignore", UserWarning)
        _attention.impl("scaled_dot_product_attention", attend, "AutocastCPU")  # type: ignore[no-untyped-call]


def is_active() -> bool:
    """Whether oneDNN makes the large products of this process."""
    return _taken is not None


def rounded(rows: int) -> int:
    """So many rows that few shapes occur, at most an eighth more: batches differ in length, and each shape takes a
    program.
    """
    step = max(16, 1 << rows.bit_length() >> 4)
    return -(-rows // step) * step


def product(left: torch.Tensor, right: torch.Tensor, added: torch.Tensor | None = None) -> torch.Tensor:
    """(n, k) times (k, m), plus (m,) to each row, by oneDNN."""
    rows, inner = left.shape
    left, right = longer(left.t(), rounded(inner)).t(), longer(right, rounded(inner))
    result: torch.Tensor = torch.ops.mkldnn._linear_pointwise.default(
        longer(left, rounded(rows)), right.t(), added, "none", [], ""
    )
    return result[:rows]


def longer(table: torch.Tensor, rows: int) -> torch.Tensor:
    """The table with rows of zeros at its end, in the same order in memory."""
    more = rows - len(table)
    if not more:
        return table
    return pad(table, (0, 0, 0, more)) if table.stride(1) == 1 else pad(table.t(), (0, more)).t()


def _suits(left: torch.Tensor, right: torch.Tensor) -> bool:
    large = left.shape[0] * left.shape[1] * right.shape[1] >= LARGE
    return large and left.dtype == right.dtype == torch.float32 and _dense(left) and _dense(right)


def _dense(table: torch.Tensor) -> bool:
    """Whether rows, or columns, lie behind one another in memory."""
    (rows, columns), (down, along) = table.shape, table.stride()
    return (along == 1 and down >= columns) or (down == 1 and along >= rows)
