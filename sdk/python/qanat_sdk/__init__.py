"""Write a connector: tables from anywhere, for qanat and every host of the same protocol.

from qanat_sdk import Connector, Location, serve
"""

from qanat_sdk.connector import Connector, Location, StableUrl
from qanat_sdk.errors import CancelledError, ConnectorError, RetryableError
from qanat_sdk.serve import serve

__all__ = [
    "CancelledError",
    "Connector",
    "ConnectorError",
    "Location",
    "RetryableError",
    "StableUrl",
    "serve",
]
__version__ = "0.1.0"
