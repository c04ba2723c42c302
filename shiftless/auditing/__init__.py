"""The audit: content shift measured, which technique keeps the content, and what that predicts."""

from shiftless.auditing.audit import Audit, audit
from shiftless.auditing.observation import Seen, watch

__all__ = ["Audit", "Seen", "audit", "watch"]
