"""Hints in error messages: which name, argument or package to use instead."""
