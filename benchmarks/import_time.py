"""How long `import jadro` takes beyond `import numpy`: python -m benchmarks.import_time; exit status 1 above 60 ms.

The best of some fresh interpreters, after one that writes the bytecode: what else runs on the machine only adds.
"""

import subprocess
import sys

LIMIT, RUNS = 60.0, 15
CODE = "import time, numpy; start = time.perf_counter(); import jadro; print(1e3 * (time.perf_counter() - start))"


def milliseconds() -> float:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> int:
    milliseconds()
    best = min(milliseconds() for _ in range(RUNS))
    print(f"import jadro: {best:.1f} ms beyond numpy, at most {LIMIT:.0f} ms wanted")
    return int(best > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
