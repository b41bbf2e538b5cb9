"""Make a model.pt of weights alone, so that cae-export and the benchmarks take them.

    python -m scripts.make_model CONFIG.toml WEIGHTS.pt MODEL.pt

CONFIG.toml is a recipe or a run's config.toml: it says which network the weights are of, and what they were trained
for. WEIGHTS.pt is what `torch.save(network.state_dict(), path)` writes.
"""

import sys
from pathlib import Path

from cae_train.checkpoint import save_model
from cae_train.config import TrainConfig, load_toml
from cae_train.training.start_weights import initial_network


def main() -> None:
    """Read, check and write."""
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    recipe, weights, out = map(Path, sys.argv[1:])
    config = TrainConfig.from_dict(load_toml(recipe) | {"start": str(weights)})
    save_model(out, initial_network(config), TrainConfig.from_dict(config.to_dict() | {"start": ""}), {})
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
