"""Checks transcripts of the emulator against botocore's service models.

    check.py [--all] DIRECTORY

Prints the first differences of each kind, and fails if there are any. With --all, every action that the emulator
offers must have been carried out somewhere. The last line counts.
"""

import collections
import json
import pathlib
import re
import sys
from urllib.parse import parse_qs

import model
import offered

OFFERED = {name for names in offered.ACTIONS.values() for name in names}
# Differences that are shown in full.
SHOWN = 20
LONGEST = 600


def action(exchange):
    if exchange["target"] is not None:
        return exchange["target"].partition(".")[2]
    return parse_qs(exchange["request"]).get("Action", [""])[0]


def main(arguments):
    everything = "--all" in arguments
    directory = pathlib.Path(next(name for name in arguments if name != "--all"))
    found, exchanges, done = collections.defaultdict(list), 0, collections.Counter()
    for path in sorted(directory.glob("*.jsonl")):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            exchange = json.loads(line)
            exchanges += 1
            if exchange["status"] == 200:
                done[action(exchange)] += 1
            for difference in model.check(exchange):
                # The same in another item is no other difference.
                found[re.sub(r"\[\d+\]", "[]", difference)].append((f"{path.name}:{number}", exchange))
    for name in sorted(set(done) - OFFERED):
        found[f"{name} is carried out, and not in offered.py"] = []
    if everything:
        for name in sorted(OFFERED - set(done)):
            found[f"{name} was never carried out"] = []
    for difference, places in list(found.items())[:SHOWN]:
        print(f"{difference}\n    {len(places)} times")
        if places:
            place, exchange = places[0]
            print(f"    {place}: {exchange['request'][:LONGEST]}\n    {exchange['status']} {exchange['reply'][:LONGEST]}")
    if len(found) > SHOWN:
        print(f"... and {len(found) - SHOWN} more")
    print(f"{exchanges} exchanges, {len(done)} actions, {len(found)} differences from {model.VERSION}")
    return 1 if found or not exchanges else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
