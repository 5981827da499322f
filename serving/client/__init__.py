"""Clients of a scoring server: REST here, gRPC in :mod:`serving.client.grpc`."""

from serving.client.rest import RETRIED, AsyncScoringClient, ScoringClient, ScoringError, Token, bearer, encoded

__all__ = ["RETRIED", "AsyncScoringClient", "ScoringClient", "ScoringError", "Token", "bearer", "encoded"]
