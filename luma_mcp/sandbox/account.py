"""The sandbox's endpoints for account and prices (contract 6)."""

import hashlib
import json
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from luma_mcp.core.models import DAY_SECONDS, MODEL
from luma_mcp.sandbox.requests import EndpointContext, ErrorReply, JsonObject, read_json_body, require_key, timestamp
from luma_mcp.sandbox.state import PRICE_CENTS

OFFER = {"service": "luma", "action": "modify_video", "model": MODEL}
PRICE: JsonObject = {
    "pricing_status": "available",
    "catalog_status": "active",
    "currency": "USD",
    "billing_unit": "per_call",
    "billing_strategy": "flat",
    "unit_price_cents": PRICE_CENTS,
    "billing_config": {},
}


class AccountEndpoints:
    """Who the key belongs to, what is left, and what a task costs; amounts in cents."""

    def __init__(self, setup: EndpointContext) -> None:
        self._setup = setup

    async def me(self, request: Request) -> Response:
        require_key(request)
        account = {"id": 1, "name": "Sandbox"}
        return JSONResponse({"id": 1, "name": "Sandbox", "email": "sandbox@example.com", "account": account})

    async def balance(self, request: Request) -> Response:
        require_key(request)
        state, now = self._setup.state, self._setup.now()
        balance = state.balance_cents()
        return JSONResponse(
            {
                "balance_cents": balance,
                "paid_balance_cents": balance,
                "bonus_balance_cents": 0,
                "spent_cents_today": state.charged_cents(since=now - now % DAY_SECONDS),
                "spent_cents_total": state.charged_cents(),
            }
        )

    async def schedules(self, request: Request) -> Response:
        """List prices; no key is needed, and the answer is 304 for a client that has them."""
        asked = {name: request.query_params[name] for name in OFFER if name in request.query_params}
        check_service(asked.get("service", ""))
        offered = all(OFFER[name] == value for name, value in asked.items())
        schedules = [{**OFFER, **PRICE}] if offered else []
        etag = f'"{hashlib.sha256(json.dumps(schedules).encode()).hexdigest()[:32]}"'
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers={"ETag": etag})
        as_of = timestamp(self._setup.now())
        return JSONResponse({"as_of": as_of, "price_schedules": schedules}, headers={"ETag": etag})

    async def quote(self, request: Request) -> Response:
        body = await read_json_body(request)
        check_service(str(body.get("service", "")))
        if any(body.get(name, OFFER[name]) != OFFER[name] for name in OFFER):
            raise ErrorReply(404, {"error": {"code": "not_found", "message": "No such offer"}})
        return JSONResponse({"price_quote": quote(timestamp(self._setup.now()))})


def check_service(service: str) -> None:
    """Raise `ErrorReply` for the hyphenated form of a service's name, as RunAPI does."""
    if "-" in service:
        raise ErrorReply(400, {"message": f"Unknown service {service}"})


def quote(as_of: str) -> JsonObject:
    amounts: dict[str, Any] = {"reservation_amount_cents": PRICE_CENTS, "estimate_basis": "exact", "as_of": as_of}
    return OFFER | {"pricing_status": "available", "currency": "USD"} | amounts
