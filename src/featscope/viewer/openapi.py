"""A description of all questions and answers in the OpenAPI format, made from their types."""

from __future__ import annotations

from typing import Any, Dict

import msgspec

from featscope import __version__
from featscope.viewer import miss_replies, replies
from featscope.viewer.answers import QUESTIONS
from featscope.viewer.shown_runs import ARRAY, JSON, PNG

_REPLIES: Dict[str, Any] = {
    "about": replies.About,
    "samples": replies.Columns,
    "sample": replies.SampleOut,
    "misses": miss_replies.MissesOut,
    "lost": miss_replies.LostsOut,
    "ranks": replies.RanksOut,
    "best": replies.BestOut,
    "command": replies.CommandOut,
    "explain": replies.ExplanationsOut,
    "image": "image/*",
    "thumb": "image/jpeg",
    "map": ARRAY,
    "channels": ARRAY,
    "explanation": ARRAY,
    "picture": PNG,
}


def openapi(base: str, explains: bool = False) -> bytes:
    """Return the description as JSON.

    base: the path below which the answers lie, as `/TOKEN`. explains: whether the viewer computes explanations.
    """
    types = [kind for kind, _ in QUESTIONS.values()] + [one for one in _REPLIES.values() if not isinstance(one, str)]
    schemas, parts = msgspec.json.schema_components(
        [*types, replies.ErrorOut], ref_template="#/components/schemas/{name}"
    )
    parts = dict(parts)
    error = {"description": "What is wrong, in words.", "content": {JSON: {"schema": schemas[-1]}}}
    paths = {}
    for name, (kind, _) in QUESTIONS.items():
        if name == "explain" and not explains:
            continue
        reply = _REPLIES[name]
        schema = {"type": "string", "format": "binary"} if isinstance(reply, str) else schemas[types.index(reply)]
        media = reply if isinstance(reply, str) else JSON
        fields = parts[kind.__name__].get("properties", {})
        paths[f"{base}/ask/{name}"] = {
            "get": {
                "operationId": name,
                "summary": (kind.__doc__ or "").strip(),
                "parameters": [
                    {"name": field, "in": "query", "required": False, "schema": about}
                    for field, about in fields.items()
                ],
                "responses": {
                    "200": {"description": "The answer.", "content": {media: {"schema": schema}}},
                    "304": {"description": "The page has this answer already."},
                    **{code: error for code in ("400", "404", "410", "500")},
                },
            }
        }
    whole = {
        "openapi": "3.1.0",
        "info": {"title": "featscope view", "version": __version__},
        "paths": paths,
        "components": {"schemas": parts},
    }
    return msgspec.json.encode(whole)
