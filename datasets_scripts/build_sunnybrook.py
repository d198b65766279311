"""Build a data set from Sunnybrook.

    python datasets_scripts/build_sunnybrook.py raw/sunnybrook --output data/sunnybrook --size 64 --spacing 2.0

It reads the DICOM folder (link.csv, dicoms/, contourfiles/) or the PNG copy (images/, masks/, metadata.csv).
The same as `cmrsynth build sunnybrook`; --help lists all options.
"""

from __future__ import annotations

import sys

from cmrsynth.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["build", "sunnybrook"]
    main()
