"""Errors of the command line.

TagtideError
└── CommandError             a command cannot do what it was asked
    ├── MissingStepError     another command has to run before this one
    └── MachineError         the machine lacks something: a package, a port, memory, a service
"""

from __future__ import annotations

from configs.errors import TagtideError


class CommandError(TagtideError):
    """A command cannot do what it was asked: an argument, a file, or the state of the home."""


class MissingStepError(CommandError):
    """Another command has to run before this one; the next step names it."""


class MachineError(CommandError):
    """The machine lacks something: a package, a free port, memory, or a service."""
