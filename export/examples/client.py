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
channel_axis = 1 if says["layout"] == "nchw" else 3
ramp = np.minimum((np.arange(side) + 0.5) / (overlap or 0.5), 1)  # only ones where the overlap is 0
window = ramp * ramp[::-1]


def axis(length):  # where the patches lie along one axis, and their weights
    starts = [*range(0, length - side, side - overlap), length - side]
    total = sum(np.pad(window, (start, length - start - side)) for start in starts)
    return [(slice(at, at + side), (window / total[at : at + side]).astype(np.float32)) for at in starts]


for noisy, clean in zip(sys.argv[2::2], sys.argv[3::2], strict=True):
    data = Path(noisy).read_bytes()
    pam = rb"P7\nWIDTH \d+\nHEIGHT \d+\nDEPTH \d+\nMAXVAL \d+\n(TUPLTYPE \w+\n)*ENDHDR\n"
    header = re.match(rb"P[56]\s+\d+\s+\d+\s+\d+\s|" + pam, data)[0]
    width, height, *_, white = map(int, re.findall(rb"\s(\d+)", header))
    image = np.frombuffer(data, ">u2" if white > 255 else "u1", offset=len(header)).reshape(height, width, -1).copy()
    colors = image[..., : 3 if image.shape[2] > 2 else 1]  # what follows is alpha, and stays
    by_luminance = channels == 1 and colors.shape[2] == 3  # ITU-R BT.601
    seen = (colors.astype(int) @ [[9798], [19235], [3735]] + 2**14) >> 15 if by_luminance else colors
    values = np.divide(seen, white, dtype=np.float32)
    padded = np.pad(values, [(0, max(0, side - height)), (0, max(0, side - width)), (0, 0)], "reflect")
    total, columns = np.zeros_like(padded), axis(padded.shape[1])
    for rows, weights_y in axis(len(padded)):
        patches = np.stack([padded[rows, place] for place, _ in columns])  # N x P x P x 1 or 3
        fed = np.moveaxis(np.repeat(patches, channels // patches.shape[3], 3), 3, channel_axis)  # gray: equal channels
        batch = given.shape[0] if isinstance(given.shape[0], int) else len(fed)  # fixed by the file, or free
        fed = np.pad(fed, [(0, -len(fed) % batch), (0, 0), (0, 0), (0, 0)])
        outputs = [session.run(None, {given.name: fed[at : at + batch]})[0] for at in range(0, len(fed), batch)]
        output = np.moveaxis(np.concatenate(outputs)[: len(patches)], channel_axis, 3)
        output = output.reshape(*patches.shape, -1).mean(4)  # gray: the mean of the channels
        strip = np.zeros((side, *padded.shape[1:]), np.float32)
        for (place, weights_x), each in zip(columns, output, strict=True):
            strip[:, place] += weights_x[:, None] * each
        total[rows] += weights_y[:, None, None] * strip
    cleaned = total[:height, :width]
    change, whole = (np.rint(part * np.float32(white)) for part in (cleaned - values, cleaned.clip(0, 1)))
    colors[:] = (colors + change).clip(0, white) if by_luminance else whole
    Path(clean).write_bytes(header + image.tobytes())
