"""Curves, estimators and reports, over the views of the warehouse."""
