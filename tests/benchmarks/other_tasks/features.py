"""What codes are worth as features: a linear classifier and k-means beside raw pixels and PCA, and a map of clothing.

    python -m tests.benchmarks.other_tasks.features cifar10 --data-dir FOLDER --runs runs/textbook
    python -m tests.benchmarks.other_tasks.features map --data-dir FOLDER --out map.png
                                                     --model runs/mnist/fashion-vae/model.pt

CIFAR-10: encoders of the networks that `tests.benchmarks.training.textbook` trains (denoising, no labels), exported and
run as users do it, on 10,000 of the images for training and all 10,000 for testing. The classifier is logistic
regression; its penalty, and whether features are scaled one by one or all alike, are chosen on a fifth of the former.
K-means of the unscaled features has ten clusters, each given the commonest label of its members in the training part;
NMI is the normalized mutual information of clusters and labels. PCA of the pixels, fitted on the training part, has as
many components as the pooled features of `cae`, those of `vgg16`, and the whole code of `cae`. The map: t-SNE of 3,000
test images, from codes and from PCA (fitted on training images) of as many numbers; above each what share of the
images' five nearest neighbors on the map has their label.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE
from sklearn.metrics import normalized_mutual_info_score
from sklearn.neighbors import NearestNeighbors
from tests.benchmarks.other_tasks.labeled import NAMES, Images, Labels, labeled

from cae_export import export_part
from cae_export.detector.thresholds import as_read
from cae_runtime.tasks.encode import Encoder

TRAINED, MAPPED = 10_000, 3_000
PENALTIES = (0.0003, 0.003, 0.03)  # inverse strengths
NEIGHBORS = 5
NETWORKS = ("cae", "sparse", "stacked", "vae", "vgg16")
Floats = NDArray[np.float32]

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, help=__doc__)


def features(encoder: Encoder, images: Images, whole: bool = False) -> Floats:
    """A row an image: pooled, or the whole code."""

    def one(image: NDArray[np.uint8]) -> Floats:
        read = as_read(image)
        return encoder.patches(read)[1][0] if whole else encoder(read)

    with ThreadPoolExecutor(2) as pool:
        return np.stack(list(pool.map(one, images)))


def pixels(images: Images) -> Floats:
    """Raw pixels in 0..1."""
    return (images.reshape(len(images), -1) / 255).astype(np.float32)


def judged(x: Floats, y: Labels, test_x: Floats, test_y: Labels) -> tuple[float, float, float]:
    """Accuracy of the classifier, accuracy and NMI of k-means; of the test part."""
    own = len(x) * 4 // 5
    trials: list[tuple[float, float, Floats, Floats]] = []
    for spread in (x.std(axis=0) + 1e-6, x.std()):
        scaled, other = ((values - x.mean(axis=0)) / spread for values in (x, test_x))
        for c in PENALTIES:
            score = _classifier(c).fit(scaled[:own], y[:own]).score(scaled[own:], y[own:])
            trials.append((float(score), c, scaled, other))
    _, c, scaled, other = max(trials, key=lambda trial: trial[0])
    linear = _classifier(c).fit(scaled, y).score(other, test_y)
    clusters = KMeans(10, n_init=3, random_state=0).fit(x)
    members, found = clusters.labels_, clusters.predict(test_x)
    label_of = np.array([np.bincount(y[members == k], minlength=10).argmax() for k in range(10)])
    return float(linear), float((label_of[found] == test_y).mean()), float(normalized_mutual_info_score(test_y, found))


def _classifier(penalty: float) -> LogisticRegression:
    return LogisticRegression(max_iter=500, C=penalty)


@app.command()
def cifar10(
    data_dir: Annotated[Path, typer.Option()] = Path("data"),
    runs: Annotated[Path, typer.Option()] = Path("runs/textbook"),
) -> None:
    """A linear classifier and k-means."""
    x, y, test_x, test_y = labeled("cifar10", data_dir)
    chosen = np.random.default_rng(0).permutation(len(x))[:TRAINED]
    x, y = x[chosen], y[chosen]
    rows: dict[str, tuple[Floats, Floats]] = {"raw pixels": (pixels(x), pixels(test_x))}
    for name in NETWORKS:
        model = runs / f"{name}-gaussian" / "model.pt"
        if not model.is_file():
            continue
        encoder = Encoder(export_part(model, "encoder", overwrite=True).path)
        code = len(encoder.session.code_shape) > 1
        rows[f"{name}, {'pooled' if code else 'code'}"] = features(encoder, x), features(encoder, test_x)
        if name == "cae":
            rows[f"{name}, whole code"] = features(encoder, x, True), features(encoder, test_x, True)
    for size in (128, 512, 2048):
        pca = PCA(size, random_state=0).fit(pixels(x))
        rows[f"PCA of the pixels, {size}"] = (
            pca.transform(pixels(x)).astype(np.float32), pca.transform(pixels(test_x)).astype(np.float32),
        )  # fmt: skip
    print("| features | numbers | linear classifier | k-means | NMI |\n| --- | ---: | ---: | ---: | ---: |")
    for name, (own, other) in rows.items():
        linear, means, mutual = judged(own, y, other, test_y)
        print(f"| {name} | {own.shape[1]} | {linear:.1%} | {means:.1%} | {mutual:.3f} |", flush=True)


@app.command("map")
def draw_map(
    model: Annotated[Path, typer.Option(help="A vae of Fashion-MNIST.")],
    out: Annotated[Path, typer.Option()],
    data_dir: Annotated[Path, typer.Option()] = Path("data"),
) -> None:
    """A map of Fashion-MNIST in two dimensions, colored by class."""
    from matplotlib.figure import Figure

    train, _, images, labels = labeled("fashion-mnist", data_dir)
    images, labels = images[:MAPPED], labels[:MAPPED]
    codes = features(Encoder(export_part(model, "encoder", overwrite=True).path), images)
    components = PCA(codes.shape[1], random_state=0).fit(pixels(train[:TRAINED])).transform(pixels(images))
    figure = Figure(figsize=(11, 5.5), layout="constrained")
    for axis, (title, values) in zip(
        figure.subplots(1, 2),
        {f"codes, {codes.shape[1]} numbers": codes, f"PCA, {codes.shape[1]} components": components}.items(),
        strict=True,
    ):
        places = TSNE(random_state=0, init="pca", perplexity=30).fit_transform(values)
        near = NearestNeighbors(n_neighbors=NEIGHBORS).fit(places).kneighbors(return_distance=False)
        alike = float((labels[near] == labels[:, None]).mean())
        for number, name in enumerate(NAMES["fashion-mnist"]):
            mine = labels == number
            axis.scatter(*places[mine].T, s=4, color=f"C{number}", label=name)
        axis.set(title=f"{title}: {alike:.1%} of the neighbors alike", xticks=[], yticks=[])
        print(f"{title}: {alike:.1%}", flush=True)
    figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=10, markerscale=3, fontsize=8)
    figure.savefig(out, dpi=90)


if __name__ == "__main__":
    app()
