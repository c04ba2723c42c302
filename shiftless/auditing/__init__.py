"""The audit: content shift measured, which technique keeps the content, and what that predicts."""

from shiftless.auditing.audit import Audit, audit
from shiftless.auditing.observation import Observation, observe

__all__ = ["Audit", "Observation", "audit", "observe"]
