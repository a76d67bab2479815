"""What tokens cost, to the hundredth."""

import pytest
from pydantic import ValidationError

from distill_runtime.contract import Price


def price(prompt: float, completion: float, currency: str = "USD") -> Price:
    return Price(prompt_tokens_per_million=prompt, completion_tokens_per_million=completion, currency=currency)


@pytest.mark.parametrize(
    ("price", "prompt_tokens", "completion_tokens", "cost"),
    [
        (price(0.55, 2.19), 0, 0, "0.00 USD"),
        (price(0.55, 2.19), 1_000_000, 2_000_000, "4.93 USD"),
        (price(4, 16, "CNY"), 250_000, 1_000_000, "17.00 CNY"),
        (price(0.07, 0), 14_500_001, 0, "1.02 USD"),
        (price(0, 2.19), 0, 10**12, "2190000.00 USD"),
    ],
)
def test_cost(price: Price, prompt_tokens: int, completion_tokens: int, cost: str) -> None:
    assert price.cost(prompt_tokens, completion_tokens) == cost


@pytest.mark.parametrize("currency", ["usd", "$", "EURO", ""])
def test_a_currency_is_a_code(currency: str) -> None:
    with pytest.raises(ValidationError, match="currency"):
        price(1, 1, currency)
