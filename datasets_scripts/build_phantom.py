"""Build a data set from the embedded phantom.

    python datasets_scripts/build_phantom.py --output data/phantom --num-patients 40

It reads nothing: it is computed from a seed.
The same as `cmrsynth build phantom`; --help lists all options.
"""

from __future__ import annotations

import sys

from cmrsynth.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["build", "phantom"]
    main()
