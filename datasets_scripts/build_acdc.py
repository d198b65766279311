"""Build a data set from ACDC.

    python datasets_scripts/build_acdc.py raw/acdc --output data/acdc

It reads the unpacked download with patient001, ... (NIfTI and Info.cfg).
The same as `cmrsynth build acdc`; --help lists all options.
"""

from __future__ import annotations

import sys

from cmrsynth.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["build", "acdc"]
    main()
