"""Clients of a scoring server: REST here, gRPC in :mod:`serving.client.grpc`."""

from serving.client.rest import RETRIED, ScoringClient, ScoringError, Token, bearer, encoded

__all__ = ["RETRIED", "ScoringClient", "ScoringError", "Token", "bearer", "encoded"]
