"""Checks paths that Python users pass in."""

from functools import partial

from cae_shared import paths
from cae_train.errors import ArgumentTypeError, ConfigError

checked_path = partial(paths.checked_path, wrong_type=ArgumentTypeError, empty=ConfigError)
