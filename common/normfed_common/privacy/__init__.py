"""Mechanisms between people's figures and what leaves a hospital; pure arithmetic."""
