"""A chain of degradations that works on any device.

Most degradations are tensor operations already, and work on the device of the patches. The others process patches one
by one with OpenCV; they have a twin here that draws from the same distribution.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from cae_train.degradations.blur import Blur, MotionBlur
from cae_train.degradations.camera_noise import Camera, HotPixels, Sensor
from cae_train.degradations.chain import Chain, OneOf, Row
from cae_train.degradations.coarse_noise import ColorNoise, Enlarged, Grain
from cae_train.degradations.jpeg import Jpeg, JpegTwice
from cae_train.degradations.marks import Letters, Scratches
from cae_train.degradations.mask import Mask
from cae_train.degradations.measured_noise import Measured
from cae_train.degradations.noise import Degradation, Gaussian, Poisson, SaltPepper, Speckle
from cae_train.degradations.registry import DEGRADATIONS, MEASURED, Nothing
from cae_train.errors import ConfigError
from cae_train.on_device.camera import DeviceCamera, DeviceSensor
from cae_train.on_device.filters import DeviceMotionBlur
from cae_train.on_device.jpeg import DeviceJpeg, DeviceJpegTwice
from cae_train.on_device.masks import DeviceMask

ANYWHERE: tuple[type[Any], ...] = (
    Nothing, Gaussian, SaltPepper, Poisson, Speckle, Blur, HotPixels, Grain, ColorNoise, Enlarged, Measured,
    Letters, Scratches,
)  # fmt: skip
TWINS: dict[type[Any], Callable[[Any], Degradation]] = {
    MotionBlur: lambda host: DeviceMotionBlur(host.length),
    Jpeg: lambda host: DeviceJpeg(host.quality),
    JpegTwice: lambda host: DeviceJpegTwice(host.quality),
    Camera: lambda host: DeviceCamera(host.sensitivity, host.filters),
    Sensor: lambda host: DeviceSensor(host.sensitivity),
    Mask: lambda host: DeviceMask(host.share),
}


def chain_on_device(chain: Chain) -> Chain:
    """Return the same chain with degradations that work on the device of the patches and the generator.

    Call the chain inside `with torch.device(...)` for that device.

    Raises:
        ConfigError: a degradation works only on the CPU.
    """
    return replace(chain, steps=tuple(map(_on_device, chain.steps)))


def _on_device(degradation: Degradation) -> Degradation:
    if isinstance(degradation, Row):
        return Row(tuple(map(_on_device, degradation.steps)))
    if isinstance(degradation, OneOf):
        return OneOf(tuple(map(_on_device, degradation.alternatives)))
    kind = type(degradation)
    if kind in TWINS:
        return TWINS[kind](degradation)
    if kind in ANYWHERE:
        return degradation
    raise ConfigError(
        f"the degradation {kind.__name__} works only on the host: prepare the patches there, or choose from "
        f"{', '.join((*DEGRADATIONS, MEASURED))}"
    )
