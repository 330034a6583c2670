"""Live conduct of a trial: the record of what happened, who entered it, and what was decided on it."""
