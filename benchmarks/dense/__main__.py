"""Segmentation and detection, from data set to integer-only file.

python benchmarks/dense segmentation --help
python benchmarks/dense detection --help
"""

import importlib
import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT)]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

TASKS = ("segmentation", "detection")


def main():
    if len(sys.argv) < 2 or sys.argv[1] not in TASKS:
        print(__doc__.strip(), f"\nTasks: {', '.join(TASKS)}", sep="\n")
        return 2
    task = sys.argv.pop(1)
    importlib.import_module(f"dense.{task}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main())
