"""All benchmarks in one table: ours, the peer's, the ratio, and the goal (Linux).

Best on a machine that does nothing else.

python -m tests.system.benchmarks [NAME …] [--quick] [--keep]

--quick is for CI: few rounds, and it fails if a ratio is more than twice the one in `ratios.json`, which --keep writes.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from tests.system.benchmarks import calls, start
from tests.system.benchmarks.figures import Figure, doubled, table

Benchmark = Callable[..., Iterable[Figure]]
"""Takes `quick`, and gives figures."""
BENCHMARKS: Mapping[str, Benchmark] = {"start": start.run, "calls": calls.run}
RATIOS = Path(__file__).with_name("ratios.json")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[[], *BENCHMARKS], metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--quick", action="store_true", help="few rounds, and fail where a ratio has doubled")
    parser.add_argument("--keep", action="store_true", help="write the ratios down, for later comparisons")
    given = parser.parse_args()
    figures: list[Figure] = []
    for name in given.names or BENCHMARKS:
        figures += print_table(BENCHMARKS[name](quick=given.quick))
    known: dict[str, float] = json.loads(RATIOS.read_text()) if RATIOS.exists() else {}
    if given.keep:
        known |= {figure.name: round(figure.ratio, 2) for figure in figures}
        RATIOS.write_text(json.dumps(known, indent=2) + "\n")
    if wrong := doubled(figures, known) if given.quick else []:
        print("\n".join(wrong), file=sys.stderr)
    return bool(wrong)


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
