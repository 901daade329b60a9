"""Chromium: find it, launch it, read its state, put its state back. The only importer of Playwright."""
