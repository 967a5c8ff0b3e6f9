"""The description of the server's own interface, in OpenAPI 3.1."""

from __future__ import annotations

from typing import Any

from .. import __version__

_IMAGE = {"schema": {"type": "string", "format": "binary"}}
_FORM = {"schema": {"type": "object", "additionalProperties": {"type": "string", "format": "binary"}}}
_URL = {"schema": {"type": "object", "required": ["url"], "properties": {"url": {"type": "string", "format": "uri"}}}}
_ERRORS = {
    "400": "The image, the form or the JSON cannot be read",
    "401": "The token is missing or wrong",
    "403": "The server fetches no addresses",
    "404": "There is no such model",
    "408": "The body took too long",
    "413": "The body is too large",
    "503": "Too many images wait, or the prediction took too long; Retry-After says when to try again",
}


def description() -> dict[str, Any]:
    """Return the description as JSON has it."""
    model = _parameter("model", {"type": "string"}, "Name of the model; the first by default")
    top = _parameter("top", {"type": "integer", "minimum": 1, "default": 5}, "Classes per image")
    classes = {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "class": {"type": "string"}, "label": {"type": "string"}, "probability": {"type": "number"},
                "value": {"type": "number"},
            },
        },
    }  # fmt: skip
    image = {"type": "object", "properties": {"kind": {"type": "string"}, "predictions": classes}}
    predicted = {
        "type": "object",
        "properties": {"model": {"type": "string"}, "images": {"type": "array", "items": image}},
    }
    body = {"image/*": _IMAGE, "multipart/form-data": _FORM, "application/json": _URL}
    return {
        "openapi": "3.1.0",
        "info": {"title": "efficientnet", "version": __version__},
        "paths": {
            "/predict": {
                "post": {
                    "summary": "Predict images: the content of a file, several in a form, or an address",
                    "parameters": [model, top],
                    "requestBody": {"required": True, "content": body},
                    "responses": _responses({"application/json": {"schema": predicted}}),
                }
            },
            "/explain": {
                "post": {
                    "summary": "Draw where the model sees the evidence for its best class",
                    "parameters": [model],
                    "requestBody": {"required": True, "content": {"image/*": _IMAGE}},
                    "responses": _responses({"image/jpeg": _IMAGE}),
                }
            },
            "/models": _get("List the models", {"application/json": {"schema": {"type": "object"}}}),
            "/metrics": _get("Counters for Prometheus", {"text/plain": {"schema": {"type": "string"}}}),
        },
    }


def _parameter(name: str, schema: dict[str, Any], text: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": text}


def _responses(content: dict[str, Any]) -> dict[str, Any]:
    errors = {status: {"description": text} for status, text in _ERRORS.items()}
    return {"200": {"description": "Done", "content": content}, **errors}


def _get(summary: str, content: dict[str, Any]) -> dict[str, Any]:
    return {"get": {"summary": summary, "responses": {"200": {"description": "Done", "content": content}}}}
