"""Answers to the page's questions: from a name and a query to bytes, without a socket.

The server, the report and the notebook call `Viewer.answer`. To add a question, write its type in `questions.py` and a
function in `run_answers.py`, `map_answers.py` or `miss_answers.py`, and add a row to `QUESTIONS`.
"""

from __future__ import annotations

from typing import Callable, Dict, Mapping, NamedTuple, Tuple, Type

import msgspec

from featscope.errors import BadOptionError, BadRunError, FeatscopeError, UnknownNameError, unknown_name
from featscope.viewer import map_answers, miss_answers, questions, replies, run_answers
from featscope.viewer.shown_runs import JSON, Made, ShownRuns, digest

QUESTIONS: Dict[str, Tuple[Type[msgspec.Struct], Callable[..., Made]]] = {
    "about": (questions.Nothing, run_answers.about),
    "samples": (questions.OfRun, run_answers.samples),
    "sample": (questions.OfSample, run_answers.sample),
    "image": (questions.OfSample, run_answers.image),
    "thumb": (questions.OfSample, run_answers.thumb),
    "misses": (questions.OfMisses, miss_answers.misses),
    "lost": (questions.OfSample, miss_answers.lost),
    "explain": (questions.Explain, run_answers.explain),
    "map": (questions.Reduce, map_answers.map_values),
    "channels": (questions.Tiles, map_answers.channels),
    "ranks": (questions.Ranks, map_answers.ranks),
    "best": (questions.Best, map_answers.best),
    "explanation": (questions.OfExplanation, map_answers.explanation),
    "picture": (questions.Draw, map_answers.picture),
    "command": (questions.Draw, map_answers.command),
}
"""Name -> the type of its query, and what answers it."""


class Answer(NamedTuple):
    """The answer to a question."""

    body: bytes

    media: str
    """Its type, as HTTP names it."""

    tag: str
    """Changes if the answer does."""

    status: int = 200
    """200, 304 for what the page has already, or the status of an error."""


class Viewer(ShownRuns):
    """One or several runs, and what can be asked about them.

    >>> viewer = Viewer(["runs/fpn"])
    >>> viewer.answer("samples", {"run": "0"}).body[:17]
    b'{"ids":["harbour"'
    """

    def answer(self, name: str, query: Mapping[str, str], known: str = "") -> Answer:
        """Answer a question. known: the tag of an answer that the page has already; then the body is empty, and 304.

        What is wrong with a question, or with the run, is an answer too, with its words.
        """
        try:
            if name not in QUESTIONS:
                raise unknown_name("question", name, QUESTIONS, "the page at openapi.json")
            kind, method = QUESTIONS[name]
            try:
                asked = msgspec.convert(dict(query), kind, strict=False)
            except msgspec.ValidationError as error:
                raise BadOptionError(f"{name} cannot be answered: {error}") from None
            made = method(self, asked)
            tag = digest(name, made.tag)
            if known and tag == known:
                return Answer(b"", made.media, tag, 304)
            return Answer(made.make(), made.media, tag)
        except Exception as error:  # noqa: BLE001 (whatever goes wrong with one answer, the page says it and goes on)
            words = str(error) if isinstance(error, FeatscopeError) else f"{type(error).__name__}: {error}"
            body = msgspec.json.encode(replies.ErrorOut(words))
            return Answer(body, JSON, digest("error", words), _status(error))

    def warm(self) -> None:
        """Answer what every page asks first, so that it is at hand when the browser has started."""
        self.answer("about", {})
        for name in ("sample", "samples"):
            for run in range(len(self.runs)):
                self.answer(name, {"run": str(run)})


def _status(error: Exception) -> int:
    if isinstance(error, UnknownNameError):
        return 404
    if isinstance(error, BadRunError):
        return 410
    return 400 if isinstance(error, FeatscopeError) else 500
