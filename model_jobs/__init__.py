"""Catalogue → vectors of songs → a published collection that serving switches to."""
