"""The page where simulated payments are made, as a real provider's hosted page would be elsewhere."""

from urllib.parse import urlsplit

import azure.functions as func

from core.commerce.pricing import write_money
from core.errors import ConflictError, NotFoundError
from core.payments import Simulated, SimulatedCharge
from functions.forms import check_first_form, first_form, read_form
from functions.page import Visit, page, redirect
from functions.services import services

blueprint = func.Blueprint()


@page(blueprint, "pay/{code}", secret=True)
async def page_pay(visit: Visit) -> func.HttpResponse:
    """What is to be paid, with play money."""
    return await _show(visit, await _provider().find(_code(visit)))


@page(blueprint, "pay/{code}", "POST", secret=True)
async def page_pay_submit(visit: Visit) -> func.HttpResponse:
    """Pay, or do not, and tell the shop by a signed webhook; then back to it."""
    provider = _provider()
    form = read_form(visit.request)
    check_first_form(visit.request, form)
    charge = await provider.find(_code(visit))
    try:
        answer = provider.pay if form.get("answer") == "pay" else provider.refuse
        event = await answer(charge.user_id, charge.order_id)
    except ConflictError as error:
        return await _show(visit, await provider.find(_code(visit)), error)
    await services().commerce.webhooks.receive(*provider.write_webhook(event))
    return redirect(urlsplit(charge.return_url).path)


async def _show(
    visit: Visit, charge: SimulatedCharge, error: ConflictError | None = None
) -> func.HttpResponse:
    amount = write_money(charge.amount, charge.currency)
    return await first_form(visit, "pay.html", error, charge=charge, amount=amount)


def _provider() -> Simulated:
    provider = services().providers.get("simulated-late")
    if not isinstance(provider, Simulated):
        raise NotFoundError("There is nothing at this address.")
    return provider


def _code(visit: Visit) -> str:
    return str(visit.request.route_params["code"])
