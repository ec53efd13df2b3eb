"""The sandbox keeps its OpenAPI document, and the document agrees with what AquilaX has published."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

import pytest
import schemathesis
import yaml
from schemathesis import GenerationMode
from schemathesis.config import GenerationConfig, ProjectConfig, ProjectsConfig, SchemathesisConfig

from tests.support.openapi import each_request, operations
from tests.support.sandbox import KEY, RunningSandbox, running_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

REQUEST_ID: Final = "77e81bbc-3e7f-47b9-87fa-681b5d2f54e6"
FEEDBACK: Final = "/api/v2/ai/feedback/{request_id}/{status}"

PUBLISHED: Final = {
    200: None,
    400: "text/plain",
    401: "application/json",
    403: "application/json",
    404: "application/json",
    500: "text/plain",
    502: "application/json",
    503: "application/json",
    504: "application/json",
}
"""Statuses and content types of the feedback endpoint on developers.aquilax.ai, API version 2.0."""

BROKEN_ON_PURPOSE: Final[dict[int, dict[str, object]]] = {
    200: {},
    400: {"error_rates": {"400": 1}},
    401: {"revoked_key": True},
    403: {"forbidden_orgs": ["65dd3e835a669e3347654200"]},
    404: {"unknown_share": 1},
    500: {"error_rates": {"500": 1}},
    502: {"error_rates": {"502": 1}},
    503: {"outage": {}, "retry_after": 7},
    504: {"error_rates": {"504": 1}},
}

DOCUMENT: Final[dict[str, Any]] = yaml.safe_load(files("worker.sandbox").joinpath("openapi.yaml").read_text("utf-8"))
SCHEMA: Final = schemathesis.openapi.from_dict(
    DOCUMENT,
    config=SchemathesisConfig(
        projects=ProjectsConfig(
            default=ProjectConfig(
                generation=GenerationConfig(
                    deterministic=True, modes=[GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
                )
            )
        )
    ),
)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    """One sandbox for all: hundreds of requests each."""
    with running_sandbox(tmp_path_factory.mktemp("sandbox"), "--seed=1") as sandbox:
        yield sandbox


@pytest.fixture
def fixed(local: RunningSandbox) -> RunningSandbox:
    """The sandbox as at its start."""
    local.client.reset()
    return local


def test_the_feedback_endpoint_keeps_its_document_for_any_request(local: RunningSandbox) -> None:
    """Valid requests are taken, invalid ones refused, and each answer is of a documented status, type and shape.

    A key that is made up becomes the right one; where it is left out on purpose, it stays out.
    """

    def send(case: schemathesis.Case[Any]) -> None:
        headers = {"X-AX-KEY": KEY} if case.headers.get("X-AX-KEY") else {}
        case.call_and_validate(base_url=local.url, headers=headers)

    each_request(SCHEMA, f"GET {FEEDBACK}", send, examples=60)


@pytest.mark.parametrize("operation", [each for each in operations(DOCUMENT) if FEEDBACK not in each])
def test_the_control_api_keeps_its_document_for_any_request(operation: str, local: RunningSandbox) -> None:
    """Whatever is asked of it: a documented answer, and never a 5xx."""

    def send(case: schemathesis.Case[Any]) -> None:
        case.call_and_validate(base_url=local.url)

    each_request(SCHEMA, operation, send, examples=60)


@pytest.mark.parametrize("status", PUBLISHED)
def test_each_published_status_is_answered_as_it_is_documented(status: int, fixed: RunningSandbox) -> None:
    """A sandbox that is told to fail still keeps the content type and the shape of each documented failure."""
    fixed.client.behave(**BROKEN_ON_PURPOSE[status])
    case = SCHEMA[FEEDBACK]["GET"].Case(
        path_parameters={"request_id": REQUEST_ID, "status": "true"},
        query={"org": "65dd3e835a669e3347654200", "group": "67e86d036e9921509f730483"},
    )

    answer = case.call(base_url=fixed.url, headers={"X-AX-KEY": KEY})

    assert answer.status_code == status
    case.validate_response(
        answer,
        checks=[
            schemathesis.checks.status_code_conformance,
            schemathesis.checks.content_type_conformance,
            schemathesis.checks.response_schema_conformance,
        ],
    )


def test_the_document_has_the_published_parameters() -> None:
    """request_id is a UUID and status a word, both in the path; org and group are text in the query; all required."""
    operation = DOCUMENT["paths"][FEEDBACK]["get"]

    parameters = {
        one["name"]: (one["in"], one["required"], one["schema"]["type"], one["schema"].get("format"))
        for one in operation["parameters"]
    }

    assert operation["operationId"] == "submitAIFeedback"
    assert parameters == {
        "request_id": ("path", True, "string", "uuid"),
        "status": ("path", True, "string", None),
        "org": ("query", True, "string", None),
        "group": ("query", True, "string", None),
    }
    assert operation["parameters"][1]["schema"]["enum"] == ["true", "false"]


def test_the_document_has_the_published_security() -> None:
    """The key travels in the header X-AX-KEY."""
    schemes = DOCUMENT["components"]["securitySchemes"]

    assert DOCUMENT["paths"][FEEDBACK]["get"]["security"] == [{"ApiKeyAuth": []}]
    assert schemes["ApiKeyAuth"] == {"type": "apiKey", "in": "header", "name": "X-AX-KEY"}


def test_the_document_has_the_published_answers() -> None:
    """Nine statuses: 400 and 500 are text, 200 leaves it open, the others are JSON with a code and a message."""
    responses = DOCUMENT["paths"][FEEDBACK]["get"]["responses"]

    answers = {int(status): next(iter(response.get("content", {})), None) for status, response in responses.items()}

    assert answers == PUBLISHED
    assert DOCUMENT["components"]["schemas"]["Error"]["properties"] == {
        "code": {"type": "integer", "format": "int32"},
        "message": {"type": "string"},
    }
