"""Build a data set from a group's own images and masks.

    python datasets_scripts/build_folder.py raw/ours --label-map "1=lv,2=myo,3=rv" --output data/ours

It reads images/ and masks/ (PNG or NIfTI), optionally metadata.csv.
The same as `cmrsynth build folder`; --help lists all options.
"""

from __future__ import annotations

import sys

from cmrsynth.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["build", "folder"]
    main()
