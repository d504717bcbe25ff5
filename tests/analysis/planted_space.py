"""Are false claims contradicted on real runs?

Question   none: three claims that are false, and one that is true, about a small network on scikit-learn's digits
Source     none
Command    python -m search.run tests/analysis/planted_space.py --replay --repeats 3
"""

from search.records import Claim
from search.study import Study
from trainables.lenet import LeNetTrainable

MEASURED = {"validation": False, "test_every_epoch": True, "epochs": 4, "batch_size": 16, "batch_norm": True}

study = Study(
    name="planted",
    question="Are false claims contradicted?",
    source="none",
    trainable=LeNetTrainable,
    dataset="digits",
    epochs=4,
    samples=1,
    param_space={"lr": 0.01},
    scheduler="none",
    arms={"usual": {"lr": 0.01, **MEASURED}, "hardly": {"lr": 1e-6, **MEASURED}},
    claims=(
        Claim("false-difference", "A rate of 1e-6 tests better than .01.", "planted", ("hardly", "usual")),
        Claim(
            "false-level",
            "The network is never right on more than a fifth of the test images.",
            "planted",
            ("usual",),
            kind="level",
            high=0.2,
        ),
        Claim(
            "false-no-worse",
            "A rate of 1e-6 does not harm.",
            "planted",
            ("hardly", "usual"),
            kind="no_worse",
            margin=0.02,
        ),
        Claim(
            "true-of-one-arm-at-two-epochs",
            "The training loss falls from the first epoch to the last.",
            "planted",
            ("usual@4", "usual@1"),
            quantity="train_loss",
            expected="less",
        ),
    ),
)
