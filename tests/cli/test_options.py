"""The table of options: one meaning a name, help that can be read and copied, wrong values found at once."""

import inspect
import os
import re
import subprocess
import sys
from collections import defaultdict

import pytest
import typer.main
from rich.emoji import Emoji
from rich.text import Text

from featscope.arrays.reduce import REDUCTIONS
from featscope.cli import app, main, options
from featscope.cli.console import literal
from featscope.cli.old_names import OLD

COMMANDS = typer.main.get_command(app).commands
OWN = {name: [p for p in command.params if p.param_type_name == "option"] for name, command in COMMANDS.items()}
DECLARED = [(verb, option) for verb, found in OWN.items() for option in found]
WIDTH = 80


@pytest.fixture(scope="module")
def help_of():
    """The help of a command as a terminal of 80 columns shows it, on a Windows code page."""
    seen = {}

    def read(verb):
        if verb not in seen:
            environment = {**os.environ, "COLUMNS": str(WIDTH), "PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
            command = [sys.executable, "-m", "featscope", *verb.split(), "--help"]
            done = subprocess.run(command, capture_output=True, env=environment, check=False)
            assert done.returncode == 0, done.stderr.decode()
            seen[verb] = done.stdout.decode("cp1252")
        return seen[verb]

    return read


def called(capsys, *arguments):
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    return left.value.code, printed.out, printed.err


def examples(verb):
    """The lines of a command's help that are typed."""
    lines = inspect.getdoc(COMMANDS[verb].callback).splitlines()
    return [line for line in lines if line.startswith("  ")]


class TestOneMeaning:
    def test_a_name_is_written_in_one_way_everywhere(self):
        forms = defaultdict(set)
        for _, option in DECLARED:
            long = next(name for name in option.opts if name.startswith("--"))
            forms[long].add((tuple(option.opts), tuple(option.secondary_opts)))
        assert {name: found for name, found in forms.items() if len(found) > 1} == {}

    def test_a_short_name_stands_for_one_option(self):
        meant = defaultdict(set)
        for _, option in DECLARED:
            for short in (name for name in option.opts if not name.startswith("--")):
                meant[short].add(option.opts[0])
        assert {short: found for short, found in meant.items() if len(found) > 1} == {}

    def test_what_several_commands_have_is_a_row_of_the_table(self):
        rows = {names[0].split("/")[0] for names in (row.names for row in _rows())}
        verbs = defaultdict(set)
        for verb, option in DECLARED:
            verbs[option.opts[0]].add(verb)
        shared = {name for name, found in verbs.items() if len(found) > 1}
        assert shared <= rows
        assert {name: verbs[name] for name in rows if len(verbs[name]) < 2} == {}, "one command's own option"

    @pytest.mark.parametrize("verb", sorted(set(COMMANDS) - {"check", "demo"}))
    def test_layers_are_named_by_l_everywhere(self, verb):
        assert ["--layer", "-l"] in [option.opts for option in OWN[verb]]


def _rows():
    return [row for row in vars(options).values() if isinstance(row, options.Option)]


class TestOldNames:
    def test_they_are_no_names_of_today(self):
        for (verb, old), new in OLD.items():
            today = {name for option in OWN[verb] for name in [*option.opts, *option.secondary_opts]}
            assert old not in today
            assert new in today

    @pytest.mark.parametrize(("verb", "old"), OLD)
    def test_an_old_name_means_the_new_one_and_says_so(self, capsys, monkeypatch, verb, old):
        got = []
        command = COMMANDS[verb]
        monkeypatch.setattr(command, "callback", lambda **values: got.append(values))
        needed = {"capture": ["m", "-o", "r"], "run": ["-o", "r", "x"], "layers": ["m"], "place": ["r"], "heat": ["r"]}
        base, new = needed.get(verb, []), OLD[verb, old]
        flag = any(option.is_flag for option in OWN[verb] if new in [*option.opts, *option.secondary_opts])
        for typed in ([old],) if flag else ([old, "a"], [f"{old}=a"]):
            command.main([*typed, *base], standalone_mode=False)
            assert f"{old} is called {new} now" in capsys.readouterr().err
        command.main([new, *([] if flag else ["a"]), *base], standalone_mode=False)
        assert capsys.readouterr().err == ""
        assert all(values == got[-1] for values in got)

    def test_it_is_said_once(self, capsys, monkeypatch):
        got = {}
        monkeypatch.setattr(COMMANDS["capture"], "callback", lambda **values: got.update(values))
        arguments = ["m", "-o", "r", "--layers", "a", "--layers", "b", "-l", "c"]
        COMMANDS["capture"].main(arguments, standalone_mode=False)
        assert list(got["layers"]) == ["a", "b", "c"]
        assert capsys.readouterr().err.count("note:") == 1

    def test_what_a_script_is_given_is_its_own(self, capsys, monkeypatch):
        got = {}
        monkeypatch.setattr(COMMANDS["run"], "callback", lambda **values: got.update(values))
        COMMANDS["run"].main(["-o", "r", "--", "s.py", "--layers", "x"], standalone_mode=False)
        assert list(got["command"]) == ["s.py", "--layers", "x"]
        assert capsys.readouterr().err == ""


class TestHelp:
    def test_all_reductions_are_named(self, help_of):
        drawn, kept = (re.split(r"\W+", help_of(verb)) for verb in ("heat", "capture"))
        assert set(REDUCTIONS) <= set(drawn)
        assert {name for name, row in REDUCTIONS.items() if row.on_capture} <= set(kept)

    @pytest.mark.parametrize("verb", COMMANDS)
    def test_an_example_is_one_line_of_the_terminal(self, help_of, verb):
        shown = [line.rstrip() for line in help_of(verb).splitlines()]
        assert all(len(line) <= WIDTH for line in shown)
        assert any(f"featscope {verb}" in line for line in examples(verb))
        for line in examples(verb):
            assert f" {line}" in shown
            assert (line.endswith("\\")) == (_after(verb, line).startswith("    ")), line

    @pytest.mark.parametrize("verb", COMMANDS)
    def test_examples_are_understood(self, verb, monkeypatch):
        """Typed as they stand; what they name need not be there."""
        import shlex

        text = "\n".join(examples(verb)).replace("\\\n", " ")
        for line in text.splitlines():
            words = shlex.split(line)
            words = words[words.index("featscope") + 1 :]
            command = COMMANDS[words[0]]
            monkeypatch.setattr(command, "callback", lambda **values: None)
            command.main(words[1:], standalone_mode=False)

    @pytest.mark.parametrize(("verb", "option"), DECLARED, ids=lambda one: getattr(one, "name", one))
    def test_an_option_stands_in_a_panel_and_shows_its_default(self, help_of, verb, option):
        panels = [options.WHAT, options.MODEL, options.HOW_MUCH, options.DRAWING, options.RARE]
        assert option.rich_help_panel in panels
        (row,) = [row for row in _shown_rows(help_of(verb)) if row[0] == option.opts[0]]
        plain_flag = option.is_flag and option.default is False
        assert plain_flag or option.required or "[default: " in row[1], row

    @pytest.mark.parametrize("verb", ["", *COMMANDS])
    def test_nothing_is_cut_off_and_nothing_is_a_picture(self, help_of, verb):
        shown = help_of(verb)
        assert "…" not in shown
        assert shown.isascii()

    def test_no_text_is_markup(self):
        for command in COMMANDS.values():
            assert Text.from_markup(command.help).plain == inspect.getdoc(command.callback)
        for _, option in DECLARED:
            assert "[" not in option.help
            assert Emoji.replace(option.help) == option.help

    @pytest.mark.parametrize(
        "text", ["photo[copy].png", "module.path:factory: fit", "[/red]", ":smile:", "a\\[b]", "x"]
    )
    def test_a_text_is_shown_as_it_is(self, text):
        assert Text.from_markup(literal(text)).plain == text


def _after(verb, line):
    lines = inspect.getdoc(COMMANDS[verb].callback).splitlines()
    return [*lines, ""][lines.index(line) + 1]


def _shown_rows(text):
    """The rows of the panels: the long name, and all that stands beside and below it."""
    rows = []
    for line in text.splitlines():
        inner = re.match(r"\| (.*) \|$", line)
        if inner is None:
            continue
        name = re.match(r"(?:\*  |   )?(--[\w-]+)", inner[1])
        if name:
            rows.append([name[1], inner[1]])
        elif rows:
            rows[-1][1] += " " + inner[1].strip()
    return rows


WRONG = [
    (["capture", "absent", "-o", "{new}", "--dtype", "float12"], "'float32'"),
    (["capture", "absent", "-o", "{new}", "--on-error", "foo"], "on_error='foo'"),
    (["capture", "absent", "-o", "{new}", "-r", "foo"], "no reduction on capture 'foo'"),
    (["capture", "absent", "-o", "{new}", "-r", "pca"], "no reduction on capture 'pca'"),
    (["capture", "absent", "-o", "{new}", "-c", "0-x"], "'0-x' is not a choice of channels"),
    (["capture", "absent", "-o", "{new}", "-c", "sum:3"], "cannot be selected during a capture"),
    (["capture", "absent", "-o", "{new}", "--axes", "neck=QQ"], "'QQ' of 'neck'"),
    (["capture", "absent", "-o", "{new}", "--grid", "neck=ax3"], "'ax3' of 'neck'"),
    (["capture", "absent", "-o", "{new}", "--input-size", "big"], "'big' is not a size"),
    (["capture", "absent", "-o", "{new}", "--preprocess", "fit=q"], "fit must be one of"),
    (["capture", "absent", "-o", "{new}", "--name", "neck"], "'neck' is not KEY=VALUE"),
    (["run", "-o", "{new}", "--dtype", "float12", "--", "none.py"], "'float32'"),
    (["run", "-o", "{new}", "--axes", "neck", "--", "none.py"], "'neck' is not KEY=VALUE"),
    (["layers", "absent", "--input", "a"], "'a' is not KEY=VALUE"),
    (["place", "absent", "--cfg-options", "a"], "'a' is not KEY=VALUE"),
    (["heat", "absent", "--range", "foo"], "'foo' is not a value range"),
    (["heat", "absent", "--range", "channel"], "'channel' is not a value range"),
    (["heat", "absent", "-r", "foo"], "no reduction 'foo'"),
    (["heat", "absent", "-r", "channel:x"], "does not name a channel"),
    (["heat", "absent", "--executor", "foo"], "no executor 'foo'"),
    (["heat", "absent", "--style", "jett"], "'jet'"),
    (["heat", "absent", "--colormap", "virids"], "'viridis'"),
    (["heat", "absent", "--place", "here"], "no place 'here'"),
    (["heat", "absent", "--reading", "cv3"], "no reading 'cv3'"),
    (["render", "absent", "-c", "0-x"], "'0-x' is not a choice of channels"),
    (["render", "absent", "--range", "foo"], "'foo' is not a value range"),
    (["render", "absent", "--style", "foo"], "no style 'foo'"),
    (["render", "absent", "--executor", "processes:0"], "no executor"),
    (["explain", "absent", "-m", "gradcam"], "'grad-cam'"),
    (["explain", "absent", "--side", "heigth"], "'height'"),
]


class TestWrongValues:
    @pytest.mark.parametrize(
        ("arguments", "message"), WRONG, ids=lambda one: " ".join(one) if isinstance(one, list) else ""
    )
    def test_a_wrong_value_is_found_before_anything_is_opened(self, capsys, tmp_path, arguments, message):
        """`absent` is neither a model nor a run: if one of them were opened first, that would be the error."""
        code, out, err = called(capsys, *(a.format(new=tmp_path / "new") for a in arguments))
        assert (code, out) == (1, "")
        assert message in err
        assert err.count("error:") == 1
        assert "absent" not in err
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("word", ["photo[copy].png", ":smile:", "[/red]", "a[bold]b"])
    @pytest.mark.parametrize("verb", ["heat", "list", "check"])
    def test_what_was_typed_is_shown_as_it_is(self, capsys, verb, word):
        code, _, err = called(capsys, verb, word)
        assert code == 1
        assert word in err

    @pytest.mark.parametrize("word", ["--x[copy]", "--:smile:"])
    def test_an_option_that_there_is_not_is_named_as_it_was_typed(self, capsys, word):
        code, _, err = called(capsys, "list", "run", word)
        assert code == 2
        assert word in err


def test_a_name_that_the_code_page_lacks_is_printed_all_the_same(tmp_path):
    import numpy as np

    (tmp_path / "船").mkdir()
    np.save(tmp_path / "船" / "a.npy", np.zeros((3, 4, 4)))
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "featscope", "list", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert rb"\u8239" in done.stdout
