"""The data doctor: whether a detector could cheat on a data set, said before it is trained."""
