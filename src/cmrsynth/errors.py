"""The one exception that means: the user's input is wrong, and here is how to mend it."""

from __future__ import annotations

from pathlib import Path


class InputError(ValueError):
    """Raised when a file, data set or option cannot be used as given.

    The message names the file (or data set), what is wrong with it, and how to mend it, because it is shown
    to the user as it is, without a traceback.

    >>> print(InputError("patient001.nii.gz", "the file ends early", "copy it again"))
    patient001.nii.gz: the file ends early. To mend it: copy it again.
    """

    def __init__(self, where: str | Path, what: str, mend: str) -> None:
        self.where, self.what, self.mend = str(where), what, mend
        super().__init__(f"{where}: {what.rstrip('.')}. To mend it: {mend.rstrip('.')}.")
