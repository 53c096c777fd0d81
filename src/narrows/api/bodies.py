"""How request bodies are decoded: the messages of `wire/messages.py`, but with payload fields kept
as the raw text (`msgspec.Raw`), which `wire/payloads.py` then checks and compacts."""

from __future__ import annotations

from typing import TypeVar

import msgspec
from msgspec import UNSET, Raw, UnsetType
from msgspec.json import Decoder

from narrows.api.call import Call
from narrows.errors import InvalidRequest
from narrows.wire import messages, run_messages
from narrows.wire.payloads import check_escapes, compact

Body = TypeVar("Body")


class OpenTriggerBody(messages.OpenTriggerRequest, kw_only=True):
    request_payload: Raw | UnsetType = UNSET
    expected_schema: Raw | UnsetType = UNSET


class SendBody(messages.SendRequest, kw_only=True):
    payload: Raw | UnsetType = UNSET


class BatchItemBody(messages.BatchItem, kw_only=True):
    payload: Raw | UnsetType = UNSET


class BatchBody(messages.BatchRequest, kw_only=True):
    events: list[BatchItemBody]  # type: ignore[assignment]  # its items are narrower; how many is asked of the decoded body, for a better sentence


class PrefixSendBody(messages.PrefixSendRequest, kw_only=True):
    payload: Raw | UnsetType = UNSET


OPEN_TRIGGER = Decoder(OpenTriggerBody)
SEND = Decoder(SendBody)
BATCH = Decoder(BatchBody)
PREFIX_SEND = Decoder(PrefixSendBody)
EXTEND = Decoder(messages.ExtendRequest)
PURGE = Decoder(messages.PurgeRequest)
STREAM_TOKEN = Decoder(messages.StreamTokenRequest)
CALLBACK_URL = Decoder(messages.CallbackUrlRequest)
CREATE_PROJECT = Decoder(messages.CreateProjectRequest)
CREATE_API_KEY = Decoder(messages.CreateApiKeyRequest)
ROTATE_API_KEY = Decoder(messages.RotateApiKeyRequest)
ROTATE_SECRET = Decoder(run_messages.RotateSecretRequest)
RETRY_DELIVERY = Decoder(run_messages.RetryDeliveryRequest)


async def decode(call: Call, decoder: Decoder[Body]) -> Body:
    """The body as its message; an empty one counts as `{}`, so that optional fields may all be left out."""
    return parse(await call.body(), decoder)


def parse(body: bytes, decoder: Decoder[Body]) -> Body:
    """The same of a body that has been read."""
    if b"\\u" in body:
        check_escapes(body, "request body")
    try:
        return decoder.decode(body if body and not body.isspace() else b"{}")
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"The request body does not fit: {_sentence(error)}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        reason = str(error).removeprefix("JSON is malformed: ")
        raise InvalidRequest(f"The request body is not valid JSON: {reason}.") from None
    except RecursionError:
        raise InvalidRequest("The request body is nested too deeply.") from None


def payload_text(raw: Raw | UnsetType, what: str = "payload") -> str | None:
    """The compacted text of a payload; None where there was none."""
    return None if isinstance(raw, UnsetType) else compact(bytes(raw), what)


def _sentence(error: msgspec.ValidationError) -> str:
    return str(error).replace("`", "'").replace("$.", "")
