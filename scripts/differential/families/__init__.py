"""What is compared: a module of this folder for each group of families. A module may have

    FAMILIES   name: (table in the language of grammar.py, connections, commands in a case)
    POOLS      lower-case words of its tables: how to draw one (grammar.py); its own come before another module's
    RULES      command: how its replies may differ (rules.py)
    TEXTS      replies that differ by design: the command, then words of the reply of each (rules.py)
    VALUE_OF   type: key -> the command that shows a whole value of it, and how its decoded reply is settled
    ITERATE    command: where its cursor stands, and how many replies an element takes
    LISTENING  names of its families in which clients are told what others do (listening.py)
    SETTLED    command: how what its scan met is settled before it is compared

A new type is a file here; nothing else knows its name.
"""
import importlib
import pkgutil

import grammar
import rules

from .core import COMMANDS, DIRECTIVES, SETTINGS, SUBCOMMANDS  # noqa: F401

FAMILIES = {}
POOLS_OF = {}
LISTENING = set()
for _found in pkgutil.iter_modules(__path__):
    _module = importlib.import_module("families." + _found.name)
    FAMILIES.update(getattr(_module, "FAMILIES", {}))
    POOLS_OF.update(dict.fromkeys(getattr(_module, "FAMILIES", {}), getattr(_module, "POOLS", {})))
    grammar.POOLS.update(getattr(_module, "POOLS", {}))
    rules.RULES.update(getattr(_module, "RULES", {}))
    rules.TEXTS.extend(getattr(_module, "TEXTS", []))
    rules.VALUE_OF.update(getattr(_module, "VALUE_OF", {}))
    rules.ITERATE.update(getattr(_module, "ITERATE", {}))
    LISTENING.update(getattr(_module, "LISTENING", ()))
    rules.SETTLED.update(getattr(_module, "SETTLED", {}))
