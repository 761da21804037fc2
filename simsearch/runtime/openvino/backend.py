"""The door to OpenVINO: imported without telling its makers of it."""

from __future__ import annotations

import sys

# OpenVINO tells its makers of every import, unless its package for that is missing.
_TELEMETRY = "openvino_telemetry"
_theirs = sys.modules.get(_TELEMETRY)
sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # Python's way to say: not to be had
try:
    import openvino as ov
    from openvino import opset13 as op
finally:
    del sys.modules[_TELEMETRY]
    if _theirs is not None:
        sys.modules[_TELEMETRY] = _theirs

__all__ = ["op", "ov"]
