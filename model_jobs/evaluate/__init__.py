"""Offline evaluation of models: what they find of a withheld field, and how their lists spread over the catalogue."""
