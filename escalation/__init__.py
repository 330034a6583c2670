"""Dose-escalation trials: exact and simulated operating characteristics, and the rules that conduct them."""

__version__ = "0.1.0"
