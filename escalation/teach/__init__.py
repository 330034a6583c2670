"""Teaching: a trial run by hand, the same patients under other designs, and lessons whose answers the engines work out."""
