"""python -m tests.bench"""

from __future__ import annotations

import sys
from pathlib import Path

# The package under src is used, installed or not.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

from tests.bench.run import main

main()
