"""Teaching: a trial run by hand, its patients under other designs, lessons whose answers the engines work out."""
