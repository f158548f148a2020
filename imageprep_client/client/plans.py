"""Deployment plans: opening them, and what they deploy."""

from __future__ import annotations

from imageprep_client.plans.base import KEPT as HISTORY
from imageprep_client.plans.base import Revision
from imageprep_client.plans.inspection import difference, images
from imageprep_client.plans.opening import find_plans, open_plan
from imageprep_client.plans.stored import Plan

__all__ = [
    "HISTORY",
    "Plan",
    "Revision",
    "difference",
    "find_plans",
    "images",
    "open_plan",
]
