"""What every program says: one line a check, the same whatever server answered, if both are right."""

import datetime
import decimal
import os

HOST = os.environ["PGHOST"]
PORT = os.environ["PGPORT"]
USER = os.environ["PGUSER"]
DATABASE = os.environ["PGDATABASE"]


def shown(value):
    """A value with its type, where Python's repr does not tell it. Arrays, records and rows alike."""
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(shown(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {shown(item)}" for key, item in value.items()) + "}"
    if isinstance(value, memoryview):
        return repr(bytes(value))
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time, datetime.timedelta, decimal.Decimal)):
        return f"{type(value).__name__} {value}"
    return repr(value)


def show(name, value):
    """Prints the result of a check."""
    print(f"{name}: {shown(value)}")


def attempt(name, action, code_of):
    """Runs what must fail, and prints its SQLSTATE, which `code_of` takes from the exception."""
    try:
        value = action()
    except Exception as error:  # noqa: BLE001 - the kind of exception is part of what is compared
        print(f"{name}: {type(error).__name__} {code_of(error)}")
    else:
        print(f"{name}: no error, {shown(value)}")
