"""The command line of every job: one typed function, a TOML preset and dotted options become its arguments.

`run` prints the job's summary as one JSON line. Invalid input exits with code 2 and one error message.
"""

from __future__ import annotations

import difflib
import inspect
import io
import json
import re
import sys
import tempfile
import textwrap
import tokenize
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import docstring_parser
from cyclopts import App, ArgumentCollection, CycloptsError, Parameter
from cyclopts.config import Dict as Values
from cyclopts.exceptions import UnusedCliTokensError

from jobs.cli.place_options import check_places, cyclopts_type
from jobs.cli.storage_section import apply_storage
from schemas.errors import InputError, PartlyDone
from schemas.regular_file import read_bytes
from schemas.space import is_no_space, no_space, path_with_least_space
from schemas.storage.place import Place
from schemas.strict_json import null_nonfinite
from schemas.strict_toml import LARGEST_TOML, toml_tables

Job = Callable[..., Mapping[str, Any] | None]

_CONFIG = (
    "TOML file of options; the command line overrules it. Its table [storage] may name endpoint, region, allow_http, "
    "path_style and the like; the environment overrules it"
)
_INTEGER = re.compile(r"[+-]?(0[xob][0-9a-f_]+|[0-9][0-9_]*)", re.IGNORECASE)


def run(job: Job, argv: Sequence[str] | None = None) -> int:
    """The exit code of `job`, called with the options in `argv` (by default those of this process)."""
    name = f"feedloop {job.__name__}"
    bound = None
    try:
        bound = _bind(job, sys.argv[1:] if argv is None else argv)
        summary = job(*bound.args, **bound.kwargs) if bound else None
    except Exception as error:
        if (message := _user_message(error, bound)) is None:
            raise
        if isinstance(error, PartlyDone):
            print(_json(error.summary), flush=True)
        print(f"{name}: {message}", file=sys.stderr)
        return 2
    if summary is not None:
        print(_json(summary), flush=True)
    return 0


def _user_message(error: Exception, bound: inspect.BoundArguments | None) -> str | None:
    """The message of an error that a user, their data or their machine can cause; None for all others."""
    if is_no_space(error) and not isinstance(error, InputError):  # on a path of the job, or Spark's scratch folder
        named = [Path(str(value)) for value in (bound.arguments.values() if bound else ())]
        existing = [path for path in named if path.exists()]
        return no_space(path_with_least_space([*existing, Path(tempfile.gettempdir())]))
    # OSError: a path that cannot be read or written, which the message names
    return str(error) if isinstance(error, InputError | OSError) else None


def _bind(job: Job, argv: Sequence[str]) -> inspect.BoundArguments | None:
    """The job's arguments, or None where help was requested and printed."""
    app = _app(job)
    app["--help"].group = "Parameters"
    bound: list[inspect.BoundArguments] = []

    @app.meta.default
    def with_preset(
        *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
        config: Annotated[Path | None, Parameter(help=_CONFIG)] = None,
    ) -> None:
        app.config = [*([_Preset(config)] if config else []), _require_integers, check_places]
        bound.append(app.parse_args(tokens, print_error=False, exit_on_error=False)[1])

    try:
        app.meta(argv, print_error=False, exit_on_error=False, result_action="return_value")
    except CycloptsError as error:
        raise InputError(f"{_explained(error)} See ./{app.name[0]} --help") from error
    except InputError:
        raise
    except ValueError as error:  # a config dataclass rejected its values; no line of the job has run yet
        raise InputError(str(error)) from error
    return bound[0] if bound else None


def _app(job: Job) -> App:
    no_empty_lists = Parameter(negative_iterable=())
    app = App(name=f"feedloop {job.__name__}", version_flags=[], default_parameter=no_empty_lists)
    app.default(_described(job))
    return app


def options_of(job: Job) -> frozenset[str]:
    """Every option of its command line, such as --run.epochs."""
    arguments = _app(job).assemble_argument_collection(parse_docstring=False)
    return frozenset({"--config", "--help", *(name for argument in arguments for name in argument.names)})


def _explained(error: CycloptsError) -> str:
    if isinstance(error, UnusedCliTokensError):
        return f"nothing takes {' '.join(error.unused_tokens or [])!r}: options are written --name value."
    message = str(error)
    argument = error.argument.name if error.argument else ""
    stray = [token for token in error.unused_tokens or [] if token.startswith("--")]
    if stray and stray[0] not in message:
        message += f" There is no option {stray[0]}."
    named = not argument or argument in message or "[" in message or argument.lstrip("-").upper() in message
    return message if named else f"{argument}: {message}"


