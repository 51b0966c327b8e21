"""A command that accepts the names that its options had in the last version."""

from __future__ import annotations

from typing import Any, Dict, List, Tuple

from typer.core import TyperCommand

OLD: Dict[Tuple[str, str], str] = {
    ("capture", "--layers"): "--layer",
    ("capture", "--images"): "--image",
    ("run", "--layers"): "--layer",
    ("layers", "--below"): "--layer",
    ("explain", "--images"): "--image",
    ("place", "--images"): "--image",
    ("heat", "--image"): "--under",
    ("heat", "--colorbar"): "--legend",
    ("heat", "--no-colorbar"): "--no-legend",
}
"""(command, old name) -> new name. An old name is accepted for one version, with a note."""

_DROPPED = {"--no-trust-checkpoint"}  # it is the default, so it is ignored


class Command(TyperCommand):
    """A command that accepts the old names of its options, and shows --help in its last panel."""

    def parse_args(self, ctx: Any, args: List[str]) -> List[str]:
        """Replace old names by new ones, with a note."""
        return super().parse_args(ctx, self._renamed(args, quiet=ctx.resilient_parsing))

    def get_help_option(self, ctx: Any) -> Any:
        """Return the option --help, moved to the panel of the last option."""
        found = super().get_help_option(ctx)
        panels = [panel for panel in (getattr(one, "rich_help_panel", None) for one in self.params) if panel]
        if found is not None:
            found.metavar = " "
        if found is not None and panels:
            found.rich_help_panel = panels[-1]
        return found

    def _renamed(self, args: List[str], quiet: bool) -> List[str]:
        from featscope.cli.console import remark

        end = args.index("--") if "--" in args else len(args)  # the rest belongs to a script
        made: List[str] = []
        told = set()
        for arg in args[:end]:
            name, equals, value = arg.partition("=")
            new = OLD.get((self.name or "", name))
            if new is not None and not quiet and name not in told:
                told.add(name)
                remark(f"{name} is called {new} now; the next version will not know the old name")
            if arg not in _DROPPED:
                made.append(arg if new is None else new + equals + value)
        return [*made, *args[end:]]
