"""Mitigation: the smallest change that makes a clip meet the standards, proved by analysing what was written."""
