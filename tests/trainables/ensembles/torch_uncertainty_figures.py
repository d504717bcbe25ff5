r"""Print torch-uncertainty's figures of `example()` as JSON: what test_calibration.py holds ours to.

    uv run --isolated --no-project --with "torch-uncertainty[cpu]==0.13.0" \
        python tests/trainables/ensembles/torch_uncertainty_figures.py

An environment of its own: beside ours that package would bring some forty others (lightning, timm, matplotlib).
"""

import json

import torch

MEMBERS, IMAGES, CLASSES = 4, 600, 10


def example() -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities [members, images, classes], float32, and labels [images].

    Members that err in part together, unsure or overconfident; 1 is the largest probability of some images.
    """
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(CLASSES, (IMAGES,), generator=generator)
    shared = torch.randn(IMAGES, CLASSES, generator=generator)
    own = torch.randn(MEMBERS, IMAGES, CLASSES, generator=generator)
    logits = shared + own + 1.5 * torch.nn.functional.one_hot(labels, CLASSES)
    sharpness = torch.tensor([8.0, 0.5, 1.0, 2.0])[:, None, None]
    return (logits * sharpness).softmax(-1), labels


def main() -> None:
    from torch_uncertainty.metrics.classification import BrierScore, CalibrationError, CategoricalNLL, Disagreement

    probabilities, labels = example()
    figures = {"loss": [], "ece": [], "brier": [], "disagreement": []}
    for size in range(1, MEMBERS + 1):
        mean = probabilities[:size].mean(0)
        calibration = CalibrationError(task="multiclass", num_classes=CLASSES, num_bins=15)
        metrics = {"loss": CategoricalNLL(), "ece": calibration, "brier": BrierScore(num_classes=CLASSES)}
        for name, metric in metrics.items():
            metric.update(mean, labels)
            figures[name].append(metric.compute().item())
        pairs = Disagreement()
        if size > 1:
            pairs.update(probabilities[:size].transpose(0, 1))
        figures["disagreement"].append(pairs.compute().item() if size > 1 else None)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
