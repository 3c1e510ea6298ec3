"""Files that are there whole or not at all, that show damage themselves, and locks that die with their holder."""
