"""Measuring instruments for puppets: two small networks trained on procedural talking heads, and the scores they make.

They know nothing but puppets and are never used on real faces. See docs/instruments.md.
"""
