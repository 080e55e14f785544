"""The recorded list: for each unit the tests that pass, by name, and every other one with the reason why it does not.

A test is in one of the two lists of its unit. An empty reason stands for 'nobody has looked yet' and is an error, so
that the list can not grow quietly. A reason that begins with NOW_AND_THEN is one of a test that also passes.
"""
import json
import os


NOW_AND_THEN = "now and then: "


class Record:
    def __init__(self, path):
        self.path = path
        self.units = {}
        if os.path.exists(path):
            with open(path, encoding="utf-8") as f:
                self.units = json.load(f)

    def unit(self, name):
        return self.units.setdefault(name, {"passing": [], "known": {}})

    def save(self):
        with open(self.path + ".new", "w", encoding="utf-8") as f:
            json.dump(self.units, f, indent=1, ensure_ascii=False)
            f.write("\n")
        os.replace(self.path + ".new", self.path)

    def passes(self, unit, test):
        """Record that a test passes; False when that was known."""
        lists = self.unit(unit)
        if test in lists["passing"]:
            return False
        lists["known"].pop(test, None)
        lists["passing"].append(test)
        return True

    def meet(self, unit, test):
        """Record that a test exists (the oracle passed it)."""
        lists = self.unit(unit)
        if test not in lists["passing"]:
            lists["known"].setdefault(test, "")

    def compare(self, result):
        """What a unit's result says against the list: (lost, new failures, unexplained, new passes), names each."""
        lists = self.unit(result.unit)
        status = {name: s for name, (s, _) in result.tests.items()}
        lost = [t for t in lists["passing"] if status.get(t) != "ok"]
        listed = lists["known"]
        passes = [t for t, s in status.items() if s == "ok" and t not in lists["passing"]
                  and not listed.get(t, "").startswith(NOW_AND_THEN)]
        failures = [t for t, s in status.items() if s == "err" and t not in lists["passing"] and t not in listed]
        unexplained = [t for t, why in listed.items() if not why and status.get(t) != "ok"]
        return lost, failures, unexplained, passes
