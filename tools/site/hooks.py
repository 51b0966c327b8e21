"""What mkdocs calls while it builds the site: the API page lists the public names by itself."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any, Dict, List, Tuple

PACKAGE = Path(__file__).parents[2] / "src" / "featscope"

# A name that is assigned has no signature of its own: what it wraps is shown in its place.
WRAPPED = {"adapters.capture.capture": "capturing.start.capture"}


def public_names(source: str) -> Tuple[List[str], Dict[str, str]]:
    """The names of `__all__` and the module that each lives in, read without an import."""
    found: Dict[str, Any] = {}
    for node in ast.parse(source).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        if isinstance(node, ast.Assign) and isinstance(target, ast.Name) and target.id in ("__all__", "_HOMES"):
            found[target.id] = ast.literal_eval(node.value)
    return found["__all__"], found["_HOMES"]


def api_page() -> str:
    """Every public name with its docstring, functions first."""
    names, homes = public_names((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    parts = []
    for name in sorted(names, key=lambda name: (name[0].isupper(), name)):
        place = f"{homes[name]}.{name}"
        parts.append(f"::: featscope.{WRAPPED.get(place, place)}\n")
    return "\n".join(parts)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """mkdocs' event: the text of a page before it is turned into HTML."""
    return markdown.replace("API_NAMES", api_page())


LANGUAGES = {"en": "English", "zh": "中文"}


def on_page_context(context: Any, page: Any, config: Any, **_: Any) -> Any:
    """mkdocs' event: the switch of languages leads to the same page, by a path that also works from disk."""
    english = page.url[len("zh/") :] if page.url.startswith("zh/") else page.url
    config.extra["alternate"] = [
        {"name": name, "lang": language, "link": english if language == "en" else f"{language}/{english}"}
        for language, name in LANGUAGES.items()
    ]
    return context
