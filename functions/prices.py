"""What things cost, in the currency of whoever looks."""

import re
from collections.abc import Sequence
from http.cookies import CookieError, SimpleCookie

import azure.functions as func

from core.catalog.models import BookDetail, Money
from functions.callers import cookie_name

_REGIONS = {
    "EUR": "AT BE BG CY DE EE ES FI FR GR HR IE IT LT LU LV MT NL PT SI SK",
    "USD": "US EC PR SV",
    "GBP": "GB",
    "CHF": "CH LI",
    "AUD": "AU",
    "BRL": "BR",
    "CAD": "CA",
    "CZK": "CZ",
    "DKK": "DK",
    "HUF": "HU",
    "INR": "IN",
    "JPY": "JP",
    "KRW": "KR",
    "MXN": "MX",
    "NOK": "NO",
    "NZD": "NZ",
    "PLN": "PL",
    "RON": "RO",
    "SEK": "SE",
}
_BY_REGION = {region: currency for currency, regions in _REGIONS.items() for region in regions.split()}
_REGION = re.compile(r"\b[a-z]{2,3}(?:-[a-z]{4})?-([a-z]{2})\b", re.IGNORECASE)
_CURRENCY = re.compile(r"[A-Z]{3}")


def currency_cookie() -> str:
    """Return the name of the cookie that keeps the currency that somebody has chosen."""
    return f"{cookie_name()}-currency"


def preferred_currency(req: func.HttpRequest) -> str | None:
    """Return the currency that a visitor has chosen, else that of the region in the browser's languages."""
    chosen = chosen_currency(req.params.get("currency")) or chosen_currency(_kept(req))
    if chosen is not None:
        return chosen
    regions = _REGION.findall(req.headers.get("accept-language", "")[:200])
    return next((_BY_REGION[found.upper()] for found in regions if found.upper() in _BY_REGION), None)


def chosen_currency(text: str | None) -> str | None:
    """Return what a form or an address names, if it can be a currency."""
    return text if text is not None and _CURRENCY.fullmatch(text) else None


def _kept(req: func.HttpRequest) -> str | None:
    try:
        morsel = SimpleCookie(req.headers.get("cookie", "")).get(currency_cookie())
    except CookieError:
        return None
    return morsel.value if morsel else None


def price_for(book: BookDetail, preferred: str | None) -> Money | None:
    """Return what a book costs, in the preferred currency if it has a price in that."""
    prices: Sequence[Money] = [price for price in (book.price, *book.other_prices) if price is not None]
    return next((price for price in prices if price.currency == preferred), prices[0] if prices else None)
