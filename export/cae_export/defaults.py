"""The defaults of an export; imports nothing, so that `cae-export --help` needs no extra."""

MAX_DROP = 0.10  # dB that int8 may lose against fp32
TOLERANCE = 1e-4  # largest absolute difference from torch in 0..1, fp32
TOLERANCE_FP16 = 1e-2
ENGINE_TOLERANCE = 2e-3  # of other engines, fp32
BATCH_TOLERANCE = 2 / 255  # largest difference between batch sizes of an int8 file with linear layers
PSNR_TOLERANCE = 0.01  # dB
PROOF_PATCHES = 512  # compared, at most
BATCHES = (1, 2, 7, 64)  # at which the file is proved
CALLS = 64  # at each of them, at most
OPSET, OPSET_MIN, OPSET_MAX = 18, 15, 22  # onnxruntime 1.15 reads 18, which torch writes
BATCH_MAX = 4096  # of files with a fixed batch
OVERLAP = 8  # of neighboring patches, in pixels
PATCHES = (32, 64, 128)  # sides that a file may be made for
FALSE_ALARMS = 0.05  # share of good pictures that a detector of anomalies calls bad
