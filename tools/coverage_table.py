"""Reads gcov's JSON from standard input and prints, for each source of the folders named, its line coverage and the lines
that were never run. For tools/coverage."""

import json
import sys
from collections import defaultdict


def ranges(numbers: list[int]) -> str:
    """[3, 4, 5, 9] as "3-5, 9"."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)


def main() -> None:
    folders = sys.argv[1:]
    hits: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for document in sys.stdin:
        for source in json.loads(document)["files"]:
            name = source["file"].rpartition("src/flame/")[2]
            if source["file"].find("src/flame/") < 0 or name.split("/")[0] not in folders:
                continue
            for line in source["lines"]:
                hits[name][line["line_number"]] += line["count"]
    total = run = 0
    for name in sorted(hits):
        lines = hits[name]
        missed = sorted(number for number, count in lines.items() if count == 0)
        total += len(lines)
        run += len(lines) - len(missed)
        print(f"{100 * (1 - len(missed) / len(lines)):6.1f} %  {name}  {ranges(missed)}")
    if total:
        print(f"{100 * run / total:6.1f} %  of {total} lines")


if __name__ == "__main__":
    main()
