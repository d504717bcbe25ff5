"""Show in Ray's dashboard which trial, configuration and epoch each worker is at.

Ray asks a worker for its `repr` once, when the worker is created, but a worker trains one trial after another. So the
driver sends the dashboard's "Repr" column anew: the message that the GCS itself sends whenever a worker's state
changes, with the worker's present state and another `repr`. Only the dashboard keeps it; the driver and the workers,
which receive it too, find nothing changed in it.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import grpc  # type: ignore[import-untyped]
from ray._private.grpc_utils import init_grpc_channel
from ray.core.generated.gcs_pb2 import ActorTableData
from ray.core.generated.gcs_service_pb2 import GcsPublishRequest, GetActorInfoRequest
from ray.core.generated.gcs_service_pb2_grpc import ActorInfoGcsServiceStub, ControlPlanePubSubGcsServiceStub
from ray.core.generated.pubsub_pb2 import GCS_ACTOR_CHANNEL, PubMessage

from search.events import TrialLog
from search.records import EPOCH, TOTAL_EPOCHS

LONGEST = 160  # characters of a label: the dashboard gives it one column
ANSWER_SECONDS = 2.0


def named(trainable: Any) -> Any:
    """Return a trainable that Ray has wrapped, under its own name instead of the wrapper's.

    A worker's first `repr` is the name of the trial for which the worker was started, unless the class has its own.
    """
    if inspect.isclass(trainable):
        trainable.__qualname__ = trainable.__name__
        if trainable.__repr__ is object.__repr__:
            trainable.__repr__ = _trial_name  # type: ignore[method-assign]
    return trainable


def _trial_name(self: Any) -> str:
    return str(self.trial_name)


def label(log: TrialLog, arm: Mapping[str, Any] | None = None) -> str:
    """Return a trial's name, which holds the searched values, its epoch, its status if it ended, its arm's settings."""
    last = log.last
    parts = [log.name, f"epoch {last[EPOCH]:.0f}/{last[TOTAL_EPOCHS]:.0f}" if last else "epoch 0"]
    if log.status:
        parts.append(log.status)
    parts += [
        f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value}" for name, value in (arm or {}).items()
    ]
    text = " ".join(parts)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


class ActorLabels:
    """Send the labels of workers to the dashboard of the cluster whose GCS is at `address` (host:port)."""

    def __init__(self, address: str) -> None:
        self.channel = init_grpc_channel(address)
        self.shown: dict[bytes, str] = {}

    def show(self, labels: Mapping[bytes, str]) -> None:
        """Show each worker's label, by the worker's actor id; nothing is sent for a label that is shown already.

        A GCS that does not answer is asked again at the next call: whether Ray is alive is for others to watch.
        """
        try:
            for actor, text in labels.items():
                if self.shown.get(actor) != text:
                    self._send(actor, text)
                    self.shown[actor] = text
        except grpc.RpcError:
            return

    def _send(self, actor: bytes, text: str) -> None:
        request = GetActorInfoRequest(actor_id=actor)
        found = ActorInfoGcsServiceStub(self.channel).GetActorInfo(request, timeout=ANSWER_SECONDS).actor_table_data
        if found.state != ActorTableData.ALIVE:
            return
        found.repr_name = text
        message = PubMessage(channel_type=GCS_ACTOR_CHANNEL, key_id=actor, actor_message=found)
        publish = ControlPlanePubSubGcsServiceStub(self.channel).GcsPublish
        publish(GcsPublishRequest(pub_messages=[message]), timeout=ANSWER_SECONDS)

    def close(self) -> None:
        self.channel.close()
