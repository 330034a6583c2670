"""Figures of designs and trials: one function each returns an Altair chart for the app, the report and the files."""
