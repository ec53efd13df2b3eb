"""The gateway keeps its OpenAPI document for any request, and the document agrees with AquilaX's on the drop-in."""

from __future__ import annotations

import copy
import json
import re
import uuid
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

import pytest
import schemathesis
from schemathesis import GenerationMode
from schemathesis.config import ChecksConfig, GenerationConfig, ProjectConfig, ProjectsConfig, SchemathesisConfig

from tests.contract.test_sandbox_contract import DOCUMENT as AQUILAX
from tests.contract.test_sandbox_contract import FEEDBACK
from tests.support.gateway import RunningGateway, running_gateway
from tests.support.openapi import each_request, operations

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.processes import RedisServer

DOCUMENT: Final[dict[str, Any]] = json.loads(files("worker.gateway").joinpath("openapi.json").read_text("utf-8"))
PARTLY: Final = [207, "4xx", "5xx"]
"""What a request with something invalid may get: of an array with one invalid item the others are taken (207)."""

GENERATED: Final = copy.deepcopy(DOCUMENT)
del GENERATED["paths"]["/v1/feedback"]["post"]["requestBody"]["content"]["application/x-ndjson"]
"""Without NDJSON, whose lines no schema describes: tests/unit/gateway/test_batch_upload.py has them."""

SCHEMA: Final = schemathesis.openapi.from_dict(
    GENERATED,
    config=SchemathesisConfig(
        projects=ProjectsConfig(
            default=ProjectConfig(
                checks=ChecksConfig.from_dict({"negative_data_rejection": {"expected_statuses": PARTLY}}),
                generation=GenerationConfig(
                    deterministic=True, modes=[GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
                ),
            )
        )
    ),
)


@pytest.fixture(scope="module")
def local(_valkey: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """One gateway for all requests."""
    with running_gateway(tmp_path_factory.mktemp("gateway"), _valkey.url) as gateway:
        yield gateway


@pytest.mark.parametrize("operation", operations(GENERATED))
def test_the_gateway_keeps_its_document_for_any_request(operation: str, local: RunningGateway) -> None:
    """Valid requests are taken, invalid ones refused, and each answer is of a documented status, type and shape.

    A key that is made up becomes the right one; where it is left out on purpose, it stays out. An Idempotency-Key that
    came before with another body becomes a new one.
    """

    def send(case: schemathesis.Case[Any]) -> None:
        if re.fullmatch(r"[!-~]+", case.headers.get("Idempotency-Key", "")):
            case.headers["Idempotency-Key"] = str(uuid.uuid4())
        has_key = case.headers.get("X-AX-KEY") or case.headers.get("Authorization")
        case.headers.pop("Authorization", None)
        case.call_and_validate(base_url=local.url, headers={"X-AX-KEY": local.key} if has_key else {})

    each_request(SCHEMA, operation, send, examples=30)


def test_the_drop_in_takes_what_aquilax_takes() -> None:
    """The same operation, parameters and key; a client that was written for AquilaX finds all that it knows."""
    ours, theirs = DOCUMENT["paths"][FEEDBACK]["get"], AQUILAX["paths"][FEEDBACK]["get"]

    assert ours["operationId"] == theirs["operationId"]
    assert [_essence(one) for one in ours["parameters"]] == [_essence(one) for one in theirs["parameters"]]
    schemes = DOCUMENT["components"]["securitySchemes"], AQUILAX["components"]["securitySchemes"]
    assert schemes[0]["ApiKeyAuth"] == schemes[1]["ApiKeyAuth"]
    for status in ("400", "401", "403", "404", "503"):
        assert list(ours["responses"][status]["content"]) == list(theirs["responses"][status]["content"]), status


def _essence(parameter: dict[str, Any]) -> tuple[str, str, bool, str]:
    return parameter["name"], parameter["in"], parameter["required"], parameter["schema"]["type"]
