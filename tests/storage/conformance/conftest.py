"""The conformance suite: what every backend must do. It sees a store through `perform` and `read`."""

from __future__ import annotations
