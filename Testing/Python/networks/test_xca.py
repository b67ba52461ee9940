"""Cross-covariance attention: channels x channels, linear in the tokens, and the same from sums of products."""

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from RegistrationNetLib.networks.blocks.xca import attention_of, covariance_attention, cross_covariance, products

HEADS, WIDTH, TOKENS = 3, 4, 50
TEMPERATURE = torch.tensor([0.5, 1.0, 3.0]).view(3, 1, 1)


def tokens(seed: int, count: int = TOKENS) -> Tensor:
    """(2 groups, heads, channels of a head, tokens)"""
    return torch.randn(2, HEADS, WIDTH, count, generator=torch.Generator().manual_seed(seed))


def side_by_side(q: Tensor, k: Tensor) -> Tensor:
    """(groups, heads, channels, tokens) each -> (groups, heads, tokens, 2 channels)."""
    return torch.cat([q.mT, k.mT], dim=-1)


def test_each_head_weighs_its_channels_not_its_tokens():
    attention = covariance_attention(tokens(0), tokens(1), TEMPERATURE)
    assert attention.shape == (2, HEADS, WIDTH, WIDTH)
    torch.testing.assert_close(attention.sum(dim=-1), torch.ones(2, HEADS, WIDTH))


def test_it_is_the_softmax_of_cosines_between_channels():
    q, k = tokens(0), tokens(1)
    expected = torch.empty(2, HEADS, WIDTH, WIDTH)
    for i in range(WIDTH):
        for j in range(WIDTH):
            expected[..., i, j] = torch.cosine_similarity(q[..., i, :], k[..., j, :], dim=-1)
    expected = (TEMPERATURE * expected).exp()
    torch.testing.assert_close(covariance_attention(q, k, TEMPERATURE), expected / expected.sum(-1, keepdim=True))
    attended = cross_covariance(q, k, tokens(2), TEMPERATURE)
    torch.testing.assert_close(attended, covariance_attention(q, k, TEMPERATURE) @ tokens(2))


def test_the_sums_of_products_give_the_same_attention():
    q, k = tokens(0), tokens(1)
    sums = products(side_by_side(q, k))
    torch.testing.assert_close(attention_of(sums, TEMPERATURE), covariance_attention(q, k, TEMPERATURE))


def test_products_of_parts_add_up_and_zero_tokens_add_nothing():
    qk = side_by_side(tokens(0), tokens(1))
    rest = torch.cat([qk[:, :, 20:], torch.zeros(2, HEADS, 7, 2 * WIDTH)], dim=2)
    parts = products(qk[:, :, :20]) + products(rest)
    torch.testing.assert_close(parts, products(qk))


@pytest.mark.parametrize("which", ["query", "key"])
def test_the_length_of_a_channel_does_not_matter(which: str):
    q, k = tokens(0), tokens(1)
    longer = torch.rand(2, HEADS, WIDTH, 1, generator=torch.Generator().manual_seed(3)) * 5 + 0.1
    scaled = (q * longer, k) if which == "query" else (q, k * longer)
    for before, after in (
        (covariance_attention(q, k, TEMPERATURE), covariance_attention(*scaled, TEMPERATURE)),
        (attention_of(products(side_by_side(q, k)), TEMPERATURE),
         attention_of(products(side_by_side(*scaled)), TEMPERATURE)),
    ):  # fmt: skip
        torch.testing.assert_close(before, after)


def test_the_order_of_the_tokens_does_not_matter_but_their_pairing_does():
    order = torch.randperm(TOKENS, generator=torch.Generator().manual_seed(4))
    q, k = tokens(0), tokens(1)
    before = covariance_attention(q, k, TEMPERATURE)
    torch.testing.assert_close(covariance_attention(q[..., order], k[..., order], TEMPERATURE), before)
    assert not torch.allclose(covariance_attention(q, k[..., order], TEMPERATURE), before, atol=1e-2)


def test_twice_the_tokens_cost_twice_as_much():
    def flops(count: int) -> int:
        with FlopCounterMode(display=False) as counter:
            cross_covariance(tokens(0, count), tokens(1, count), tokens(2, count), TEMPERATURE)
        return counter.get_total_flops()

    assert flops(2 * TOKENS) == 2 * flops(TOKENS) > 0


def test_half_precision_neither_overflows_nor_counts_coarsely():
    qk = torch.full((1, 70_000, 2), 2.0, dtype=torch.half)  # the sum is beyond 65 504
    with torch.autocast("cpu", torch.bfloat16):
        sums = products(qk)
    assert sums.dtype == torch.float32
    assert torch.equal(sums, torch.full((1, 2, 2), 280_000.0))


def test_channels_that_are_zero_in_all_tokens_are_weighed_evenly_and_have_finite_gradients():
    qk = torch.zeros(1, HEADS, 5, 2 * WIDTH, requires_grad=True)
    attention = attention_of(products(qk), TEMPERATURE)
    torch.testing.assert_close(attention, torch.full((1, HEADS, WIDTH, WIDTH), 1 / WIDTH))
    attention.square().sum().backward()
    assert qk.grad.isfinite().all()


def test_rounding_does_not_decide_the_direction_of_a_channel_that_is_next_to_zero():
    """One token, as in a small image at a coarse level: without a shortest length the attention would jump."""
    q, k = tokens(0, 1), tokens(1, 1)
    above, below = q.clone(), q.clone()
    above[:, :, 0], below[:, :, 0] = 1e-7, -1e-7
    for attention in (
        lambda query: covariance_attention(query, k, TEMPERATURE),
        lambda query: attention_of(products(side_by_side(query, k)), TEMPERATURE),
    ):
        torch.testing.assert_close(attention(above), attention(below), atol=1e-4, rtol=0)
        torch.testing.assert_close(attention(3 * q.sign()), attention(q.sign()))  # longer ones have a direction alone
