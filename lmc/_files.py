"""Files that a reader never sees half written."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


class replacing:
    """Context manager: yields a temporary path beside ``path`` and renames it over ``path`` when the block succeeds."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def __enter__(self) -> Path:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f".{self.path.stem}-", suffix=f"{self.path.suffix}.partial", dir=self.path.parent
        )
        os.close(handle)
        self._partial = Path(name)
        return self._partial

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            # mkstemp makes the file private; give it what an ordinary open() would have given.
            umask = os.umask(0)
            os.umask(umask)
            self._partial.chmod(0o666 & ~umask)
            self._partial.replace(self.path)
        else:
            self._partial.unlink(missing_ok=True)
