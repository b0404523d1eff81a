"""Group chain: see ``_logs``."""

from __future__ import annotations

from federation.vector_ops._logs import answer

__all__ = ["answer"]
