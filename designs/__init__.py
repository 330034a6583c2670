"""Designs: one file each, with parameters, rule, selection, coded reasons and citation."""
