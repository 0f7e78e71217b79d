"""Errors of the monitoring layer.

TagtideError
└── MonitoringError
    ├── AuditError           the audit log's database cannot be used
    ├── CampaignError        there is no campaign to reckon, or none that can be reckoned
    ├── LedgerError          the ledger's database cannot be used, or a row does not fit it
    └── ReportError          a report cannot be made or written
"""

from __future__ import annotations

from configs.errors import TagtideError


class MonitoringError(TagtideError):
    """Something about the ledger, its figures or its reports."""


class AuditError(MonitoringError):
    """The audit log's database cannot be used, or something was asked of it that cannot be."""


class CampaignError(MonitoringError):
    """There is no campaign to reckon, or none that can be reckoned."""


class LedgerError(MonitoringError):
    """The ledger's database cannot be used, or a row does not fit it."""


class ReportError(MonitoringError):
    """A report cannot be made or written."""
