"""The commands, each declared once: for the parser, help, completion, the key menu, the generated pages."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from inspect import cleandoc
from typing import TYPE_CHECKING, TypeVar

from tdb_tui.errors import CommandError, did_you_mean

if TYPE_CHECKING:
    from tdb_tui.language.parsing import Call
    from tdb_tui.replies import Reply


class Repeat(Enum):
    """What an empty line does after a command."""

    LITERAL = "the same again"
    CONTINUE = "the next page"
    NOTHING = "nothing"


class Stale(Enum):
    """What becomes of a command while edits wait to be run (`set autorun off`)."""

    MARKED = "its answer says that it is of the run before them"
    TOLD = "its answer says by itself what has not been run"
    OF_NO_RUN = "its answer has no number of a run"
    REFUSED = "its answer would be acted on, or last, without the mark"


GLOBAL_OPTIONS: Mapping[str, bool] = {"json": False, "out": True}
"Options that every command takes, and whether they take a value."

Act = Callable[..., "Reply"]
Decorated = TypeVar("Decorated", bound=Callable[..., "Reply"])


@dataclass(frozen=True, slots=True)
class Command:
    name: str
    aliases: tuple[str, ...]
    "The fixed abbreviations, pdb's letters among them."
    usage: str
    group: str
    help: str
    "Its first line is the summary."
    examples: tuple[str, ...]
    act: Act
    repeat: Repeat = Repeat.NOTHING
    stale: Stale = Stale.MARKED
    options: Mapping[str, bool] = field(default_factory=dict[str, bool])
    "Name without dashes -> whether it takes a value; the global ones are not listed."
    complete: tuple[str, ...] = ()
    "What stands at each place, for completion; the last holds for all that follow."

    @property
    def summary(self) -> str:
        return self.help.partition("\n")[0]


class Registry:
    def __init__(self) -> None:
        self._commands: dict[str, Command] = {}
        self._aliases: dict[str, str] = {}

    def command(
        self,
        name: str,
        *aliases: str,
        usage: str = "",
        group: str,
        examples: Sequence[str],
        repeat: Repeat = Repeat.NOTHING,
        stale: Stale = Stale.MARKED,
        options: Mapping[str, bool] | None = None,
        complete: Sequence[str] = (),
    ) -> Callable[[Decorated], Decorated]:
        """Decorates the function that carries the command out; its docstring is the command's help."""

        def register(act: Decorated) -> Decorated:
            text = cleandoc(act.__doc__ or "")
            declared = (name, aliases, usage, group, text, tuple(examples), act)
            self.add(Command(*declared, repeat, stale, options or {}, tuple(complete)))
            return act

        return register

    def add(self, command: Command) -> None:
        """Raises ValueError where a word of it is taken or its help is missing."""
        if not command.help:
            raise ValueError(f"command {command.name!r} has no docstring")
        for word in (command.name, *command.aliases):
            if word in self._commands or word in self._aliases:
                raise ValueError(f"two commands are called {word!r}")
        self._commands[command.name] = command
        self._aliases |= dict.fromkeys(command.aliases, command.name)

    def find(self, word: str, col: int | None = None) -> Command:
        """By name, alias, or unambiguous beginning of a name.  Raises CommandError, marking column `col`."""
        if word in self._commands:
            return self._commands[word]
        if word in self._aliases:
            return self._commands[self._aliases[word]]
        near = sorted(name for name in self._commands if word and name.startswith(word))
        if len(near) == 1:
            return self._commands[near[0]]
        if near:
            raise CommandError(f"ambiguous {word!r}: {', '.join(near)}", code="ambiguous-command", col=col)
        guess = did_you_mean(word, (*self._commands, *self._aliases))
        message = f"unknown command {word!r}{guess} (! runs Python, h lists commands)"
        raise CommandError(message, code="unknown-command", col=col)

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._commands))

    def groups(self) -> tuple[str, ...]:
        """In the order in which their first commands were added."""
        return tuple(dict.fromkeys(command.group for command in self._commands.values()))

    def __iter__(self) -> Iterator[Command]:
        """Group by group, in the order added."""
        order = self.groups()
        return iter(sorted(self._commands.values(), key=lambda command: order.index(command.group)))

    def takes_value(self, word: str, option: str) -> bool | None:
        """For `parse_line`: None where the command is unknown or has no such option."""
        if option in GLOBAL_OPTIONS:
            return GLOBAL_OPTIONS[option]
        try:
            return self.find(word).options.get(option)
        except CommandError:
            return None

    def resolve(self, call: "Call") -> Command:
        """The command that a call names, its options checked.  Raises CommandError with the column."""
        command = self.find(call.name.text, call.name.col)
        known = {**command.options, **GLOBAL_OPTIONS}
        for option in call.options:
            if option.name not in known:
                guess = did_you_mean(f"--{option.name}", [_dashed(name) for name in known])
                right = guess or f": it takes {', '.join(map(_dashed, known))}"
                message = f"{command.name} has no option {_dashed(option.name)}{right}"
                raise CommandError(message, code="unknown-option", col=option.col)
            if option.value is not None and not known[option.name]:
                message = f"{_dashed(option.name)} takes no value: write {_dashed(option.name)} alone"
                raise CommandError(message, code="bad-option", col=option.col)
        return command


def _dashed(option: str) -> str:
    return f"-{option}" if len(option) == 1 else f"--{option}"
