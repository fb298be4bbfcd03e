"""Tools whose arguments are checked to the last name, and whose errors an agent can act on."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cached_property
from typing import Any

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError
from mcp.server.mcpserver.tools import Tool as SdkTool
from mcp.server.mcpserver.utilities.func_metadata import FuncMetadata
from mcp.types import ToolAnnotations
from pydantic import BaseModel, ConfigDict, ValidationError, model_serializer

from agentmem import AgentMemError

MOST_PROBLEMS = 5
"""Wrong arguments that one answer tells of."""


def _hints(*, reads: bool, destroys: bool, again: bool) -> ToolAnnotations:
    return ToolAnnotations(
        read_only_hint=reads, destructive_hint=destroys, idempotent_hint=again, open_world_hint=False
    )


READS = _hints(reads=True, destroys=False, again=True)
ADDS = _hints(reads=False, destroys=False, again=False)
CHANGES = _hints(reads=False, destroys=True, again=True)


class Answer(BaseModel):
    """What a tool gives: its fields that are None are left out, since an agent pays for every word."""

    @model_serializer(mode="wrap")
    def _without_none(self, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if value is not None}


class Arguments(FuncMetadata):
    """The arguments of a tool: none that is unknown, and what may be a string stays one.

    The SDK reads a string as JSON wherever more than a string is taken, since some clients send lists and objects so; a
    memory whose text is a number or an object in JSON would be lost by that.
    """

    @classmethod
    def strict(cls, given: FuncMetadata) -> Arguments:
        """Return these for what the SDK has found of a function."""
        loose = given.arg_model
        model = type(loose.__name__, (loose,), {"model_config": ConfigDict(extra="forbid"), "__module__": __name__})
        return cls(
            arg_model=model,
            output_schema=untitled(given.output_schema),
            output_model=given.output_model,
            wrap_output=given.wrap_output,
        )

    def pre_parse_json(self, data: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments, with JSON in strings read where no string is taken."""
        parsed = super().pre_parse_json(data)
        return parsed | {name: value for name, value in data.items() if isinstance(value, str) and name in self.texts}

    @cached_property
    def texts(self) -> frozenset[str]:
        """Return the names of the arguments that may be strings."""
        kinds = {name: (each, *each.get("anyOf", ())) for name, each in self.json_schema()["properties"].items()}
        return frozenset(name for name, any_of in kinds.items() if any(each.get("type") == "string" for each in any_of))

    def json_schema(self) -> dict[str, Any]:
        """Return the JSON schema of the arguments."""
        schema: dict[str, Any] = untitled(self.arg_model.model_json_schema(by_alias=True))
        return schema


def untitled(schema: Any) -> Any:
    """Return a JSON schema without the titles that say each name a second time: an agent pays for every word."""
    if isinstance(schema, dict):
        return {key: untitled(each) for key, each in schema.items() if key != "title" or not isinstance(each, str)}
    return [untitled(each) for each in schema] if isinstance(schema, list) else schema


class Tool(SdkTool):
    """A tool of the SDK that takes no unknown arguments, and tells every expected error in one line.

    The function of a tool is called in a thread, unless it is a coroutine function: it may wait for the disk.  Once it
    has begun, it goes on to its end, also where the client cancels the call or is gone.
    """

    @staticmethod
    def of(function: Callable[..., Any], annotations: ToolAnnotations) -> Tool:
        """Return the tool that a function is: its name, its docstring, its parameters, the class that it returns."""
        name = function.__name__
        title = name.replace("_", " ").capitalize()
        description = inspect.getdoc(function)
        made = SdkTool.from_function(
            function, title=title, description=description, annotations=annotations, structured_output=True
        )
        arguments = Arguments.strict(made.fn_metadata)
        return Tool(**dict(made) | {"fn_metadata": arguments, "parameters": arguments.json_schema()})

    @property
    def reads_only(self) -> bool:
        """Say whether the tool changes nothing."""
        return self.annotations is not None and self.annotations.read_only_hint is True

    async def run(self, arguments: dict[str, Any], context: Context[Any, Any], convert_result: bool = False) -> Any:
        """Run the tool.

        Raises:
            ToolError: the arguments cannot be used, or the store refuses; the message says what to do.
        """
        try:
            return await super().run(arguments, context, convert_result)
        except ToolError as error:
            cause = error.__cause__
            if isinstance(cause, ValidationError):
                raise ToolError(f"{self.name}: {_line(self._problems(cause))}") from cause
            if isinstance(cause, AgentMemError):
                raise ToolError(f"{self.name}: {_line(str(cause))}") from cause
            if isinstance(error, UnexpectedToolError):
                told = "an error that should not happen, told in the server's log; what the call began was taken back"
                raise UnexpectedToolError(f"{self.name}: {told}") from cause
            raise

    def _problems(self, error: ValidationError) -> str:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        told = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in problems[:MOST_PROBLEMS]]
        if len(problems) > MOST_PROBLEMS:
            told.append(f"and {len(problems) - MOST_PROBLEMS} more")
        takes = ", ".join(self.parameters["properties"]) or "none"
        return f"{'; '.join(told)}. Nothing was done; call it again with its arguments: {takes}"


def _line(text: str) -> str:
    return " ".join(text.split())
