"""Reads a tensor file as the commands do, without what they do with it: `python -m tests.campaign.reading FILE`."""

from __future__ import annotations

import sys
from pathlib import Path

from cae_train.checkpoint import load_model, load_weights
from cae_train.errors import CaeTrainError


def main() -> None:
    """Read the file as a model and as weights; end with exit code 2 and a line if it is neither."""
    refused = []
    for read in (load_model, load_weights):
        try:
            read(Path(sys.argv[1]))
        except CaeTrainError as e:
            refused.append(str(e))
    if len(refused) == 2:
        sys.stderr.write(f"{refused[0]}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
