"""All benchmarks in one table: ours, the peer's, the ratio, and the goal (Linux).

Best on a machine that does nothing else.

python -m tests.system.benchmarks [NAME …] [--quick] [--keep]

--quick is for CI: few rounds. It fails if a ratio is more than twice the one in `ratios.json`, which --keep writes, and
was so again each time that it was measured anew.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from tests.system.benchmarks import calls, schedules, start, tasks
from tests.system.benchmarks.figures import Figure, doubled, table

Benchmark = Callable[..., Iterable[Figure]]
"""Takes `quick`, and gives figures."""
BENCHMARKS: Mapping[str, Benchmark] = {
    "start": start.run,
    "calls": calls.run,
    "tasks": tasks.run,
    "schedules": schedules.run,
}
TRIES = 3
RATIOS = Path(__file__).with_name("ratios.json")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[[], *BENCHMARKS], metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--quick", action="store_true", help="few rounds, and fail where a ratio has doubled")
    parser.add_argument("--keep", action="store_true", help="write the ratios down, for later comparisons")
    given = parser.parse_args()
    names = given.names or list(BENCHMARKS)
    if given.quick:
        good = [is_as_fast_as_ever(BENCHMARKS[name]) for name in names]
        return 0 if all(good) else 1
    figures = [figure for name in names for figure in print_table(BENCHMARKS[name](quick=False))]
    if given.keep:
        kept = known_ratios() | {figure.name: round(figure.ratio, 2) for figure in figures}
        RATIOS.write_text(json.dumps(kept, indent=2) + "\n")
    return 0


def known_ratios() -> dict[str, float]:
    ratios: dict[str, float] = json.loads(RATIOS.read_text())
    return ratios


def is_as_fast_as_ever(benchmark: Benchmark) -> bool:
    """Tell whether no ratio has doubled; measure anew if one seems to, because other programs come and go."""
    for _ in range(TRIES):
        slower = doubled(print_table(benchmark(quick=True)), known_ratios())
        if not slower:
            return True
        print("\n".join(slower), file=sys.stderr)
    return False


def print_table(measured: Iterable[Figure]) -> list[Figure]:
    """Print each figure when it is there."""
    figures: list[Figure] = []

    def noted() -> Iterator[Figure]:
        for figure in measured:
            figures.append(figure)
            yield figure

    for line in table(noted()):
        print(line, flush=True)
    return figures


if __name__ == "__main__":
    sys.exit(main())
