"""Customers are asked about by HTTP."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from configs.settings import Settings
from features.events import shown
from serving.answers import Answers
from serving.errors import InvalidRequest
from serving.gathering import Gathering
from serving.http_messages import about, id_in_path, json_body, json_reply
from serving.intake import read_ids
from serving.openapi import Operation
from serving.readers import Readers
from serving.schemas import ID, CustomerReply, Detail, PredictionsReply, PredictionsRequest

YES_OR_NO = ("true", "false")


class CustomerRoutes:
    """Many customers at once, or one with reasons."""

    operations = (
        Operation(
            "POST",
            "/v1/predictions:batchGet",
            "post_predictions",
            "Ask about customers",
            "Live tags, purchase propensity, lifetime value and life-cycle stage of up to 500 customers. An "
            "unknown customer has status `cold_start` and the population's priors.",
            PredictionsRequest,
            PredictionsReply,
            200,
            (400, 413, 415, 422, 429, 503),
        ),
        Operation(
            "GET",
            "/v1/customers/{customer_id}",
            "get_customer",
            "Ask about one customer",
            "The same for one customer, with the reasons that speak for each tag now, which cost most of "
            "such an answer.",
            None,
            CustomerReply,
            200,
            (422, 429, 503),
            (
                {
                    "name": "customer_id",
                    "in": "path",
                    "required": True,
                    "description": f"{ID}; may contain `/`; of a further space `SPACE:ID`: `unionid:oX3f`",
                    "schema": {"type": "string"},
                },
                {
                    "name": "reasons",
                    "in": "query",
                    "required": False,
                    "description": "`false`: leave the reasons out",
                    "schema": {"type": "string", "enum": list(YES_OR_NO), "default": "true"},
                },
            ),
        ),
    )

    def __init__(self, settings: Settings, answers: Answers, readers: Readers) -> None:
        self._settings = settings
        self._answers = answers
        self._readers = readers
        self._together = Gathering(answers.predict, readers.run)

    async def post_predictions(self, request: Request) -> Response:
        """Answer about many customers."""
        body = await json_body(request, self._settings.max_body_bytes)
        customers, errors = read_ids(body, most=self._settings.max_batch_ids)
        if not customers:
            raise InvalidRequest("no id could be answered", errors)
        about(request, customers)
        answer = await self._together.predict(customers)
        return json_reply(
            PredictionsReply(
                answer.as_of, answer.model_version, request.state.request_id, answer.customers, errors
            )
        )

    async def get_customer(self, request: Request) -> Response:
        """Answer about one customer, with reasons unless told otherwise."""
        customer, reasons = id_in_path(request), request.query_params.get("reasons", "true")
        if reasons not in YES_OR_NO:
            raise InvalidRequest(
                "unknown ?reasons", [Detail(None, "reasons", shown(reasons), " or ".join(YES_OR_NO))]
            )
        if reasons == "true":
            answer = await self._readers.run(lambda: self._answers.predict([customer], with_reasons=True))
        else:
            answer = await self._together.predict([customer])
        return json_reply(
            CustomerReply(answer.as_of, answer.model_version, request.state.request_id, answer.customers[0])
        )
