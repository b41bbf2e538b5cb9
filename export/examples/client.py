"""Cleans PGM, PPM and PAM pictures of 8 or 16 bits: python client.py MODEL.onnx NOISY CLEAN [NOISY CLEAN ...]."""

import re
import sys
from pathlib import Path

import numpy as np
import onnxruntime

if len(sys.argv) < 4 or len(sys.argv) % 2:
    sys.exit(print(__doc__, file=sys.stderr) or 2)
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
given, says = session.get_inputs()[0], session.get_modelmeta().custom_metadata_map
if says.get("schema") not in ("1", "2") or (says["task"], says["dtype"]) != ("restore", "float32"):
    sys.exit(f"{sys.argv[1]} is no model of CAE Toolkit for task restore that takes float32")
side, overlap, channels = (int(says[key]) for key in ("patch", "overlap", "channels"))
ramp = np.minimum(np.arange(0.5, side) / (overlap or 0.5), 1)  # only ones where the overlap is 0


def axis(length):  # where the patches lie along one axis, and their weights
    starts = [*range(0, length - side, side - overlap), length - side]
    total = sum(np.pad(ramp * ramp[::-1], (start, length - start - side)) for start in starts)
    return [(slice(at, at + side), (ramp * ramp[::-1] / total[at : at + side]).astype(np.float32)) for at in starts]


for noisy, clean in zip(sys.argv[2::2], sys.argv[3::2], strict=True):
    header = re.match(rb"P[56](\s+\d+){3}\s|P7\nW.*\nH.*\nD.*\nM.*\n(T.*\n)*ENDHDR\n", Path(noisy).read_bytes())[0]
    width, height, *_, white = map(int, re.findall(rb"\s(\d+)", header))
    image = np.fromfile(noisy, ">u2" if white > 255 else "u1", offset=len(header)).reshape(height, width, -1)
    colors = image[..., : 3 if image.shape[2] > 2 else 1]  # what follows is alpha, and stays
    seen = (colors.astype(int) @ [[9798], [19235], [3735]] + 2**14) >> 15 if channels < colors.shape[2] else colors
    values = np.repeat(np.divide(seen, white, dtype=np.float32), channels // seen.shape[2], 2)  # gray: equal channels
    padded = np.pad(values, [(0, max(0, side - height)), (0, max(0, side - width)), (0, 0)], "reflect")
    total, columns = np.zeros((*padded.shape[:2], seen.shape[2]), np.float32), axis(padded.shape[1])
    batch = given.shape[0] if isinstance(given.shape[0], int) else len(columns)  # fixed by the file, or free
    for rows, weights_y in axis(len(padded)):
        patches = np.stack([padded[rows, place] for place, _ in columns + columns[:1] * (-len(columns) % batch)])
        fed = np.moveaxis(patches, 3, says["layout"].index("c"))  # the last batch is filled up with the first patch
        outputs = [session.run(None, {given.name: fed[at : at + batch]})[0] for at in range(0, len(fed), batch)]
        output = np.moveaxis(np.concatenate(outputs), says["layout"].index("c"), 3)
        strip = np.zeros((side, *total.shape[1:]), np.float32)
        for (place, weights_x), each in zip(columns, output, strict=False):  # gray: the mean of the channels
            strip[:, place] += weights_x[:, None] * each.reshape(side, side, seen.shape[2], -1).mean(3)
        total[rows] += weights_y[:, None, None] * strip
    cleaned = total[:height, :width].clip(0, 1) if seen is colors else total[:height, :width] - values
    colors[:] = (np.rint(cleaned * np.float32(white)) + (0 if seen is colors else colors)).clip(0, white)
    Path(clean).write_bytes(header + image.tobytes())
