"""Fallback roads."""
