"""What writes the pages of the methods and the tables of README; not part of the wheel."""
