"""Payments: taking money and giving it back behind one interface; who takes it is the buyer's choice."""

from collections.abc import Mapping

from core.payments.hosted import Stripe
from core.payments.models import Charge, ChargeState, PaymentEvent, PaymentRequest, Provider
from core.payments.simulated import METHODS, Simulated, SimulatedCharge
from core.settings import Settings
from core.storage.tables import Table

__all__ = [
    "Charge",
    "ChargeState",
    "PaymentEvent",
    "PaymentRequest",
    "Provider",
    "Simulated",
    "SimulatedCharge",
    "Stripe",
    "connect",
]


def connect(settings: Settings, charges: Table) -> Mapping[str, Provider]:
    """Return the providers that the settings allow, by what a buyer names as `payment_method`.

    `charges` is where the simulated one keeps its own.
    """
    providers: dict[str, Provider] = {}
    if settings.play_money_allowed:
        simulated = Simulated(charges, settings)
        providers |= dict.fromkeys(METHODS, simulated)
    if settings.stripe_api_key is not None and settings.stripe_webhook_secret is not None:
        providers["stripe"] = Stripe(
            settings.stripe_api_key, settings.stripe_webhook_secret, settings.stripe_api_base
        )
    return providers
