"""Build a data set from M&Ms.

    python datasets_scripts/build_mnms.py raw/mnms --output data/mnms --test-vendor Canon

It reads the unpacked download with *_sa.nii.gz, *_sa_gt.nii.gz and the information CSV.
The same as `cmrsynth build mnms`; --help lists all options.
"""

from __future__ import annotations

import sys

from cmrsynth.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["build", "mnms"]
    main()
