"""Large products come out the same whichever library makes them, whatever lies how in memory, and small ones stay where they were."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cotdistill.students import products
from cotdistill.students.products import product, rounded

ROOT = Path(__file__).resolve().parents[1]
needs_onednn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"),
    reason="this torch has no oneDNN",
)


def laid(rows: int, columns: int, how: str) -> torch.Tensor:
    """The same numbers by rows, by columns, and as a part of something larger."""
    numbers = torch.arange(rows * columns, dtype=torch.float32).reshape(rows, columns).sin()
    if how == "columns":
        return numbers.t().contiguous().t()
    if how == "part":
        whole = torch.full((rows + 3, columns + 5), float("nan"))
        whole[2 : 2 + rows, 1 : 1 + columns] = numbers
        return whole[2 : 2 + rows, 1 : 1 + columns]
    return numbers


sizes, ways = st.integers(1, 90), st.sampled_from(("rows", "columns", "part"))


# A shape that is met for the first time takes as long as its program takes to write.
@needs_onednn
@settings(deadline=None)
@given(sizes, sizes, sizes, ways, ways, st.booleans())
def test_a_product_is_the_product(n: int, k: int, m: int, one_way: str, other_way: str, bias: bool) -> None:
    one, other, added = laid(n, k, one_way), laid(k, m, other_way), torch.arange(float(m)) if bias else None
    wanted = one.double() @ other.double() + (added.double() if added is not None else 0)
    found = product(one, other, added)
    assert found.is_contiguous() and found.dtype == torch.float32
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-4)


def test_rows_come_in_few_numbers_and_at_most_an_eighth_more() -> None:
    assert [rounded(n) for n in (1, 16, 17, 255, 257, 1_000, 1_025)] == [16, 16, 32, 256, 288, 1_024, 1_152]
    for n in range(128, 20_000):
        assert n <= rounded(n) <= n * 9 / 8
    assert len({rounded(n) for n in range(1_024, 2_048)}) == 9


@needs_onednn
def test_forward_and_backward_passes_of_a_process_that_has_taken_it_are_the_same() -> None:
    """In a process of its own, for what is taken stays taken; as if this processor were one that it helps."""
    code = """
import torch
from cotdistill.students import products
torch.set_num_threads(1)
torch.manual_seed(0)
layer, states = torch.nn.Linear(300, 500), torch.randn(3, 190, 300, requires_grad=True)
head = torch.randn(300, 400)
def passes():
    (layer(states).square().mean() + (states @ head).sum() * 1e-3).backward()
    found = [states.grad, layer.weight.grad, layer.bias.grad]
    states.grad = layer.weight.grad = layer.bias.grad = None
    return found
before, calls = passes(), []
products.is_faster_here = lambda: True
products.LARGE = 1_000_000
real = products.product
products.product = lambda *given: calls.append([tuple(one.shape) for one in given if one is not None]) or real(*given)
products.use_onednn_matmul()
products.use_onednn_matmul()
after = passes()
assert products.is_active() and len(calls) == 4, calls
assert calls[0] == [(570, 300), (300, 500), (500,)], calls
for one, other in zip(before, after, strict=True):
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
again = passes()
assert all(torch.equal(one, other) for one, other in zip(after, again, strict=True))
# What does not suit goes where it went: small ones, other precisions, a matrix that is added, one number expanded.
del calls[:]
a, b = torch.randn(200, 200), torch.randn(200, 200)
assert torch.mm(a[:9], b).shape == (9, 200) and (a.double() @ b.double()).dtype == torch.float64
assert torch.allclose(torch.addmm(a, a, b, beta=2, alpha=3), 2 * a + 3 * (a @ b), atol=1e-3)
assert torch.allclose(torch.ones(1, 1).expand(200, 200) @ b, b.sum(0).expand(200, 200), atol=1e-3)
assert calls == [[(200, 200), (200, 200)]], calls
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=ROOT, check=True)


def test_whether_it_helps_rests_on_the_processor_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def told(maker: str, width: str) -> bool:
        products.is_faster_here.cache_clear()
        monkeypatch.setattr(products, "_maker", lambda: maker)
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: width)
        return products.is_faster_here()

    monkeypatch.setattr(products.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    try:
        assert not told("GenuineIntel", "AVX512") and not told("AuthenticAMD", "AVX2") and not told("", "AVX512")
        assert told("AuthenticAMD", "AVX512") == hasattr(torch.ops.mkldnn, "_linear_pointwise")
        monkeypatch.setattr(products.platform, "machine", lambda: "aarch64")
        assert not told("AuthenticAMD", "AVX512")
    finally:
        products.is_faster_here.cache_clear()
