"""The devices that TensorFlow finds: a TPU, GPUs or the CPU, and what they compute in."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from typing import Any, Literal

from simsearch.bert.backend import tf

# the first that multiplies bfloat16 in its tensor cores (Ampere)
_BFLOAT16_CAPABILITY = (8, 0)


@dataclass(frozen=True, slots=True)
class Devices:
    """Like devices that share a batch by way of ``strategy``, a ``tf.distribute.Strategy``.

    ``bfloat16`` says whether they multiply it in hardware, and so faster than float32.
    """

    strategy: Any
    kind: Literal["CPU", "GPU", "TPU"]
    bfloat16: bool

    @property
    def count(self) -> int:
        """How many they are."""
        return int(self.strategy.num_replicas_in_sync)


@functools.cache  # to initialise a TPU a second time takes away what the first left on it
def devices() -> Devices:
    """The TPU that the environment names, or all GPUs, or the CPU.

    TPU_NAME names it, as for Google's own tools; "local" is this machine's. It needs a TensorFlow
    that is built for TPUs; neither a TPU nor a GPU has been tried. Several logical CPUs, where
    somebody set them up, are several devices. The CPU's bfloat16 is left to OpenVINO: TensorFlow
    does not say whether a CPU has it.
    """
    if name := os.environ.get("TPU_NAME"):
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect(name)
        return Devices(tf.distribute.TPUStrategy(resolver), "TPU", bfloat16=True)
    if gpus := tf.config.list_physical_devices("GPU"):
        bfloat16 = all(_capability(gpu) >= _BFLOAT16_CAPABILITY for gpu in gpus)
        return Devices(_strategy("GPU"), "GPU", bfloat16)
    return Devices(_strategy("CPU"), "CPU", bfloat16=False)


def _strategy(kind: str) -> Any:
    names = [device.name for device in tf.config.list_logical_devices(kind)]
    if len(names) > 1:
        return tf.distribute.MirroredStrategy(names)
    return tf.distribute.get_strategy()  # TensorFlow's own choice for each operation


def _capability(gpu: Any) -> tuple[int, int]:
    """CUDA's compute capability; (0, 0) for a GPU that has none."""
    details = tf.config.experimental.get_device_details(gpu)
    capability: tuple[int, int] = details.get("compute_capability", (0, 0))
    return capability
