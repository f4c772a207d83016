"""What the panel stores. Shapes only; who may see and do what is in access.py, how objects change in apply/."""

from __future__ import annotations

from streamfleet_panel.models.account import Account, AccountManager, ResellerPlan
from streamfleet_panel.models.collection import Collection
from streamfleet_panel.models.counter import Counter, Installation
from streamfleet_panel.models.dj import Dj
from streamfleet_panel.models.domain import Claim, Domain
from streamfleet_panel.models.job import Job
from streamfleet_panel.models.log import AuditLog, AuthFailure
from streamfleet_panel.models.media_user import MediaUser
from streamfleet_panel.models.node import ConvergeRun, Node
from streamfleet_panel.models.panel_domain import PanelDomain
from streamfleet_panel.models.played import OnAir, PassedOver, PlayedTrack
from streamfleet_panel.models.playlist import Playlist
from streamfleet_panel.models.queued import QueuedTrack
from streamfleet_panel.models.relay import Relay
from streamfleet_panel.models.schedule import Schedule
from streamfleet_panel.models.service import MediaService, ServiceStatus, UniqueCredential
from streamfleet_panel.models.service_transfer import ServiceTransfer, TransferredService
from streamfleet_panel.models.session import MB, ListenerSession, Transfer
from streamfleet_panel.models.token import MACHINES, ApiToken
from streamfleet_panel.models.usage import Listening, Usage

__all__ = [
    "MACHINES",
    "MB",
    "Account",
    "AccountManager",
    "ApiToken",
    "AuditLog",
    "AuthFailure",
    "Claim",
    "Collection",
    "ConvergeRun",
    "Counter",
    "Dj",
    "Domain",
    "Installation",
    "Job",
    "ListenerSession",
    "Listening",
    "MediaService",
    "MediaUser",
    "Node",
    "OnAir",
    "PanelDomain",
    "PassedOver",
    "PlayedTrack",
    "Playlist",
    "QueuedTrack",
    "Relay",
    "ResellerPlan",
    "Schedule",
    "ServiceStatus",
    "ServiceTransfer",
    "Transfer",
    "TransferredService",
    "UniqueCredential",
    "Usage",
]
