from __future__ import annotations

from cae_runtime.cli import main

if __name__ == "__main__":
    main()
