"""The steps that pipelines are made of, retraining, triggers and monitoring."""
