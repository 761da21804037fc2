"""The same graph, converted once, kept in the cache, and run by OpenVINO on the CPU.

``backend`` is the only importer of OpenVINO. Nothing here imports TensorFlow but the conversion of
a checkpoint that is not in the cache.
"""

from simsearch.runtime.openvino.compiled import OpenVinoRuntime, observed_ranges

__all__ = ["OpenVinoRuntime", "observed_ranges"]
