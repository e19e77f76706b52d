"""The one error a user is meant to read."""


class UserError(ValueError):
    """Something the user gave is not what was expected.

    The message is one line: what was expected, what was found, in which file,
    and what to do next. Programs print it without a traceback and exit with 2.
    """
