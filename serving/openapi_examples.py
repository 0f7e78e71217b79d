"""Examples in the document: bodies and replies of each operation, as the service reads and writes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

VERSIONS = {"propensity": "3", "clv": "2", "tags-interest": "5"}
AS_OF, REQUEST_ID = "2026-11-21T02:15:00Z", "0c6b1f0f6a3e4c0e9f2d6f0f5a1b2c3d"
REPLY: Mapping[str, Any] = {"as_of": AS_OF, "model_version": VERSIONS, "request_id": REQUEST_ID}

TAG = {
    "tag_id": "interest:FLUID MILK PRODUCTS",
    "name": "interest:FLUID MILK PRODUCTS",
    "family": "interest",
    "key": "FLUID MILK PRODUCTS",
    "probability": 0.61,
    "probability_if_observed": 0.86,
    "precision": 0.84,
    "lift": 3.2,
    "model_version": "5",
    "assigned_at": AS_OF,
    "renewed_at": None,
    "expires_at": "2026-11-24T02:15:00Z",
}

CUSTOMER = {
    "customer_id": "c-17",
    "status": "ok",
    "life_cycle_stage": "repeat",
    "propensity": {"72h": 0.31, "7d": 0.52, "30d": 0.88},
    "clv": {"horizon_days": 90, "expected_minor": 20140, "low_minor": 4200, "high_minor": 45900},
    "segment": 2,
    "static_tags": [{"tag_id": "stage:repeat", "description": "bought more than once"}],
    "tags": [TAG],
    "contact": {"allowed": False, "reason": "quiet hours"},
}

BODIES: Mapping[str, Any] = {
    "post_events": {
        "events": [
            {
                "event_id": "1",
                "customer_id": "c-17",
                "event_type": "view",
                "event_time": "2026-11-21T10:15:00+08:00",
                "category": "FLUID MILK PRODUCTS",
            },
            {
                "event_id": "2",
                "external_userid": "woAJ2GCAAAXtWyujaWJHDDGi0mACAAAA",
                "event_type": "purchase",
                "event_time": 1795227300,
                "item_id": "sku-9",
                "quantity": 2,
                "amount_minor": 3980,
                "order_id": "o-2031",
            },
        ]
    },
    "post_predictions": {"customer_ids": ["c-17", {"unionid": "oX3f"}]},
    "post_wecom_diff": {"cursor": None, "limit": 500},
}
"""By operation."""

REPLIES: Mapping[str, Any] = {
    "post_events": {
        "accepted": 2,
        "duplicates": 0,
        "erased": 0,
        "errors": [],
        **REPLY,
        "customers": [{"customer_id": "c-17", "tags": [TAG]}],
    },
    "post_predictions": {**REPLY, "customers": [CUSTOMER], "errors": []},
    "get_customer": {**REPLY, "customer": CUSTOMER},
    "get_tags": {
        **REPLY,
        "tags": [
            {
                "tag_id": TAG["tag_id"],
                "name": TAG["name"],
                "family": "interest",
                "key": TAG["key"],
                "status": "certified",
                "reason": "",
                "threshold": 0.79,
                "precision": 0.84,
                "lift": 3.2,
                "model_version": "5",
                "carriers": 1204,
            }
        ],
    },
    "get_tag_customers": {
        **REPLY,
        "tag_id": TAG["tag_id"],
        "name": TAG["name"],
        "customers": [
            {
                "customer_id": "c-17",
                **{name: TAG[name] for name in ("probability", "probability_if_observed", "assigned_at")},
                "renewed_at": None,
                "expires_at": TAG["expires_at"],
            }
        ],
        "next_cursor": None,
    },
    "post_wecom_diff": {
        **REPLY,
        "bodies": [
            {
                "userid": "zhangsan",
                "external_userid": "woAJ2GCAAAXtWyujaWJHDDGi0mACAAAA",
                "add_tag": ["etAJ2GCAAA2ozCcvKWSvZGKgQyvpQ0vA"],
                "remove_tag": [],
            }
        ],
        "tags": [
            {
                "entry": "etAJ2GCAAA2ozCcvKWSvZGKgQyvpQ0vA",
                "tag_id": TAG["tag_id"],
                "name": TAG["name"],
                "group": "Tagtide",
                "wecom_id": "etAJ2GCAAA2ozCcvKWSvZGKgQyvpQ0vA",
            }
        ],
        "skipped": [{"customer_id": "c-18", "reason": "no_external_userid"}],
        "next_cursor": "W1sxMiwxNzk1MjI3MzAwMDAwMDAwLDBdLDAsbnVsbCwiIl0",
        "has_more": False,
    },
}
"""By operation."""

ERROR = {
    "code": "invalid_request",
    "message": "no event could be taken",
    "details": [
        {"index": 0, "field": "event_type", "value": "gaze", "expected": "one of view, search, purchase, …"}
    ],
    "request_id": REQUEST_ID,
}