class _Preset:
    """A TOML file as a source of cyclopts: sets the options that the command line does not."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        values = _read_toml(self.path)
        if "storage" in values:
            apply_storage(values.pop("storage"), self.path)
        known = sorted(
            name.removeprefix("--") for argument in arguments if not argument.children for name in argument.names
        )
        tables = {name.rsplit(".", 1)[0] for name in known if "." in name}
        for key, value in _leaves(values):
            known_table = value == {} and key.replace("_", "-") in tables
            if not known_table and key.replace("_", "-") not in known:
                nearest = difflib.get_close_matches(key.replace("_", "-"), known, n=1, cutoff=0.0)
                hint = f"The nearest is {nearest[0].replace('-', '_')}" if nearest else "This job has no options"
                raise InputError(f"{self.path}: unknown key {key}. {hint}")
        Values(values, source=str(self.path))(app, commands, arguments)


def _read_toml(path: Path) -> dict[str, Any]:
    advice = "Name a TOML file, such as those in jobs/presets"
    text = read_bytes(path, largest=LARGEST_TOML, advice=advice, error=InputError)
    return toml_tables(text, f"--config {path}", advice=advice)


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values; an empty table counts as a value, so that its name is checked too."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _require_integers(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """InputError for 3.5 where an integer is expected: cyclopts alone would round it."""
    for argument in arguments:
        hints = {argument.hint, *get_args(argument.hint)}
        if int not in hints or hints & {float, str}:
            continue
        for token in argument.tokens:
            if token.value and not _INTEGER.fullmatch(token.value) and token.value.lower() != "none":
                where = "" if token.source == "cli" else f"{token.source}: "
                key = token.keyword or argument.name
                raise InputError(f"{where}{key} is {token.value!r}: give an integer")


def _described(job: Job) -> Job:
    """`job` in the form that cyclopts needs: configs flattened into dotted options, field comments as help."""
    hints = get_type_hints(job, include_extras=True)
    documented = docstring_parser.parse(inspect.getdoc(job) or "")
    help_of = {param.arg_name: param.description or "" for param in documented.params}
    parameters = []
    for parameter in inspect.signature(job).parameters.values():
        hint = hints[parameter.name]
        if isinstance(hint, type) and is_dataclass(hint) and hint is not Place:
            assert parameter.default is parameter.empty or parameter.default == hint(), (
                f"{job.__name__}: the default of {parameter.name} must be {hint.__name__}(); a preset may differ"
            )
            help_of |= {f"{parameter.name}.{key}": text for key, text in _field_comments(hint).items()}
            hint = Annotated[hint, Parameter(name="*")]
        parameters.append(parameter.replace(annotation=cyclopts_type(hint)))

    def described(*args: Any, **kwargs: Any) -> Mapping[str, Any] | None:
        return job(*args, **kwargs)

    described.__name__ = job.__name__
    described.__doc__ = "\n".join(
        [
            documented.description or "",
            "",
            *(f":param {name}: {' '.join(text.split())}" for name, text in help_of.items()),
        ]
    )
    described.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    described.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return described


def _field_comments(config: type) -> dict[str, str]:
    """Dotted field name -> the comment at the end of its line, nested and inherited configs included."""
    classes = [base for base in config.__mro__ if is_dataclass(base)]
    try:
        source = "".join(textwrap.dedent(inspect.getsource(base)) for base in classes)
    except OSError:
        source = ""  # packaged without sources: the options still have their names
    lines = source.splitlines()
    comments: dict[str, str] = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        field = re.match(r"\s+(\w+)\s*:", lines[token.start[0] - 1]) if token.type == tokenize.COMMENT else None
        if field:
            comments[field.group(1)] = token.string.lstrip("# ")
    hints = get_type_hints(config)
    for name in [field.name for field in fields(config)]:
        if isinstance(hints[name], type) and is_dataclass(hints[name]):
            comments.pop(name, None)
            comments |= {f"{name}.{key}": text for key, text in _field_comments(hints[name]).items()}
    return comments


def _json(summary: Mapping[str, Any]) -> str:
    return json.dumps(null_nonfinite(summary), default=_jsonable, allow_nan=False)


def _jsonable(value: Any) -> Any:
    return null_nonfinite(value.item()) if hasattr(value, "item") else str(value)
