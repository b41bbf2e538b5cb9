"""The panels of `cae-train --help`, with the options of each."""

GROUPS = {
    "Data": ("data", "data_dir", "channels", "scales", "degrain", "jitter", "gray", "upright"),
    "Degradation": ("degrade", "clip", "preview_degradation", "save_pairs", "max_pairs"),
    "Network": ("arch", "model", "start", "vgg16_weights", "quantize_aware"),
    "Training": (
        "loss", "teacher", "epochs", "epoch_crops", "batch", "optimizer", "lr", "weight_decay", "warmup", "ema",
        "grad_clip", "patience", "precision", "seed",
    ),
    "Run": ("config", "out", "resume"),
    "Your own camera": ("burst", "noise_from", "camera", "frames", "minutes", "export"),
    "Hardware": ("accelerator", "devices", "num_nodes", "strategy", "workers", "data_on", "compile"),
}  # fmt: skip
