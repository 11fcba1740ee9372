"""The one exception for mistakes that a user can make and mend."""


class UserError(Exception):
    """Something the user asked for cannot be done; the message says what to do.

    Entry points print the message as one line on stderr and exit with status 2.
    """


class LostProcessError(UserError):
    """Another process of the same run is gone: the program ends without waiting for it."""
