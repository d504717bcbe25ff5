"""Which learning rate and momentum did note B train its small LeNet with?

Question   the rate (one for SGD and Adam) and SGD's momentum whose test curves lie nearest to the printed ones
Source     note B, question 2: test accuracy after epochs 1 to 12 under SGD and under Adam
Cost       40 trials, 480 epochs, about 259 with early stopping: 61 min on two loaded cores
           (--plan, 2026-11-22)
Command    python -m search.run spaces/lenet_recover_lr.py --data DIR

Each trial trains the network twice, with SGD and with Adam: the SGD curve alone hardly distinguishes a rate from a
momentum, since ten times the rate is about as fast as momentum .9. `curve_distance` is the mean absolute
difference to the printed accuracies, which are whole percents: a distance below half a point means nothing more.
The settings are fitted to test accuracies under the protocol "recovery": they enter no Pareto table and no claim.
"""

from ray import tune

from search.study import Study
from spaces.notes import curve, reported
from trainables.curve_fit import CurveFit
from trainables.lenet import LeNetTrainable

sgd, adam = reported("b-0-batch-64", "b-2-adam")


class LeNetRecovery(LeNetTrainable):
    strategy = CurveFit("optimizer", {"sgd": curve(sgd, "test_accuracy"), "adam": curve(adam, "test_accuracy")})
    metrics = strategy.metrics


study = Study(
    name="lenet_recover_lr",
    question="Which learning rate and momentum did note B train its small LeNet with?",
    source="note B, question 2",
    trainable=LeNetRecovery,
    dataset="cifar10",
    epochs=12,
    samples=40,
    protocol="recovery",
    metric="curve_distance",
    mode="min",
    rank_by="curve_distance",
    grace_epochs=3,
    param_space={
        "lr": tune.loguniform(1e-4, 1e-1),
        "momentum": tune.choice([0.0, 0.5, 0.8, 0.9, 0.95, 0.99]),
        "validation": False,
        "test_every_epoch": True,
    },
    smoke={"samples": 4, "epochs": 2, "train_images": 200},
)
