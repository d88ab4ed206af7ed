"""The failures a person can mend: shown as one line on stderr, never as a traceback."""


class ConchError(Exception):
    """Something outside the program is wrong; the message says what was got, what is allowed and what to do next."""
